import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { windowMs } from './options.ts';
import { WindowedCount } from './windowed-count.ts';

/** How many retries all calls under a policy may make together, so that they cannot multiply an overload. */
export interface RetryBudgetOptions {
  /** Retries per call, on average. Default: 0.2. */
  readonly ratio?: number;
  /** Retries per second that are allowed anyway, for times of few calls. Default: 10. */
  readonly minPerSecond?: number;
  /** The time over which calls and retries are counted, in ms. Default: 10 000. */
  readonly windowMs?: number;
}

/** The defaults are those of Finagle's `RetryBudget`. */
export const retryBudgetSchema = z.strictObject({
  ratio: z.number().min(0).default(0.2),
  minPerSecond: z.number().min(0).default(10),
  windowMs: windowMs().default(10_000),
});

const BUCKETS = 10;

/** What is left of a budget. */
export class RetryBudget {
  readonly #ratio: number;
  readonly #reserve: number;
  readonly #calls: WindowedCount;
  readonly #retries: WindowedCount;

  readonly #clock: Clock;

  constructor({ ratio, minPerSecond, windowMs }: z.output<typeof retryBudgetSchema>, clock: Clock) {
    this.#clock = clock;
    this.#ratio = ratio;
    this.#reserve = (minPerSecond * windowMs) / 1_000;
    this.#calls = new WindowedCount(windowMs, BUCKETS);
    this.#retries = new WindowedCount(windowMs, BUCKETS);
  }

  /** Counts a call. */
  deposit(): void {
    this.#calls.add(this.#clock.now());
  }

  /** Counts a retry, if there may be one. */
  withdraw(): boolean {
    const now = this.#clock.now();
    const allowed = this.#reserve + this.#ratio * this.#calls.total(now);
    if (this.#retries.total(now) + 1 > allowed) return false;
    this.#retries.add(now);
    return true;
  }
}
