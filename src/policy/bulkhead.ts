import { z } from 'zod';
import type { Call } from '../call.ts';
import { countOrInfinity, parseOptions } from '../options.ts';
import { BulkheadFullError } from './errors.ts';
import { attemptIn, makePolicy } from './make-policy.ts';
import { policyShape } from './options.ts';
import type { Policy, PolicyOptions } from './policy.ts';

/** How many calls run at a time, and how many wait for that. */
export interface BulkheadOptions extends PolicyOptions {
  /** At least 1. */
  readonly maxConcurrent: number;
  /** 0: what cannot run at once is refused. `Infinity`: no limit. Default: 0. */
  readonly maxQueued?: number;
}

/** A policy that bounds how many calls run at a time. */
export interface Bulkhead extends Policy {
  /** Calls under way, those included whose caller has given up while they go on. */
  readonly running: number;
  /** Calls that wait. */
  readonly queued: number;
}

const schema = z.strictObject({
  ...policyShape,
  maxConcurrent: z.int().min(1),
  maxQueued: countOrInfinity(0).default(0),
});

/**
 * Runs at most `maxConcurrent` calls at a time; up to `maxQueued` more wait, and run in the order in which they
 * came. A caller that gives up leaves the queue at once. A place is taken until the work itself has ended, also
 * when its caller has been let go: what has to be bounded is the work.
 *
 * ```ts
 * const render = bulkhead({ maxConcurrent: 4, maxQueued: 100 })(renderInvoice);
 * ```
 *
 * The wrapped function throws {BulkheadFullError} `ERR_BULKHEAD_FULL` when it is not called.
 *
 * @throws {OptionsError} `ERR_OPTIONS`
 */
export function bulkhead(options: BulkheadOptions): Bulkhead {
  const { name, clock, maxConcurrent, maxQueued } = parseOptions('bulkhead', schema, options);
  const places = new Places(maxConcurrent);
  const policy = makePolicy('bulkhead', { name, clock }, async (attempt, caller) => {
    if (!places.take()) {
      if (places.queued >= maxQueued) throw new BulkheadFullError(name, maxConcurrent, maxQueued);
      await places.wait(caller);
    }
    const occupying = async () => {
      try {
        caller?.throwIfAborted();
        return await attempt(caller);
      } finally {
        places.leave();
      }
    };
    return await attemptIn(caller, occupying);
  });
  return Object.defineProperties(policy, {
    running: { get: () => places.taken, enumerable: true },
    queued: { get: () => places.queued, enumerable: true },
  }) as Bulkhead;
}

/** Places that are taken, and who waits for one. */
class Places {
  readonly #count: number;
  /** In the order in which they came. */
  readonly #waiting = new Set<() => void>();
  /** Stands behind the last one that was called: to begin at the front each time would pass all that have left. */
  #order = this.#waiting.values();
  taken = 0;

  constructor(count: number) {
    this.#count = count;
  }

  get queued(): number {
    return this.#waiting.size;
  }

  take(): boolean {
    if (this.taken >= this.#count) return false;
    this.taken++;
    return true;
  }

  /** Resolves when a place has been taken; rejects with the caller's reason when it gives up first. */
  wait(caller: Call | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const onPlace = () => {
        caller?.offAbort(onAbort);
        resolve();
      };
      const onAbort = (reason: unknown) => {
        this.#waiting.delete(onPlace);
        reject(reason);
      };
      this.#waiting.add(onPlace);
      caller?.onAbort(onAbort);
    });
  }

  /** Hands the place on to who has waited longest. */
  leave(): void {
    if (this.#waiting.size === 0) {
      this.taken--;
      return;
    }
    const next = this.#next();
    this.#waiting.delete(next);
    next();
  }

  #next(): () => void {
    const { done, value } = this.#order.next();
    if (!done) return value;
    this.#order = this.#waiting.values();
    return this.#next();
  }
}
