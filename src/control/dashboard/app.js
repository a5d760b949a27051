/** The dashboard: what the daemon streams, put where it belongs. */
import { askHeapSnapshot, askProfile, askReload, askRestart, askToken } from './actions.js';
import { ask, Stream } from './api.js';
import { Dialog } from './dialog.js';
import { byId, el, refreshTimes, setText } from './dom.js';
import { Events } from './events.js';
import { age } from './format.js';
import { Log } from './log.js';
import { Memory } from './memory.js';
import { Plots } from './plots.js';
import { Profile } from './profile.js';
import { Services } from './services.js';
import { Stalls } from './stalls.js';
import { Strip } from './strip.js';

/** @import { ProfileReport } from '../../observe/reports.ts' */
/** @import { Status, StreamEvents } from '../shown.ts' */

const strip = new Strip();
const dialog = new Dialog((text) => strip.notice(text));
const plots = new Plots();
const events = new Events();
const stalls = new Stalls();
const log = new Log();
const memory = new Memory();
const profile = new Profile();
const services = new Services(
  ({ name }, dependents) => askRestart(dialog, name, dependents),
  (name) => {
    log.pick(name);
    byId('log').scrollIntoView();
    byId('log-scroll').focus({ preventScroll: true });
  },
);

/** Which process it is. */
let pid = 0;
/** What comes next is what was known when the connection was made. */
let resync = true;

/** @param {Status} status */
function onStatus(status) {
  if (resync) onConnected(status);
  document.body.dataset.phase = status.phase;
  setText(byId('name'), status.name);
  showFacts(status);
  strip.status(status);
  plots.add(status);
  for (const part of [services, stalls, log, memory, profile]) part.update(status);
}

/** @param {Status} status */
function onConnected(status) {
  resync = false;
  stalls.clear();
  if (pid === 0 || pid === status.pid) {
    events.clear();
    log.clear();
  } else {
    // The last words of the one before stay.
    const msg = `from here on, another process: ${status.pid}, before ${pid}`;
    events.mark(msg);
    log.add({ level: 40, time: Date.now(), msg });
    strip.notice(`It is another process: ${status.pid}, before ${pid}.`);
    memory.clear();
    profile.clear();
  }
  pid = status.pid;
}

/** @param {Status} status */
function showFacts({ host, pid: process, uptimeMs, node, version }) {
  const facts = { on: host, pid: String(process), up: age(uptimeMs), node, bosun: version };
  const list = byId('facts');
  if (list.children.length === 0) {
    for (const name of Object.keys(facts)) list.append(el('div', {}, el('dt', {}, name), el('dd')));
  }
  Object.values(facts).forEach((value, index) => {
    const shown = list.children[index]?.lastChild;
    if (shown) setText(shown, value);
  });
}

/** @param {StreamEvents['profile']} announced */
async function fetchProfile({ at }) {
  if (profile.knows(at)) return;
  try {
    /** @type {ProfileReport} */
    const report = await ask('GET', '/api/profile');
    profile.offer(report);
  } catch {} // The next one is announced, too.
}

/** @type {{ readonly [Kind in keyof StreamEvents]: (value: StreamEvents[Kind]) => void }} */
const parts = {
  status: onStatus,
  event: (event) => events.add(event),
  log: (line) => log.add(line),
  stall: (stall) => stalls.set(stall),
  memory: (report) => memory.report(report),
  leak: (suspicion) => memory.suspect(suspicion),
  profile: (announced) => void fetchProfile(announced),
  snapshot: ({ path }) => strip.notice(`A heap snapshot was written: ${path}`),
};

const stream = new Stream({
  opened() {
    resync = true;
  },
  told(kind, json) {
    // One of a later release has no part here.
    const part = parts[/** @type {keyof StreamEvents} */ (kind)];
    /** @type {((value: unknown) => void) | undefined} */ (part)?.(JSON.parse(json));
  },
  gone(why, nextInMs) {
    strip.gone(why, nextInMs);
    plots.gap();
  },
  tokenNeeded: () => askToken(dialog),
});

byId('retry').addEventListener('click', () => stream.tryNow());
byId('reload-open').addEventListener('click', () => askReload(dialog));
byId('heap-open').addEventListener('click', () => askHeapSnapshot(dialog));
byId('profile-open').addEventListener('click', () => askProfile(dialog, (report) => profile.report(report)));
setInterval(refreshTimes, 60_000);
