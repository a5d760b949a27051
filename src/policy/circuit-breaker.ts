import { z } from 'zod';
import { systemClock } from '../clock.ts';
import { durationMs, parseOptions } from '../options.ts';
import { Circuit, type CircuitState, type CircuitTransition } from './circuit.ts';
import { TimeoutError } from './errors.ts';
import { attemptIn, makePolicy } from './make-policy.ts';
import { callable, policyShape, windowMs } from './options.ts';
import type { Policy, PolicyOptions } from './policy.ts';

/** When a circuit breaks, and how it recovers. */
export interface CircuitBreakerOptions extends PolicyOptions {
  /** The time over which calls and failures are counted, in ms. Default: 10 000. */
  readonly windowMs?: number;
  /** In how many steps that time slides on. Default: 10. */
  readonly buckets?: number;
  /** With fewer calls in the window the circuit does not break, at least 1. Default: 20. */
  readonly minimumCalls?: number;
  /** The share of failures in the window that breaks the circuit, above 0 and up to 1. Default: 0.5. */
  readonly errorRatio?: number;
  /** How long nothing is let through once it has broken, in ms. Default: 5 000. */
  readonly brokenMs?: number;
  /**
   * How many calls have to succeed, once calls are let through again, before all are: one at a time at first,
   * one more at a time for each that succeeds. Default: 10.
   */
  readonly recoveryCalls?: number;
  /** Whether an error says that what is called is ill; any other counts as a success. Default: all do. */
  readonly countsAsFailure?: (error: unknown) => boolean;
}

/** A policy that calls nothing while what it calls is ill. */
export interface CircuitBreaker extends Policy {
  /** A copy of where it is. It is `recovering` from the first call after `until` on. */
  readonly state: CircuitState;
  /** Breaks the circuit by hand, until `reset`. */
  isolate(): void;
  /** Lets everything through again, with nothing counted. */
  reset(): void;
  /**
   * Calls the listener at each change of state, until the function that it returns is called. What a listener
   * throws does not disturb the breaker: it is a stray error of its service.
   */
  on(listener: (transition: CircuitTransition) => void): () => void;
}

/** The defaults are those of Hystrix. */
const schema = z.strictObject({
  ...policyShape,
  windowMs: windowMs().default(10_000),
  buckets: z.int().min(1).default(10),
  minimumCalls: z.int().min(1).default(20),
  errorRatio: z.number().gt(0).max(1).default(0.5),
  brokenMs: durationMs().default(5_000),
  recoveryCalls: z.int().min(1).default(10),
  countsAsFailure: callable<(error: unknown) => boolean>().optional(),
});

/**
 * Passes calls on until too many of them fail, then lets none through for `brokenMs`, and then some more with
 * each success, until all pass again. A failure meanwhile breaks it again. What an enclosing time limit cuts off
 * (`timeout`, an attempt of `backoff`) is a failure; what its caller gives up counts for nothing. All functions
 * wrapped by one breaker, and all instances of a class whose method it decorates, share its state.
 *
 * ```ts
 * const guarded = circuitBreaker({ name: 'prices', minimumCalls: 10, brokenMs: 2_000 });
 * const get = guarded(fetchPrice);
 * ```
 *
 * The wrapped function throws {CircuitBrokenError} `ERR_CIRCUIT_BROKEN` when it is not called.
 *
 * @throws {OptionsError} `ERR_OPTIONS`
 */
export function circuitBreaker(options: CircuitBreakerOptions = {}): CircuitBreaker {
  const {
    clock = systemClock,
    countsAsFailure = () => true,
    ...parsed
  } = parseOptions('circuitBreaker', schema, options);
  const circuit = new Circuit({ clock, ...parsed });
  const policy = makePolicy('circuit-breaker', options, async (attempt, caller) => {
    const admission = circuit.admit();
    try {
      const result = await attemptIn(caller, attempt);
      circuit.succeeded(admission);
      return result;
    } catch (error) {
      if (caller?.aborted && !(caller.reason instanceof TimeoutError)) circuit.abandoned(admission);
      else if (countsAsFailure(error)) circuit.failed(admission, error);
      else circuit.succeeded(admission);
      throw error;
    }
  });
  const breaker = {
    isolate: () => circuit.isolate(),
    reset: () => circuit.reset(),
    on: (listener: (transition: CircuitTransition) => void) => circuit.on(listener),
  };
  Object.defineProperty(policy, 'state', { get: () => circuit.state, enumerable: true });
  return Object.assign(policy, breaker) as CircuitBreaker;
}
