/** A value that is kept fresh. */
import { z } from 'zod';
import { BosunError, ServiceStopped, toError } from '../errors.ts';
import { counter, gauge, type Metric } from '../metrics.ts';
import { durationMs } from '../options.ts';
import { type Health, type Scope, Service } from '../service.ts';

/** The cache has no value yet. */
export class CacheEmptyError extends BosunError {
  readonly code = 'ERR_CACHE_EMPTY';
  readonly service: string;

  constructor(service: string, cause: Error | undefined) {
    const why = cause === undefined ? '' : `: ${cause.message}`;
    super(`cache "${service}" has no value yet${why}`, cause && { cause });
    this.service = service;
  }
}

/**
 * Keeps one value, loaded by `load` and loaded anew at an interval. The last good value is served meanwhile,
 * and when a load fails. There is one load at a time.
 *
 * ```ts
 * class Rates extends (CacheService<Map<string, number>>).extend({ url: z.url() }) {
 *   protected override async load(signal: AbortSignal) {
 *     const response = await fetch(this.options.url, { signal });
 *     return new Map(Object.entries(await response.json()));
 *   }
 * }
 * const rates = new Rates({ url: 'http://rates/', intervalMs: 10_000 });
 * rates.get().get('USD');
 * ```
 */
export abstract class CacheService<Value> extends Service.extend({
  /** From the end of one load to the next, failed ones included; `Infinity`: only `refresh()` loads anew. */
  intervalMs: durationMs(),
  /** Whether the start waits for the first load, and fails with it. */
  waitForFirst: z.boolean().default(true),
  /** An older value makes the service unhealthy; it is served all the same. */
  maxAgeMs: durationMs().default(Number.POSITIVE_INFINITY),
}) {
  #scope: Scope | undefined;
  #current: { readonly value: Value; readonly loadedAt: number } | undefined;
  #loading: Promise<Value> | undefined;
  #lastError: Error | undefined;
  #loads = 0;
  #errors = 0;
  readonly #waiters = new Set<(value: Value) => void>();

  /** Loads the value. `signal` aborts when the service stops, which waits for the load to end. */
  protected abstract load(signal: AbortSignal): Promise<Value> | Value;

  override async start(scope: Scope): Promise<void> {
    this.#scope = scope;
    if (this.options.waitForFirst) await this.refresh();
    scope.spawn('refresh', async (signal) => {
      // An error is logged and counted where it occurs.
      if (!this.options.waitForFirst) await this.refresh().catch(() => {});
      for (;;) {
        await scope.clock.sleep(this.options.intervalMs, { signal });
        await this.refresh().catch(() => {});
      }
    });
  }

  /**
   * The last good value, also when the service is stopped.
   *
   * @throws {CacheEmptyError} `ERR_CACHE_EMPTY` when there is none yet; its cause is the last load's error.
   */
  get(): Value {
    if (this.#current === undefined) throw new CacheEmptyError(this.name, this.#lastError);
    return this.#current.value;
  }

  /**
   * The last good value; waits for the first one, however many loads fail before.
   *
   * @throws `signal.reason` when the signal aborts; {ServiceStopped} `ERR_SERVICE_STOPPED` when the service
   * stops first, or does not run.
   */
  async getOrWait({ signal }: { readonly signal?: AbortSignal } = {}): Promise<Value> {
    signal?.throwIfAborted();
    if (this.#current !== undefined) return this.#current.value;
    const stopped = this.#runningScope().signal;
    const { promise, resolve, reject } = Promise.withResolvers<Value>();
    const onAbort = () => reject(signal?.reason);
    const onStop = () => reject(stopped.reason);
    signal?.addEventListener('abort', onAbort);
    stopped.addEventListener('abort', onStop);
    this.#waiters.add(resolve);
    try {
      return await promise;
    } finally {
      this.#waiters.delete(resolve);
      signal?.removeEventListener('abort', onAbort);
      stopped.removeEventListener('abort', onStop);
    }
  }

  /** Milliseconds since the load of the value ended; `undefined` when there is no value. */
  get ageMs(): number | undefined {
    if (this.#current === undefined || this.#scope === undefined) return undefined;
    return this.#scope.clock.now() - this.#current.loadedAt;
  }

  /** Loads that have ended since the service was constructed, and how many of them failed. */
  get statistics(): { readonly loads: number; readonly errors: number } {
    return { loads: this.#loads, errors: this.#errors };
  }

  /**
   * Loads the value now, or joins the load under way. The interval goes on as it was.
   *
   * @throws whatever `load` throws; {ServiceStopped} `ERR_SERVICE_STOPPED` when the service does not run.
   */
  async refresh(): Promise<Value> {
    const scope = this.#runningScope();
    if (this.#loading === undefined) {
      const { promise, resolve } = Promise.withResolvers<Value>();
      this.#loading = promise;
      // As a task it is the service's: its stop waits for it, and stray errors are attributed.
      scope.spawn('load', (signal) => {
        const loading = this.#load(scope, signal).finally(() => {
          this.#loading = undefined;
        });
        resolve(loading);
        return loading.catch(() => {});
      });
    }
    return await this.#loading;
  }

  override metrics(): readonly Metric[] {
    const loadedAt = this.#current?.loadedAt;
    return [
      counter('bosun_cache_loads_total', 'Loads that have ended, failed ones included.', this.#loads),
      counter('bosun_cache_load_errors_total', 'Loads that failed.', this.#errors),
      gauge(
        'bosun_cache_loaded_time_seconds',
        'When the load of the value had ended, since the epoch.',
        loadedAt === undefined ? [] : [{ value: loadedAt / 1_000 }],
      ),
    ];
  }

  override health(): Health {
    const { maxAgeMs } = this.options;
    const age = this.ageMs;
    const why = this.#lastError === undefined ? '' : `: ${this.#lastError.message}`;
    if (age === undefined) return { ok: false, detail: `no value yet${why}` };
    if (age <= maxAgeMs) return { ok: true };
    return { ok: false, detail: `the value is ${Math.round(age)} ms old, more than ${maxAgeMs} ms${why}` };
  }

  async #load({ clock, log }: Scope, signal: AbortSignal): Promise<Value> {
    try {
      const value = await this.load(signal);
      this.#current = { value, loadedAt: clock.now() };
      this.#lastError = undefined;
      for (const give of this.#waiters) give(value);
      return value;
    } catch (thrown) {
      if (!signal.aborted) {
        this.#errors += 1;
        this.#lastError = toError(thrown);
        log.error({ err: this.#lastError }, 'the load failed');
      }
      throw thrown;
    } finally {
      this.#loads += 1;
    }
  }

  #runningScope(): Scope {
    if (this.#scope === undefined) throw new ServiceStopped(this.name, 'it has not started');
    this.#scope.signal.throwIfAborted();
    return this.#scope;
  }
}
