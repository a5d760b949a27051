/** The strip at the top: whether what the page shows is true at this moment. */
import { byId, setText } from './dom.js';
import { age, duration } from './format.js';

/** @import { Status } from '../shown.ts' */

/** A loop that is late for less than that is not worth a word. */
const BLOCKED_MS = 250;
const NOTICE_MS = 15_000;

export class Strip {
  /** @type {Status | undefined} */
  #status;
  /** When the loop stopped turning, by this machine's clock. */
  #blockedSince = 0;
  #lastSeen = 0;
  #nextTry = 0;
  #why = '';
  /** @type {'connecting' | 'live' | 'blocked' | 'stopping' | 'gone'} */
  #link = 'connecting';
  /** @type {number | undefined} */
  #noticeTimer;

  constructor() {
    setInterval(() => this.#show(), 200);
  }

  /** @param {Status} status */
  status(status) {
    const now = Date.now();
    this.#status = status;
    this.#lastSeen = now;
    const blocked = status.blockedMs >= BLOCKED_MS;
    if (blocked) this.#blockedSince = now - status.blockedMs;
    this.#enter(blocked ? 'blocked' : status.phase === 'stopping' ? 'stopping' : 'live');
  }

  /**
   * @param {string} why
   * @param {number} nextInMs
   */
  gone(why, nextInMs) {
    this.#why = why;
    this.#nextTry = Date.now() + nextInMs;
    this.#enter('gone');
  }

  /**
   * What became of something that was asked for.
   *
   * @param {string} text
   */
  notice(text) {
    setText(byId('notice'), text);
    clearTimeout(this.#noticeTimer);
    this.#noticeTimer = window.setTimeout(() => setText(byId('notice'), ''), NOTICE_MS);
  }

  /** @param {'live' | 'blocked' | 'stopping' | 'gone'} link */
  #enter(link) {
    const changed = link !== this.#link;
    const recovered = this.#link === 'gone' || this.#link === 'blocked';
    this.#link = link;
    this.#show();
    if (!changed) return;
    document.body.dataset.link = link;
    byId('retry').hidden = link !== 'gone';
    if (link !== 'live') setText(byId('announce'), this.#text(false));
    else if (recovered) setText(byId('announce'), 'The daemon answers again.');
  }

  #show() {
    setText(byId('strip-text'), this.#text(true));
    const name = this.#status?.name ?? 'Bosun';
    const title = {
      connecting: name,
      live: `${name}: ${this.#status?.phase}`,
      stopping: `Stopping: ${name}`,
      blocked: `Blocked: ${name}`,
      gone: `Gone: ${name}`,
    }[this.#link];
    if (document.title !== title) document.title = title;
  }

  /** @param {boolean} ticking with the time that has passed since */
  #text(ticking) {
    const now = Date.now();
    switch (this.#link) {
      case 'connecting':
        return 'Connecting';
      case 'live':
        return this.#status?.phase === 'ready'
          ? 'Ready. All figures are live.'
          : 'Starting. All figures are live.';
      case 'stopping':
        return 'The daemon is stopping.';
      case 'blocked':
        return `The main loop is blocked${ticking ? ` for ${duration(now - this.#blockedSince)}` : ''}. Nothing is served meanwhile.`;
      case 'gone': {
        const seen = this.#lastSeen === 0 ? '' : ` It was last seen ${age(now - this.#lastSeen)} ago.`;
        const next = ` Next try in ${Math.max(0, Math.ceil((this.#nextTry - now) / 1_000))} s.`;
        return `The daemon does not answer: ${this.#why}.${ticking ? seen + next : ''}`;
      }
    }
  }
}
