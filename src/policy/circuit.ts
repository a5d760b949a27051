import type { Clock } from '../clock.ts';
import { CircuitBrokenError } from './errors.ts';
import { WindowedCount } from './windowed-count.ts';

/** Where a circuit breaker is; times are the clock's milliseconds since the epoch. */
export type CircuitState =
  | { readonly status: 'passing'; readonly since: number }
  | {
      readonly status: 'broken';
      readonly since: number;
      /** `Infinity` when it was isolated by hand. */
      readonly until: number;
      /** The failure that broke it; `undefined` when it was isolated. */
      readonly lastError: unknown;
    }
  | {
      readonly status: 'recovering';
      readonly since: number;
      /** How many calls have succeeded since. */
      readonly succeeded: number;
      readonly lastError: unknown;
    };

/** A circuit breaker has gone from one state to another, at `to.since`. */
export interface CircuitTransition {
  readonly from: CircuitState;
  readonly to: CircuitState;
}

/** All calls are let through. */
class Passing {
  readonly status = 'passing';
  readonly since: number;
  readonly calls: WindowedCount;
  readonly failures: WindowedCount;

  constructor(since: number, windowMs: number, buckets: number) {
    this.since = since;
    this.calls = new WindowedCount(windowMs, buckets);
    this.failures = new WindowedCount(windowMs, buckets);
  }
}

/** No call is. */
interface Broken {
  readonly status: 'broken';
  readonly since: number;
  readonly until: number;
  readonly lastError: unknown;
}

/** As many as have succeeded are, and one. */
interface Recovering {
  readonly status: 'recovering';
  readonly since: number;
  readonly lastError: unknown;
  succeeded: number;
  running: number;
  lastAdmittedAt: number;
}

/** The state in which a call was let through: what becomes of it counts only while that lasts. */
export type Admission = Passing | Recovering;

/** What a circuit is told. */
export interface CircuitParts {
  readonly name?: string | undefined;
  readonly clock: Clock;
  readonly windowMs: number;
  readonly buckets: number;
  readonly minimumCalls: number;
  readonly errorRatio: number;
  readonly brokenMs: number;
  readonly recoveryCalls: number;
}

/** The states of a circuit breaker, and what leads from one to the other. @internal */
export class Circuit {
  readonly #parts: CircuitParts;
  readonly #listeners = new Set<(transition: CircuitTransition) => void>();
  #state: Passing | Broken | Recovering;

  constructor(parts: CircuitParts) {
    this.#parts = parts;
    this.#state = this.#passing();
  }

  get state(): CircuitState {
    const state = this.#state;
    const { status, since } = state;
    if (status === 'passing') return { status, since };
    const { lastError } = state;
    if (status === 'broken') return { status, since, until: state.until, lastError };
    return { status, since, succeeded: state.succeeded, lastError };
  }

  /** @throws {CircuitBrokenError} when the call is not let through. */
  admit(): Admission {
    if (this.#state.status === 'passing') return this.#state;
    const { clock, name, brokenMs } = this.#parts;
    const now = clock.now();
    if (this.#state.status === 'broken') {
      const { until, lastError } = this.#state;
      if (now < until) {
        const isolated = until === Number.POSITIVE_INFINITY;
        const why = isolated ? 'isolated' : 'broken';
        throw new CircuitBrokenError(name, why, lastError, isolated ? brokenMs : until - now);
      }
      const lastAdmittedAt = Number.NEGATIVE_INFINITY;
      this.#enter({ status: 'recovering', since: now, lastError, succeeded: 0, running: 0, lastAdmittedAt });
    }
    const state = this.#state as Recovering;
    // Calls that hang do not keep it from recovering for ever.
    const nextAt = state.lastAdmittedAt + brokenMs;
    if (state.running > state.succeeded && now < nextAt) {
      throw new CircuitBrokenError(name, 'recovering', state.lastError, nextAt - now);
    }
    state.running++;
    state.lastAdmittedAt = now;
    return state;
  }

  succeeded(admission: Admission): void {
    if (admission !== this.#state) return;
    if (admission.status === 'passing') {
      admission.calls.add(this.#parts.clock.now());
      return;
    }
    admission.running--;
    admission.succeeded++;
    if (admission.succeeded >= this.#parts.recoveryCalls) this.#enter(this.#passing());
  }

  failed(admission: Admission, error: unknown): void {
    if (admission !== this.#state) return;
    const { clock, minimumCalls, errorRatio, brokenMs } = this.#parts;
    const now = clock.now();
    if (admission.status === 'passing') {
      admission.calls.add(now);
      admission.failures.add(now);
      const calls = admission.calls.total(now);
      if (calls < minimumCalls || admission.failures.total(now) < errorRatio * calls) return;
    }
    this.#enter({ status: 'broken', since: now, until: now + brokenMs, lastError: error });
  }

  /** Nobody has waited for what became of it. */
  abandoned(admission: Admission): void {
    if (admission.status === 'recovering') admission.running--;
  }

  isolate(): void {
    const since = this.#parts.clock.now();
    this.#enter({ status: 'broken', since, until: Number.POSITIVE_INFINITY, lastError: undefined });
  }

  reset(): void {
    this.#enter(this.#passing());
  }

  on(listener: (transition: CircuitTransition) => void): () => void {
    const entry = (transition: CircuitTransition) => listener(transition);
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  #passing(): Passing {
    const { clock, windowMs, buckets } = this.#parts;
    return new Passing(clock.now(), windowMs, buckets);
  }

  #enter(state: Passing | Broken | Recovering): void {
    const from = this.state;
    this.#state = state;
    const transition = { from, to: this.state };
    // An async function, so that what a listener throws is a rejection, and the next one is called.
    for (const listener of [...this.#listeners]) void (async () => listener(transition))();
  }
}
