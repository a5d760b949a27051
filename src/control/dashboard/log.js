/** The end of the log. */
import { byId, el, setText, timeOf } from './dom.js';
import { count } from './format.js';

/** @import { Status } from '../shown.ts' */
/** @import { LogLine } from '../shown.ts' */
/**
 * @typedef {object} Kept
 * @property {number} number
 * @property {LogLine} line
 * @property {number} length as JSON
 * @property {string} text what is searched, in lower case
 */

const MAX_KEPT = 2_000;
/** Of all that are kept, in characters. */
const MAX_LENGTH = 8 * 1_024 * 1_024;
const MAX_SHOWN = 400;
/** Of each line: what is searched, and what is shown. */
const MAX_TEXT = 4_096;
const MAX_MESSAGE = 2_000;
const MAX_STACK = 8_000;
/** A report's fields would hide the lines around it; they have a part of the page of their own. */
const MAX_FIELD = 400;
const MAX_FIELDS = 4_000;
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
  /** Of all that are kept. */
  #length = 0;
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
    this.#length = 0;
    if (!this.#paused) this.#showAll();
  }

  /** @param {LogLine} line */
  add(line) {
    const json = JSON.stringify(line);
    const text = json.slice(0, MAX_TEXT).toLowerCase();
    this.#kept.push({ number: ++this.#last, line, length: json.length, text });
    this.#length += json.length;
    while (this.#kept.length > MAX_KEPT || this.#length > MAX_LENGTH) {
      this.#length -= this.#kept.shift()?.length ?? 0;
    }
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

/**
 * @param {unknown} value
 * @param {number} limit
 */
function clipped(value, limit) {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
}

/** @param {LogLine} line */
function itemOf(line) {
  const level = nameOf(line.level);
  const fields = Object.entries(line).filter(([name]) => !plain.has(name));
  const more = fields.map(([name, value]) => `${name}=${clipped(value, MAX_FIELD)}`);
  const item = el(
    'li',
    { class: level },
    timeOf(new Date(line.time).getTime()),
    el('span', { class: 'level' }, level),
    el('span', { class: 'who' }, String(line.service ?? '')),
    el(
      'span',
      { class: 'what' },
      clipped(line.msg ?? '', MAX_MESSAGE),
      ...(more.length > 0 ? [' ', el('span', { class: 'more' }, clipped(more.join(' '), MAX_FIELDS))] : []),
    ),
  );
  const error = /** @type {{ stack?: unknown; message?: unknown } | null | undefined} */ (line.err);
  const stack = error?.stack ?? error?.message;
  if (stack !== undefined)
    item.append(el('details', {}, el('summary', {}, 'stack'), el('pre', {}, clipped(stack, MAX_STACK))));
  return item;
}
