/** When the main loop was blocked, and by what. */
import { byId, el, setText, stackOf, timeOf } from './dom.js';
import { duration, place } from './format.js';

/** @import { Status } from '../shown.ts' */
/** @import { Stall } from '../../observe/reports.ts' */

const MAX_STALLS = 50;

export class Stalls {
  #list = byId('stalls-list');
  /** @type {Map<number, HTMLElement>} */
  #items = new Map();
  #total = 0;

  /** @param {Status} status */
  update({ features }) {
    const empty = byId('stalls-empty');
    empty.hidden = this.#items.size > 0;
    if (features.stalls) setText(empty, 'None so far.');
    else
      setText(
        empty,
        'Nothing looks out for stalls. To see what blocks the loop, add to the services of the config:\nstalls: { use: stall-detector }',
      );
  }

  clear() {
    this.#items.clear();
    this.#list.replaceChildren();
    this.#total = 0;
    setText(byId('stalls-summary'), '');
  }

  /** @param {Stall} stall one that is known is told more of */
  set(stall) {
    const known = this.#items.get(stall.id);
    const item = itemOf(stall);
    if (known === undefined) this.#list.prepend(item);
    else {
      item.querySelector('details')?.toggleAttribute('open', known.querySelector('details')?.open === true);
      known.replaceWith(item);
    }
    this.#items.set(stall.id, item);
    this.#total = Math.max(this.#total, stall.id);
    if (this.#items.size > MAX_STALLS) {
      const [oldest] = this.#items.keys();
      if (oldest !== undefined) {
        this.#items.get(oldest)?.remove();
        this.#items.delete(oldest);
      }
    }
    byId('stalls-empty').hidden = true;
    setText(byId('stalls-summary'), `${this.#total} since the start`);
  }
}

/** @param {Stall} stall */
function itemOf({ beganAt, durationMs, over, service, stack, lastSeen }) {
  const [top] = stack;
  const what =
    stack.length === 0 ? 'over before it could be seen' : `${lastSeen ? 'last seen: ' : ''}${place(top)}`;
  const line = [
    timeOf(beganAt),
    el('span', { class: 'long' }, `${duration(durationMs)}${over ? '' : ' so far'}`),
    el('span', { class: 'what' }, service === undefined ? what : `${service}: ${what}`),
  ];
  const tone = over ? '' : 'bad';
  if (stack.length === 0) return el('li', { class: tone }, ...line);
  return el('li', { class: tone }, el('details', {}, el('summary', {}, ...line), stackOf(stack)));
}
