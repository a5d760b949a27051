/** What the memory tracer found. */
import { byId, el, setText, stackOf, timeOf } from './dom.js';
import { bytes, change, count, duration, percent, place } from './format.js';

/** @import { Status } from '../shown.ts' */
/** @import { LeakSuspicion, MemoryReport, MemoryRow } from '../../observe/reports.ts' */

const HOW =
  'Nothing traces memory. To see which call sites hold it, add to the services of the config:\ntracer: { use: memory-tracer, interval: 10s, top: 10 }';

export class Memory {
  /** When the report that is shown was made. @type {number | undefined} */
  #at;

  /** @param {Status} status */
  update({ features }) {
    const empty = byId('memory-empty');
    empty.hidden = this.#at !== undefined;
    setText(empty, features.memory ? 'The first report comes after the tracer’s interval.' : HOW);
  }

  /** Another process has another heap. */
  clear() {
    this.#at = undefined;
    byId('memory-wide').hidden = true;
    byId('memory-leak').hidden = true;
    setText(byId('memory-summary'), '');
  }

  /** @param {MemoryReport} report stacks that are open stay so */
  report({ at, rows, samplingBytes, pauseMs }) {
    if (at === this.#at) return;
    this.#at = at;
    byId('memory-empty').hidden = true;
    byId('memory-wide').hidden = false;
    const cost = `, one sample per ${bytes(samplingBytes)}, held the loop up for ${duration(pauseMs)}`;
    byId('memory-summary').replaceChildren(timeOf(at), cost);
    const table = byId('memory-rows');
    const open = [...table.querySelectorAll('details')].filter((one) => one.open).map(keyOf);
    table.replaceChildren(...rows.map(rowOf));
    for (const stack of table.querySelectorAll('details')) stack.open = open.includes(keyOf(stack));
  }

  /** @param {LeakSuspicion} suspicion */
  suspect({ at, mibPerHour, confidence, suspect }) {
    const verdict = byId('memory-leak');
    verdict.hidden = false;
    const where = suspect === undefined ? '' : ` Most of it was allocated at ${siteOf(suspect)}.`;
    verdict.replaceChildren(
      timeOf(at),
      `: the heap grows by ${mibPerHour.toFixed(1)} MiB an hour (confidence ${percent(confidence)}).${where}`,
    );
  }
}

/** @param {HTMLElement} stack */
const keyOf = ({ textContent }) => textContent;

/** @param {MemoryRow} row */
function rowOf(row) {
  const { objects, objectsDiff, bytes: size, bytesDiff, stack } = row;
  const [top] = stack;
  const where = el('td', { title: top === undefined ? '' : `${top.file}:${top.line}:${top.column}` });
  if (stack.length > 1) where.append(el('details', {}, el('summary', {}, siteOf(row)), stackOf(stack)));
  else where.append(siteOf(row));
  /** @param {number} diff */
  const tone = (diff) => `number ${diff > 0 ? 'more' : diff < 0 ? 'less' : 'same'}`;
  return el(
    'tr',
    {},
    el('td', { class: 'number' }, count(objects)),
    el('td', { class: tone(objectsDiff) }, change(objectsDiff, count)),
    el('td', { class: 'number' }, bytes(size)),
    el('td', { class: tone(bytesDiff) }, change(bytesDiff, bytes)),
    where,
  );
}

/**
 * With a `~` before a line that is not certain.
 *
 * @param {MemoryRow} row
 */
const siteOf = ({ stack, exact }) => (exact ? place(stack[0]) : place(stack[0]).replace(/:(?=\d+$)/, ':~'));
