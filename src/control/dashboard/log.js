/** The end of the log. */
import { byId, el, setText } from './dom.js';
import { clock, count } from './format.js';

/** @import { Status } from '../thread/status.ts' */
/** @typedef {Readonly<Record<string, unknown>> & { readonly level: number; readonly time: number | string; readonly msg?: string; readonly service?: string }} Line */
/** @typedef {{ readonly number: number; readonly line: Line; readonly text: string }} Kept */

const MAX_KEPT = 2_000;
const MAX_SHOWN = 400;
/** A report's fields would hide the lines around it; they have a part of the page of their own. */
const MAX_FIELD_LENGTH = 400;
/** Those have places of their own, or say nothing here. */
const plain = new Set(['level', 'time', 'msg', 'service', 'pid', 'hostname', 'err', 'v']);

const levels = /** @type {const} */ ([
  [60, 'fatal'],
  [50, 'error'],
  [40, 'warn'],
  [30, 'info'],
  [20, 'debug'],
]);

/** @param {number} level */
const nameOf = (level) => levels.find(([from]) => level >= from)?.[1] ?? 'trace';

export class Log {
  /** @type {Kept[]} */
  #kept = [];
  #last = 0;
  #shownUpTo = 0;
  #paused = false;
  #due = false;
  #list = byId('log-list');
  #scroll = byId('log-scroll');
  #service = /** @type {HTMLSelectElement} */ (byId('log-service'));
  #level = /** @type {HTMLSelectElement} */ (byId('log-level'));
  #text = /** @type {HTMLInputElement} */ (byId('log-text'));
  #pause = byId('log-pause');

  constructor() {
    for (const field of [this.#service, this.#level, this.#text]) {
      field.addEventListener('input', () => this.#showAll());
    }
    this.#pause.addEventListener('click', () => {
      this.#paused = !this.#paused;
      this.#pause.setAttribute('aria-pressed', String(this.#paused));
      if (!this.#paused) this.#showAll();
      this.#summarise();
    });
  }

  /** @param {string} service shows only its lines */
  pick(service) {
    this.#service.value = service;
    this.#showAll();
  }

  /** @param {Status} status */
  update({ services }) {
    const names = ['', ...services.map(({ name }) => name).sort()];
    const options = [...this.#service.options].map(({ value }) => value);
    if (names.join('\n') === options.join('\n')) return;
    const { value } = this.#service;
    this.#service.replaceChildren(
      ...names.map((name) => el('option', { value: name }, name === '' ? 'all' : name)),
    );
    this.#service.value = names.includes(value) ? value : '';
  }

  clear() {
    this.#kept = [];
    if (!this.#paused) this.#showAll();
  }

  /** @param {Line} line */
  add(line) {
    this.#kept.push({ number: ++this.#last, line, text: JSON.stringify(line).toLowerCase() });
    if (this.#kept.length > MAX_KEPT) this.#kept.shift();
    if (this.#due) return;
    this.#due = true;
    // However many come at a time, they are shown once.
    setTimeout(() => {
      this.#due = false;
      if (!this.#paused) this.#showNew();
      this.#summarise();
    }, 50);
  }

  /** @param {Kept} kept */
  #fits({ line, text }) {
    const { value: service } = this.#service;
    const wanted = this.#text.value.toLowerCase();
    return (
      line.level >= Number(this.#level.value) &&
      (service === '' || line.service === service) &&
      (wanted === '' || text.includes(wanted))
    );
  }

  #showAll() {
    this.#list.replaceChildren();
    this.#shownUpTo = 0;
    this.#showNew();
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#summarise();
  }

  #showNew() {
    const atEnd = this.#scroll.scrollHeight - this.#scroll.scrollTop - this.#scroll.clientHeight < 40;
    const fresh = this.#kept.filter((kept) => kept.number > this.#shownUpTo && this.#fits(kept));
    this.#shownUpTo = this.#last;
    this.#list.append(...fresh.slice(-MAX_SHOWN).map(({ line }) => itemOf(line)));
    while (this.#list.children.length > MAX_SHOWN) this.#list.firstElementChild?.remove();
    if (atEnd) this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  #summarise() {
    const waiting = this.#paused ? this.#kept.filter((kept) => kept.number > this.#shownUpTo).length : 0;
    const shown = `${count(this.#list.children.length)} of the last ${count(this.#kept.length)} lines`;
    setText(byId('log-summary'), this.#paused ? `Paused; ${count(waiting)} lines wait. ${shown}` : shown);
  }
}

/** @param {unknown} value */
function clipped(value) {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > MAX_FIELD_LENGTH ? `${text.slice(0, MAX_FIELD_LENGTH)}…` : text;
}

/** @param {Line} line */
function itemOf(line) {
  const level = nameOf(line.level);
  const fields = Object.entries(line).filter(([name]) => !plain.has(name));
  const more = fields.map(([name, value]) => `${name}=${clipped(value)}`);
  const item = el(
    'li',
    { class: level },
    el('time', {}, clock(new Date(line.time).getTime())),
    el('span', { class: 'level' }, level),
    el('span', { class: 'who' }, String(line.service ?? '')),
    el(
      'span',
      { class: 'what' },
      String(line.msg ?? ''),
      ...(more.length > 0 ? [' ', el('span', { class: 'more' }, more.join(' '))] : []),
    ),
  );
  const error = /** @type {{ stack?: unknown; message?: unknown } | undefined} */ (line.err);
  const stack = error?.stack ?? error?.message;
  if (stack !== undefined)
    item.append(el('details', {}, el('summary', {}, 'stack'), el('pre', {}, String(stack))));
  return item;
}
