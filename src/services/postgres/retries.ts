import type { Call } from '../../call.ts';
import type { Clock } from '../../clock.ts';
import { backoff } from '../../policy/backoff.ts';
import { execution, type Policy } from '../../policy/policy.ts';
import { PostgresUnavailableError } from './errors.ts';
import { kindOf } from './failures.ts';
import type { Counters } from './statistics.ts';

const MAX_PAUSE_MS = 1_000;

/** How failures that may pass are tried again. */
export interface RetriesOptions {
  readonly maxTries: number;
  readonly pauseMs: number;
  readonly clock: Clock;
  readonly counters: Counters;
  /** Aborts when the service is about to stop: nothing is tried again. */
  readonly signal: AbortSignal;
}

/** Tries again what failed without having been done, or what may be done twice. */
export class Retries {
  readonly #options: RetriesOptions;
  readonly #policies = new Map<number, Policy>();

  constructor(options: RetriesOptions) {
    this.#options = options;
  }

  /**
   * Does `work` up to `maxTries` times, with jittered pauses, within the call. A budget bounds the retries of
   * all calls: 10 a second, and a fifth of those that fail.
   */
  async run<Result>(
    work: () => Promise<Result>,
    call: Call,
    maxTries = this.#options.maxTries,
  ): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (maxTries === 1 || call.aborted || !canBeRepeated(error)) throw error;
      // The policy comes into it only now: it would cost every query, and hardly any fails.
      let first: unknown[] = [error];
      const attempt = async () => {
        if (first.length === 0) return await work();
        first = [];
        throw error;
      };
      return await this.#policy(maxTries)[execution](attempt, call);
    }
  }

  #policy(maxTries: number): Policy {
    const known = this.#policies.get(maxTries);
    if (known !== undefined) return known;
    const { pauseMs, clock, counters, signal } = this.#options;
    const policy = backoff({
      maxTries,
      pauseMs,
      maxPauseMs: MAX_PAUSE_MS,
      retryOn: canBeRepeated,
      giveUp: () => signal.aborted,
      onRetry: () => {
        counters.retries += 1;
      },
      budget: {},
      clock,
    });
    this.#policies.set(maxTries, policy);
    return policy;
  }
}

/** Whether nothing was done, or it may be done twice. What the pool refuses as the database is down, is final. */
function canBeRepeated(error: unknown): boolean {
  if (error instanceof PostgresUnavailableError) {
    return error.statement !== undefined && error.retryAfterMs !== undefined;
  }
  switch (kindOf(error)) {
    case 'undone':
    case 'forgotten':
    case 'stale':
      return true;
    case 'lost':
      return 'retryAfterMs' in (error as Error);
    case 'final':
      return false;
  }
}
