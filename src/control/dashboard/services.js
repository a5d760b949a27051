/** The supervision tree. */
import { byId, el, setText } from './dom.js';
import { age, clock, count } from './format.js';

/** @import { Status } from '../shown.ts' */
/** @typedef {Status['services'][number]} Service */

const HINT = 'Focus a service to see what it depends on; press it to read its log.';

export class Services {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {readonly Service[]} */
  #services = [];
  #body = byId('services-rows');
  #troubled = /** @type {HTMLInputElement} */ (byId('services-troubled'));
  #onRestart;
  #onPick;

  /**
   * @param {(service: Service, dependents: readonly string[]) => void} onRestart
   * @param {(name: string) => void} onPick
   */
  constructor(onRestart, onPick) {
    this.#onRestart = onRestart;
    this.#onPick = onPick;
    this.#troubled.addEventListener('change', () => this.#filter());
  }

  /** @param {Status} status */
  update({ services }) {
    this.#services = services;
    const names = new Set(services.map(({ name }) => name));
    for (const [name, row] of this.#rows) {
      if (names.has(name)) continue;
      row.element.remove();
      this.#rows.delete(name);
    }
    inTree(services).forEach(({ service, depth }, index) => {
      const row = this.#rows.get(service.name) ?? this.#newRow(service.name);
      row.show(service, depth);
      if (this.#body.children[index] !== row.element) {
        this.#body.insertBefore(row.element, this.#body.children[index] ?? null);
      }
    });
    this.#filter();
    const running = services.filter(({ state }) => state === 'running').length;
    const unwell = services.filter(({ health }) => health?.ok === false).length;
    const summary = `${running} of ${services.length} running${unwell > 0 ? `, ${unwell} not well` : ''}`;
    setText(byId('services-summary'), summary);
  }

  #filter() {
    let shown = 0;
    for (const service of this.#services) {
      const row = this.#rows.get(service.name);
      if (row === undefined) continue;
      row.element.hidden = this.#troubled.checked && isWell(service);
      if (!row.element.hidden) shown += 1;
    }
    byId('services-empty').hidden = shown > 0;
  }

  /** @param {string} name */
  #newRow(name) {
    const row = new Row(name);
    const known = () => this.#services.find((service) => service.name === name);
    row.restart.addEventListener('click', () => {
      const service = known();
      if (service !== undefined) this.#onRestart(service, this.#dependentsOf(name));
    });
    row.button.addEventListener('click', () => this.#onPick(name));
    const enter = () => this.#relate(known());
    const leave = () => this.#relate(undefined);
    row.element.addEventListener('focusin', enter);
    row.element.addEventListener('pointerenter', enter);
    row.element.addEventListener('focusout', leave);
    row.element.addEventListener('pointerleave', leave);
    this.#rows.set(name, row);
    return row;
  }

  /** @param {string} name */
  #dependentsOf(name) {
    return this.#services
      .filter(({ dependencies }) => dependencies.includes(name))
      .map((other) => other.name);
  }

  /** @param {Service | undefined} service shows what it has to do with the others */
  #relate(service) {
    const needs = service?.dependencies ?? [];
    const neededBy = service === undefined ? [] : this.#dependentsOf(service.name);
    for (const [name, { element }] of this.#rows) {
      element.classList.toggle('needed', needs.includes(name));
      element.classList.toggle('dependent', neededBy.includes(name));
    }
    setText(byId('services-detail'), service === undefined ? HINT : relations(service, needs, neededBy));
  }
}

/** @param {Service} service */
const isWell = ({ state, health }) => state === 'running' && health?.ok !== false;

/**
 * @param {Service} service
 * @param {readonly string[]} needs
 * @param {readonly string[]} neededBy
 */
function relations({ name, type, critical, lastError }, needs, neededBy) {
  const error = lastError === null ? '' : `. Last error: ${lastError.name}: ${lastError.message}`;
  const related = [
    `${name} (${type}${critical ? '' : ', not critical'})`,
    needs.length === 0 ? 'depends on nothing' : `depends on ${needs.join(', ')}`,
    neededBy.length === 0 ? 'nothing depends on it' : `needed by ${neededBy.join(', ')}`,
  ].join('; ');
  return `${related}${error}`;
}

/**
 * @param {readonly Service[]} services
 * @returns {{ service: Service; depth: number }[]}
 */
function inTree(services) {
  const names = new Set(services.map(({ name }) => name));
  /**
   * @param {string | null} parent
   * @param {number} depth
   * @returns {{ service: Service; depth: number }[]}
   */
  const below = (parent, depth) =>
    services
      .filter(
        ({ supervisor }) => (supervisor !== null && names.has(supervisor) ? supervisor : null) === parent,
      )
      .flatMap((service) => [{ service, depth }, ...below(service.name, depth + 1)]);
  return below(null, 0);
}

class Row {
  button = el('button', { type: 'button', class: 'name' });
  restart = el('button', { type: 'button', class: 'quiet' }, 'Restart');
  #within = el('span', { class: 'unseen' });
  #name = el('td', { role: 'rowheader', class: 'service' }, this.#within, this.button);
  #state = el('span', { class: 'word' });
  #health = el('span', { class: 'unwell' });
  #since = el('td', { role: 'cell', class: 'number', 'data-label': 'for' });
  #restarts = el('td', { role: 'cell', class: 'number', 'data-label': 'restarts' });
  #error = el('td', { role: 'cell', class: 'error' });
  #addresses = el('td', { role: 'cell', class: 'addresses' });
  element = el(
    'tr',
    { role: 'row' },
    this.#name,
    el(
      'td',
      { role: 'cell', class: 'state' },
      el('span', { class: 'lamp', 'aria-hidden': 'true' }),
      this.#state,
      this.#health,
    ),
    this.#since,
    this.#restarts,
    this.#error,
    this.#addresses,
    el('td', { role: 'cell', class: 'act' }, this.restart),
  );

  /** @param {string} name */
  constructor(name) {
    setText(this.button, name);
    this.restart.setAttribute('aria-label', `Restart ${name}`);
  }

  /**
   * @param {Service} service
   * @param {number} depth
   */
  show({ state, health, sinceMs, restarts, lastError, addresses, supervisor, servesControl }, depth) {
    this.element.dataset.state = state;
    this.restart.hidden = servesControl;
    this.#name.dataset.depth = String(Math.min(depth, 6));
    setText(this.#within, supervisor === null ? '' : `in ${supervisor}: `);
    setText(this.#state, state);
    setText(
      this.#health,
      health?.ok === false ? `not well${health.detail === undefined ? '' : `: ${health.detail}`}` : '',
    );
    setText(this.#since, sinceMs === null ? '–' : age(sinceMs));
    setText(this.#restarts, count(restarts));
    this.#restarts.classList.toggle('some', restarts > 0);
    const error = lastError === null ? '' : `${clock(lastError.at)} ${lastError.message}`;
    setText(this.#error, error);
    this.#error.title =
      lastError === null
        ? ''
        : `${lastError.name}${lastError.code === undefined ? '' : ` ${lastError.code}`}: ${lastError.message}`;
    setText(this.#addresses, addresses.join(' '));
  }
}
