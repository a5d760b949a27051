/** What can be done to the daemon; each is asked for once more before. */
import { ask, hasToken, keepToken, request } from './api.js';
import { whyOf } from './dialog.js';
import { byId, el } from './dom.js';
import { bytes, duration } from './format.js';

/** @import { Dialog } from './dialog.js' */
/** @import { HeapSnapshot, SnapshotPlan } from '../../observe/memory/heap-snapshot.ts' */
/** @import { ProfileReport } from '../../observe/reports.ts' */
/** @param {string} text */
const paragraph = (text) => el('p', {}, text);

/**
 * @param {string} label
 * @param {Readonly<Record<string, string>>} attributes
 */
function field(label, attributes) {
  const input = el('input', attributes);
  return { input, node: el('p', {}, el('label', {}, `${label} `, input)) };
}

/**
 * @param {Dialog} dialog
 * @param {string} name
 * @param {readonly string[]} dependents
 */
export function askRestart(dialog, name, dependents) {
  const others =
    dependents.length === 0
      ? 'No other service depends on it.'
      : `Meanwhile it is missing to: ${dependents.join(', ')}.`;
  dialog.open({
    title: `Restart ${name}?`,
    body: [
      paragraph('It is stopped, with its work finished within its stop timeout, and started again.'),
      paragraph(others),
    ],
    confirm: 'Restart',
    goesOn: `The restart of ${name} goes on.`,
    async act(signal) {
      /** @type {{ readonly durationMs: number }} */
      const { durationMs } = await ask('POST', `/api/services/${encodeURIComponent(name)}/restart`, signal);
      return `${name} restarted in ${duration(durationMs)}.`;
    },
  });
}

/** @param {Dialog} dialog */
export function askReload(dialog) {
  dialog.open({
    title: 'Reload the config?',
    body: [
      paragraph(
        'The same as SIGHUP: the config is read again, and the services whose options changed are replaced.',
      ),
    ],
    confirm: 'Reload',
    goesOn: 'The reload goes on.',
    async act(signal) {
      await request('POST', '/api/reload', signal);
      return 'The config was read again.';
    },
  });
}

/**
 * @param {Dialog} dialog
 * @param {(report: ProfileReport) => void} show
 */
export function askProfile(dialog, show) {
  const seconds = field('Seconds', {
    type: 'number',
    min: '1',
    max: '300',
    value: '10',
    required: '',
    id: 'profile-seconds',
  });
  const progress = el('progress', { 'aria-label': 'Profile' });
  progress.hidden = true;
  dialog.open({
    title: 'Profile the processor’s time?',
    body: [seconds.node, paragraph('It slows the daemon by a few per cent while it runs.'), progress],
    confirm: 'Profile',
    async act(signal) {
      const length = seconds.input.valueAsNumber;
      const begun = performance.now();
      progress.hidden = false;
      progress.max = length;
      const timer = setInterval(() => {
        progress.value = Math.min(length, (performance.now() - begun) / 1_000);
      }, 200);
      try {
        const query = `seconds=${length}&format=report`;
        /** @type {ProfileReport} */
        const report = await ask('POST', `/api/profile?${query}`, signal);
        show(report);
      } finally {
        clearInterval(timer);
      }
      byId('profile').scrollIntoView();
      return `Profiled for ${length} s.`;
    },
  });
}

/** @param {Dialog} dialog */
export function askHeapSnapshot(dialog) {
  dialog.open({
    title: 'Write a heap snapshot?',
    body: [],
    async prepare(signal) {
      /** @type {SnapshotPlan} */
      const plan = await ask('GET', '/api/heap-snapshot', signal);
      return { body: priceOf(plan), refusal: plan.refusal?.message };
    },
    confirm: 'Write',
    async act(signal) {
      /** @type {HeapSnapshot} */
      const { path, bytes: size, durationMs } = await ask('POST', '/api/heap-snapshot', signal);
      return {
        text: `${bytes(size)} in ${duration(durationMs)}: ${path}`,
        body: [downloadOf(dialog, path, signal)],
      };
    },
  });
}

/** @param {SnapshotPlan} plan */
const priceOf = ({ heapUsedBytes, estimatedPauseMs, estimatedBytes, freeBytes }) => [
  el('p', { class: 'verdict' }, `The daemon serves nothing for about ${duration(estimatedPauseMs)}.`),
  paragraph(
    `The heap holds ${bytes(heapUsedBytes)}; the file takes about ${bytes(estimatedBytes)} of ${bytes(freeBytes)} that are free. ` +
      'It holds everything in memory, secrets included.',
  ),
];

/**
 * @param {Dialog} dialog
 * @param {string} path
 * @param {AbortSignal} closed
 */
function downloadOf(dialog, path, closed) {
  const name = path.split(/[\\/]/).at(-1) ?? path;
  const href = `/api/heap-snapshot/${encodeURIComponent(name)}`;
  const link = el('a', { href, download: name }, `Download ${name}`);
  // A link carries no token: then the page fetches it, through its own memory.
  if (hasToken()) {
    link.addEventListener('click', (event) => {
      event.preventDefault();
      void download(href, name).catch((error) => {
        if (!closed.aborted) dialog.say(whyOf(error), true);
      });
    });
  }
  return el('p', {}, link);
}

/**
 * @param {string} path
 * @param {string} name
 */
async function download(path, name) {
  const response = await request('GET', path);
  const url = URL.createObjectURL(await response.blob());
  el('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * @param {Dialog} dialog
 * @returns {Promise<void>} when there is one
 */
export async function askToken(dialog) {
  let given = false;
  while (!given) {
    await dialog.free();
    const token = field('Token', { type: 'password', required: '', autocomplete: 'off', id: 'token' });
    dialog.open({
      title: 'This daemon asks for a token',
      body: [
        paragraph('It is the option “token” of its admin service. This tab keeps it until it is closed.'),
        token.node,
      ],
      confirm: 'Connect',
      async act() {
        keepToken(token.input.value.trim());
        given = true;
        return '';
      },
    });
    await dialog.free();
  }
}
