/** What can be done to the daemon; each is asked for once more before. */
import { ApiError, ask, hasToken, keepToken, request } from './api.js';
import { byId, el, setText } from './dom.js';
import { bytes, duration } from './format.js';

/** @import { SnapshotPlan } from '../../observe/memory/heap-snapshot.ts' */
/** @import { ProfileReport } from '../../observe/reports.ts' */
/**
 * @typedef {object} Question
 * @property {string} title
 * @property {readonly Node[]} body
 * @property {string} confirm what the button says
 * @property {(signal: AbortSignal) => Promise<string | undefined>} act gives what became of it; `undefined`: it stands in the dialog
 * @property {string} [refusal] why it cannot be done
 */

/** The page's only dialog. */
export class Dialog {
  #dialog = /** @type {HTMLDialogElement} */ (byId('dialog'));
  #confirm = /** @type {HTMLButtonElement} */ (byId('dialog-confirm'));
  #cancel = byId('dialog-cancel');
  #outcome = byId('dialog-outcome');
  #notice;
  /** @type {Question | undefined} */
  #question;
  #running = new AbortController();

  /** @param {(text: string) => void} notice */
  constructor(notice) {
    this.#notice = notice;
    byId('dialog-form').addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#act();
    });
    this.#cancel.addEventListener('click', () => this.#dialog.close());
    this.#dialog.addEventListener('close', () => this.#running.abort(new Error('cancelled')));
  }

  /** @param {Question} question */
  open(question) {
    const { title, body, confirm, refusal } = question;
    this.#question = question;
    this.#running = new AbortController();
    setText(byId('dialog-title'), title);
    byId('dialog-body').replaceChildren(...body);
    setText(this.#confirm, confirm);
    setText(this.#cancel, 'Cancel');
    this.say(refusal ?? '', refusal !== undefined);
    this.#confirm.hidden = false;
    this.#confirm.disabled = refusal !== undefined;
    if (!this.#dialog.open) this.#dialog.showModal();
    if (body.every((node) => !(node instanceof Element) || node.querySelector('input') === null)) {
      (refusal === undefined ? this.#confirm : this.#cancel).focus();
    }
  }

  /** @returns {Promise<void>} when it is closed, however */
  closed() {
    return new Promise((resolve) => this.#dialog.addEventListener('close', () => resolve(), { once: true }));
  }

  /**
   * @param {string} text
   * @param {boolean} [bad]
   */
  say(text, bad = false) {
    setText(this.#outcome, text);
    this.#outcome.classList.toggle('bad', bad);
  }

  async #act() {
    const question = this.#question;
    if (question === undefined || this.#confirm.disabled) return;
    this.#confirm.disabled = true;
    const { signal } = this.#running;
    this.say('Under way…');
    try {
      const became = await question.act(signal);
      if (signal.aborted) return;
      if (became !== undefined) {
        this.#notice(became);
        this.#dialog.close();
        return;
      }
      this.#confirm.hidden = true;
      setText(this.#cancel, 'Close');
      this.#cancel.focus();
    } catch (error) {
      if (signal.aborted) return;
      this.#confirm.disabled = false;
      this.say(error instanceof ApiError ? error.message : 'The daemon does not answer.', true);
    }
  }
}

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
    async act(signal) {
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
        show(await ask('POST', `/api/profile?${query}`, signal));
      } finally {
        clearInterval(timer);
      }
      byId('profile').scrollIntoView();
      return `Profiled for ${length} s.`;
    },
  });
}

/** @param {Dialog} dialog */
export async function askHeapSnapshot(dialog) {
  const title = 'Write a heap snapshot?';
  /** @type {SnapshotPlan} */
  let plan;
  try {
    plan = await ask('GET', '/api/heap-snapshot');
  } catch (error) {
    const refusal = error instanceof ApiError ? error.message : 'The daemon does not answer.';
    dialog.open({ title, body: [], confirm: 'Write', refusal, act: async () => undefined });
    return;
  }
  const { heapUsedBytes, estimatedPauseMs, estimatedBytes, freeBytes, refusal } = plan;
  dialog.open({
    title,
    body: [
      el('p', { class: 'verdict' }, `The daemon serves nothing for about ${duration(estimatedPauseMs)}.`),
      paragraph(
        `The heap holds ${bytes(heapUsedBytes)}; the file takes about ${bytes(estimatedBytes)} of ${bytes(freeBytes)} that are free. ` +
          'It holds everything in memory, secrets included.',
      ),
    ],
    confirm: 'Write',
    ...(refusal !== null && { refusal: refusal.message }),
    async act(signal) {
      const { path, bytes: size, durationMs } = await ask('POST', '/api/heap-snapshot', signal);
      dialog.say(`${bytes(size)} in ${duration(durationMs)}: ${path}`);
      byId('dialog-body').replaceChildren(downloadOf(dialog, path));
      return undefined;
    },
  });
}

/**
 * @param {Dialog} dialog
 * @param {string} path
 */
function downloadOf(dialog, path) {
  const name = path.split(/[\\/]/).at(-1) ?? path;
  const href = `/api/heap-snapshot/${encodeURIComponent(name)}`;
  const link = el('a', { href, download: name }, `Download ${name}`);
  // A link carries no token: then the page fetches it, through its own memory.
  if (hasToken()) {
    link.addEventListener('click', (event) => {
      event.preventDefault();
      void download(href, name).catch((error) => dialog.say(String(error.message), true));
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
    await dialog.closed();
  }
}
