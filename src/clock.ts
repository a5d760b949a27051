/** A timer that was set through a `Clock`. Disposing of it cancels it; cancelling twice is harmless. */
export interface Timer extends Disposable {
  cancel(): void;
  /** Lets the process end while the timer is pending. */
  unref(): this;
}

/** The only source of time, so that tests can drive it (`FakeClock` in `bosun/testing`). */
export interface Clock {
  /** Milliseconds since the Unix epoch; never goes back, also when the machine's clock is set. */
  now(): number;
  /**
   * Calls `callback` once, when at least `delayMs` have passed. It may exceed 2^31-1 ms; `Infinity` never calls,
   * and does not keep the process alive. 0 calls in a later turn of the event loop.
   */
  setTimer(callback: () => void, delayMs: number): Timer;
  /**
   * Resolves after `delayMs`. Rejects promptly with `signal.reason` when the signal aborts, and removes its
   * listener either way.
   */
  sleep(delayMs: number, options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

/** setTimeout's limit: a longer delay fires at once, so longer waits are made of several. */
const MAX_DELAY_MS = 2 ** 31 - 1;

class SystemTimer implements Timer {
  readonly #callback: () => void;
  readonly #dueAt: number;
  #handle: NodeJS.Timeout | undefined;
  #referenced = true;

  constructor(callback: () => void, delayMs: number) {
    this.#callback = callback;
    this.#dueAt = performance.now() + delayMs;
    if (delayMs !== Number.POSITIVE_INFINITY) this.#arm(Math.max(0, delayMs));
  }

  #arm(leftMs: number): void {
    this.#handle = setTimeout(() => this.#fire(), Math.min(Math.ceil(leftMs), MAX_DELAY_MS));
    if (!this.#referenced) this.#handle.unref();
  }

  #fire(): void {
    // setTimeout may be early by a fraction of a millisecond.
    const leftMs = this.#dueAt - performance.now();
    if (leftMs > 0) this.#arm(leftMs);
    else this.#callback();
  }

  cancel(): void {
    clearTimeout(this.#handle);
  }

  unref(): this {
    this.#referenced = false;
    this.#handle?.unref();
    return this;
  }

  [Symbol.dispose](): void {
    this.cancel();
  }
}

/** Shared by every clock: `sleep` in terms of `setTimer`. */
export abstract class BaseClock implements Clock {
  abstract now(): number;
  abstract setTimer(callback: () => void, delayMs: number): Timer;

  sleep(delayMs: number, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = () => {
        timer.cancel();
        reject(signal?.reason);
      };
      const timer = this.setTimer(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      }, delayMs);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }
}

const { timeOrigin } = performance;

class SystemClock extends BaseClock {
  now(): number {
    return timeOrigin + performance.now();
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    return new SystemTimer(callback, delayMs);
  }
}

/** The real time. */
export const systemClock: Clock = new SystemClock();
