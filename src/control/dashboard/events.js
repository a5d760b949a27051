/** What the supervisor did. */
import { byId, el, timeOf } from './dom.js';
import { duration } from './format.js';

/** @import { PlainEventOf } from '../protocol.ts' */
/** @import { StreamEvents } from '../shown.ts' */
/** @typedef {StreamEvents['event']} Event */
/** @typedef {readonly [tone: string, text: string]} Said */

const MAX_EVENTS = 200;

/** @type {{ readonly [Type in Event['type']]: (event: PlainEventOf<Type>) => Said }} */
const texts = {
  'service-starting': () => ['dim', 'starts'],
  'service-running': ({ durationMs }) => ['ok', `runs, after ${duration(durationMs)}`],
  'service-start-failed': ({ error }) => ['bad', `did not start: ${error.message}`],
  'service-failed': ({ error, origin }) => ['bad', `failed (${origin}): ${error.message}`],
  'service-stopping': ({ reason }) => ['dim', `stops (${reason})`],
  'service-stopped': ({ durationMs }) => ['dim', `stopped, after ${duration(durationMs)}`],
  'service-stop-failed': ({ error }) => ['bad', `did not stop cleanly: ${error.message}`],
  'service-restarting': ({ attempt, pauseMs }) => [
    'warn',
    `is restarted in ${duration(pauseMs)} (try ${attempt})`,
  ],
  'service-gave-up': ({ error }) => ['bad', `is given up: ${error.message}`],
  'service-added': () => ['dim', 'was added'],
  'service-removed': () => ['dim', 'was removed'],
  'service-stray-error': ({ error }) => ['warn', `threw after its end: ${error.message}`],
  'entrypoint-starting': ({ services }) => ['dim', `the daemon starts ${services} services`],
  'entrypoint-running': ({ durationMs }) => ['ok', `the daemon is ready, after ${duration(durationMs)}`],
  'entrypoint-start-failed': ({ error }) => ['bad', `the daemon did not start: ${error.message}`],
  'entrypoint-stopping': ({ cause }) => ['warn', `the daemon stops: ${cause}`],
  'entrypoint-aborting': ({ cause }) => ['bad', `the daemon is forced to stop: ${cause}`],
  'entrypoint-failed': ({ error }) => ['bad', `the daemon failed: ${error.message}`],
  'entrypoint-reload-requested': () => ['dim', 'the config is read again'],
  'entrypoint-reloaded': ({ durationMs, error }) =>
    error === undefined
      ? ['ok', `the config is in force, after ${duration(durationMs)}`]
      : ['bad', `the reload failed, and the daemon runs on as it was: ${error.message}`],
  'entrypoint-stopped': ({ exitCode }) => ['dim', `the daemon has stopped with code ${exitCode}`],
  'hook-failed': ({ hook, error }) => ['warn', `the hook ${hook} failed: ${error.message}`],
};

export class Events {
  #list = byId('events-list');

  clear() {
    this.#list.replaceChildren();
  }

  /** @param {Event} event the latest is on top */
  add(event) {
    // One of a later release has no text here.
    const tell = /** @type {((event: Event) => Said) | undefined} */ (texts[event.type]);
    this.#add(event.at, 'service' in event ? event.service : '', tell?.(event) ?? ['dim', event.type]);
  }

  /**
   * What the page itself has seen.
   *
   * @param {string} text
   */
  mark(text) {
    this.#add(Date.now(), '', ['warn', text]);
  }

  /**
   * @param {number} at
   * @param {string} who
   * @param {Said} said
   */
  #add(at, who, [tone, text]) {
    this.#list.prepend(
      el(
        'li',
        { class: tone },
        timeOf(at),
        el('span', { class: 'who' }, who),
        el('span', { class: 'what' }, text),
      ),
    );
    if (this.#list.children.length > MAX_EVENTS) this.#list.lastElementChild?.remove();
  }
}
