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
  let message = text;
  try {
    message = JSON.parse(text).message ?? text;
  } catch {}
  throw new ApiError(response.status, message || `HTTP ${response.status}`);
}

/**
 * @param {'GET' | 'POST'} method
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @throws {ApiError}
 */
export async function ask(method, path, signal) {
  return await (await request(method, path, signal)).json();
}

/**
 * @typedef {object} Listener
 * @property {() => void} opened a connection stands: all that was known is told again
 * @property {(kind: string, value: any) => void} told
 * @property {(why: string, nextInMs: number) => void} gone
 * @property {() => Promise<void>} tokenNeeded resolves when there is another token
 */

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
      let rest = '';
      for (;;) {
        const { done, value } = await reader.read();
        if (done) throw new Error('the stream ended');
        clearTimeout(timer);
        timer = setTimeout(silent, SILENCE_MS);
        const parts = (rest + decoder.decode(value, { stream: true })).split('\n\n');
        rest = parts.pop() ?? '';
        for (const part of parts) this.#tell(part);
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
      this.#listener.told(kind, JSON.parse(data));
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
