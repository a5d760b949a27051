import type { Clock } from './clock.ts';
import { ContextClosedError, ContextTimeoutError } from './errors.ts';

/**
 * Names the types of context keys; users add theirs by declaration merging:
 * `declare module 'bosun' { interface ContextValues { rate: number } }`.
 */
// biome-ignore lint/suspicious/noEmptyInterface: it is there to be merged into
export interface ContextValues {}

type ValueOf<Key extends string> = Key extends keyof ContextValues ? ContextValues[Key] : unknown;

/** How long one waiter waits. */
export interface ContextGetOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds from the call on; 0 rejects at once when the key is not set. Default: no limit. */
  readonly timeoutMs?: number | undefined;
}

/** Late-bound values that services share by key. */
export interface Context {
  /** Sets a key and wakes who waits for it; setting again replaces the value. */
  set<Key extends string>(key: Key, value: ValueOf<Key>): void;
  /**
   * The value of a key, as soon as it is set.
   *
   * @throws {ContextTimeoutError} `ERR_CONTEXT_TIMEOUT` after `timeoutMs`; other waiters wait on.
   * @throws {ContextClosedError} `ERR_CONTEXT_CLOSED` when who asks is stopped first: the service, or the entrypoint.
   * @throws `signal.reason` when the signal aborts.
   */
  get<Key extends string>(key: Key, options?: ContextGetOptions): Promise<ValueOf<Key>>;
}

interface Waiter {
  settle(): void;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** The store behind every scope's context. @internal */
export class ContextStore implements Context {
  readonly #clock: Clock;
  readonly #values = new Map<string, unknown>();
  readonly #waiters = new Map<string, Set<Waiter>>();
  #closed: Error | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  set<Key extends string>(key: Key, value: ValueOf<Key>): void {
    this.#values.set(key, value);
    for (const waiter of this.#take(key)) waiter.resolve(value);
  }

  async get<Key extends string>(key: Key, options?: ContextGetOptions): Promise<ValueOf<Key>> {
    return (await this.#get(key, options)) as ValueOf<Key>;
  }

  #get(key: string, { signal, timeoutMs }: ContextGetOptions = {}): Promise<unknown> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#values.has(key)) return Promise.resolve(this.#values.get(key));
    if (this.#closed) return Promise.reject(new ContextClosedError(key, this.#closed));
    if (timeoutMs === 0) return Promise.reject(new ContextTimeoutError(key, 0));
    return new Promise((resolve, reject) => {
      const waiters = this.#waiters.get(key) ?? new Set();
      this.#waiters.set(key, waiters);
      const give = (error: unknown) => {
        waiters.delete(waiter);
        if (waiters.size === 0 && this.#waiters.get(key) === waiters) this.#waiters.delete(key);
        waiter.settle();
        reject(error);
      };
      const onAbort = () => give(signal?.reason);
      const timer =
        timeoutMs === undefined
          ? undefined
          : this.#clock.setTimer(() => give(new ContextTimeoutError(key, timeoutMs)), timeoutMs);
      const waiter: Waiter = {
        settle: () => {
          timer?.cancel();
          signal?.removeEventListener('abort', onAbort);
        },
        resolve,
        reject,
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      waiters.add(waiter);
    });
  }

  /** Rejects every pending `get`, and later ones for keys that are not set. */
  close(reason: Error): void {
    this.#closed = reason;
    for (const key of [...this.#waiters.keys()]) {
      for (const waiter of this.#take(key)) waiter.reject(new ContextClosedError(key, reason));
    }
  }

  *#take(key: string): Iterable<Waiter> {
    const waiters = this.#waiters.get(key);
    this.#waiters.delete(key);
    for (const waiter of waiters ?? []) {
      waiter.settle();
      yield waiter;
    }
  }
}
