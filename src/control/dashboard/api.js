/** The daemon's API, and its stream of what happens. */

const TOKEN = 'bosun-token';
/** The daemon says something every second. */
const SILENCE_MS = 5_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

/** What was asked for is not given. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** @param {string} token */
export const keepToken = (token) => sessionStorage.setItem(TOKEN, token);

export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;

/**
 * @param {'GET' | 'POST'} method
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 * @throws {ApiError}
 */
export async function request(method, path, signal) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  const response = await fetch(path, {
    method,
    headers,
    cache: 'no-store',
    credentials: 'omit',
    signal: signal ?? null,
  });
  if (response.ok) return response;
  const text = await response.text();
  throw new ApiError(response.status, messageIn(text) || `HTTP ${response.status}`);
}

/** @param {string} text an answer that is an error */
function messageIn(text) {
  try {
    const { message } = /** @type {{ message?: unknown }} */ (JSON.parse(text));
    return String(message ?? text);
  } catch {
    return text; // Of a proxy in between.
  }
}

/**
 * @template Answer
 * @param {'GET' | 'POST'} method
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<Answer>}
 * @throws {ApiError}
 */
export async function ask(method, path, signal) {
  const response = await request(method, path, signal);
  return /** @type {Answer} */ (await response.json());
}

/**
 * @typedef {object} Listener
 * @property {() => void} opened a connection stands: all that was known is told again
 * @property {(kind: string, json: string) => void} told
 * @property {(why: string, nextInMs: number) => void} gone
 * @property {() => Promise<void>} tokenNeeded resolves when there is another token
 */

/**
 * Makes events of chunks, each of which is looked at once: a large event comes in many.
 *
 * @returns {(chunk: string) => string[]}
 */
export function splitter() {
  /** @type {string[]} */
  let begun = [];
  let held = '';
  return (chunk) => {
    const parts = (held + chunk).split('\n\n');
    const last = parts.pop() ?? '';
    const events = parts.map((part) => {
      const event = [...begun, part].join('');
      begun = [];
      return event;
    });
    // It may be half of what is between two events.
    held = last.endsWith('\n') ? '\n' : '';
    begun.push(last.slice(0, last.length - held.length));
    return events;
  };
}

/** Reads the stream for ever, over as many connections as that takes. */
export class Stream {
  /** @type {Listener} */
  #listener;
  /** @type {(() => void) | undefined} */
  #wake;

  /** @param {Listener} listener */
  constructor(listener) {
    this.#listener = listener;
    void this.#run();
  }

  /** Does not wait for the next try. */
  tryNow() {
    this.#wake?.();
  }

  async #run() {
    for (let pauseMs = FIRST_PAUSE_MS; ; ) {
      try {
        await this.#read(() => {
          pauseMs = FIRST_PAUSE_MS;
        });
      } catch (error) {
        if (error instanceof ApiError && error.status === 401) {
          await this.#listener.tokenNeeded();
          continue;
        }
        const why = error instanceof ApiError ? error.message : 'there is no connection';
        this.#listener.gone(why, pauseMs);
      }
      await this.#pause(pauseMs);
      pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
    }
  }

  /** @param {() => void} onOpen */
  async #read(onOpen) {
    const silence = new AbortController();
    const silent = () => silence.abort(new Error('silence'));
    let timer = setTimeout(silent, SILENCE_MS);
    try {
      const response = await request('GET', '/api/stream', silence.signal);
      if (response.body === null) throw new Error('nothing to read');
      onOpen();
      this.#listener.opened();
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      const split = splitter();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) throw new Error('the stream ended');
        clearTimeout(timer);
        timer = setTimeout(silent, SILENCE_MS);
        for (const event of split(decoder.decode(value, { stream: true }))) this.#tell(event);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** @param {string} text one event */
  #tell(text) {
    const found = /^event: (\w+)\ndata: (.*)$/s.exec(text);
    if (found === null) return;
    const [, kind = '', data = ''] = found;
    try {
      this.#listener.told(kind, data);
    } catch (error) {
      // One that cannot be shown is not to keep the others away.
      reportError(error);
    }
  }

  /** @param {number} ms */
  async #pause(ms) {
    const { promise, resolve } = /** @type {PromiseWithResolvers<void>} */ (Promise.withResolvers());
    this.#wake = resolve;
    const timer = setTimeout(resolve, ms);
    await promise;
    clearTimeout(timer);
  }
}
