/** What the supervisor did. */
import { byId, el } from './dom.js';
import { clock, duration } from './format.js';

/** @typedef {Readonly<Record<string, any>>} Event */

const MAX_EVENTS = 200;

/** @type {Readonly<Record<string, (event: Event) => readonly [tone: string, text: string]>>} */
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
  'entrypoint-stopped': ({ exitCode }) => ['dim', `the daemon has stopped with code ${exitCode}`],
  'other-process': ({ pid }) => ['warn', `from here on, another process: ${pid}`],
  'hook-failed': ({ hook, error }) => ['warn', `the hook ${hook} failed: ${error.message}`],
};

export class Events {
  #list = byId('events-list');

  clear() {
    this.#list.replaceChildren();
  }

  /** @param {Event} event the latest is on top */
  add(event) {
    const [tone, text] = texts[event.type]?.(event) ?? ['dim', event.type];
    this.#list.prepend(
      el(
        'li',
        { class: tone },
        el('time', {}, clock(event.at)),
        el('span', { class: 'who' }, event.service ?? ''),
        el('span', { class: 'what' }, text),
      ),
    );
    if (this.#list.children.length > MAX_EVENTS) this.#list.lastElementChild?.remove();
  }
}
