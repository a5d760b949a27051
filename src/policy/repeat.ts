import pRetry from 'p-retry';
import { z } from 'zod';
import { Call } from '../call.ts';
import { type Clock, systemClock } from '../clock.ts';
import { DeadlineError } from '../errors.ts';
import { countOrInfinity } from '../options.ts';
import { TimeoutError } from './errors.ts';
import { attemptIn, attemptInOwn, makePolicy } from './make-policy.ts';
import { abortSignal, callable, policyShape } from './options.ts';
import { type PauseOptions, pauseShape, pausesOf } from './pauses.ts';
import type { Attempt, Policy, PolicyOptions } from './policy.ts';
import { retryAfterOf } from './retry-after.ts';
import { RetryBudget, type RetryBudgetOptions, retryBudgetSchema } from './retry-budget.ts';

/** A class of errors. */
// biome-ignore lint/suspicious/noExplicitAny: a constructor of any arguments
export type ErrorClass = abstract new (...args: any[]) => Error;

/** Which errors a call is tried again after: instances of these classes, or those that the predicate accepts. */
export type RetryOn = readonly ErrorClass[] | ((error: unknown) => boolean);

/** A call that failed is tried again after a pause. */
export interface RetryInfo {
  readonly error: unknown;
  /** How often the function has been called. */
  readonly tries: number;
  readonly pauseMs: number;
}

/** What `retry` and `backoff` have in common. */
export interface RetryOptions extends PolicyOptions, PauseOptions {
  readonly maxTries?: number;
  /** Default of `backoff`: none (but timeouts); of `retry`: every `Error`. A `DeadlineError` never counts. */
  readonly retryOn?: RetryOn;
  /** Whether to throw the error although it is one to retry on. Not asked after the last try. */
  readonly giveUp?: (error: unknown) => boolean;
  /** Told before each pause. What it throws ends the call. */
  readonly onRetry?: (info: RetryInfo) => void;
  /** Bounds the retries of all calls together; an error after it is spent is thrown at once. Default: no bound. */
  readonly budget?: RetryBudgetOptions;
  /** Ends every call under the policy, pauses included, with its reason. */
  readonly signal?: AbortSignal;
}

const isErrorClass = (value: unknown) =>
  typeof value === 'function' && (value === Error || value.prototype instanceof Error);

const isRetryOn = (value: unknown) =>
  Array.isArray(value) ? value.every(isErrorClass) : typeof value === 'function' && !isErrorClass(value);

export const repeatShape = {
  ...policyShape,
  ...pauseShape,
  maxTries: countOrInfinity().default(Number.POSITIVE_INFINITY),
  retryOn: z.custom<RetryOn>(isRetryOn, 'must be an array of classes of errors, or a predicate'),
  giveUp: callable<(error: unknown) => boolean>().optional(),
  onRetry: callable<(info: RetryInfo) => void>().optional(),
  budget: retryBudgetSchema.optional(),
  signal: abortSignal().optional(),
};

interface Repetition extends z.output<z.ZodObject<typeof repeatShape>> {
  readonly attemptTimeoutMs: number;
  readonly deadlineMs: number;
}

/** The policy behind `backoff` and `retry`. @internal */
export function repeating(kind: 'backoff' | 'retry', options: Repetition): Policy {
  const { attemptTimeoutMs, deadlineMs } = options;
  const budgetClock = options.clock ?? systemClock;
  const budget = options.budget && new RetryBudget(options.budget, budgetClock);
  const onDeadline = () => new TimeoutError('the call with all its attempts', deadlineMs);
  return makePolicy(kind, options, async (attempt, caller, clock) => {
    if (attemptTimeoutMs === 0) throw attemptTimeout(0);
    if (deadlineMs === 0) throw onDeadline();
    budget?.deposit();
    const total =
      deadlineMs === Number.POSITIVE_INFINITY
        ? caller
        : new Call({ parent: caller, limitMs: deadlineMs, clock, onLimit: onDeadline });
    const tryOnce = () => attemptWithin(attemptTimeoutMs, attempt, total, clock);
    try {
      return await tryOnce();
    } catch (error) {
      return await tryAgain(error, tryOnce, { options, budget, caller, total, clock });
    } finally {
      if (total !== caller) total?.end();
    }
  });
}

const attemptTimeout = (limitMs: number) => new TimeoutError('the attempt', limitMs);

function attemptWithin<Result>(
  limitMs: number,
  attempt: Attempt<Result>,
  parent: Call | undefined,
  clock: Clock,
): Result | PromiseLike<Result> {
  if (limitMs === Number.POSITIVE_INFINITY) return attemptIn(parent, attempt);
  return attemptInOwn(new Call({ parent, limitMs, clock, onLimit: attemptTimeout }), attempt);
}

interface Tries {
  readonly options: Repetition;
  readonly budget: RetryBudget | undefined;
  readonly caller: Call | undefined;
  /** The caller, or what bounds it by the deadline. */
  readonly total: Call | undefined;
  readonly clock: Clock;
}

/** Brings an error past p-retry, which never retries a TypeError and unwraps errors of its own. */
class Failure extends Error {
  readonly error: unknown;

  constructor(error: unknown) {
    super();
    this.error = error;
  }
}

/** What follows a first attempt that has failed. */
async function tryAgain<Result>(
  firstError: unknown,
  tryOnce: () => Result | PromiseLike<Result>,
  { options, budget, caller, total, clock }: Tries,
): Promise<Result> {
  const { maxTries, retryOn, giveUp, onRetry } = options;
  const nextPause = pausesOf(options);
  let lastReal: Failure | undefined;
  const failed = (error: unknown) => {
    const failure = new Failure(error);
    if (!(error instanceof TimeoutError)) lastReal = failure;
    return failure;
  };

  const pauseAfter = async (error: unknown, tries: number): Promise<boolean> => {
    if (total?.aborted || !isRetryable(error, retryOn) || giveUp?.(error)) return false;
    const pauseMs = Math.max(nextPause(), retryAfterOf(error, clock.now()));
    if (total !== undefined && pauseMs >= total.remainingMs) throw lastReal ?? error;
    if (budget?.withdraw() === false) return false;
    onRetry?.({ error, tries, pauseMs });
    await clock.sleep(pauseMs, { signal: total?.signal });
    return true;
  };

  try {
    return await pRetry(
      async (tries) => {
        if (tries === 1) throw failed(firstError);
        total?.throwIfAborted();
        try {
          return await tryOnce();
        } catch (error) {
          throw failed(error);
        }
      },
      {
        retries: maxTries - 1,
        // The pauses are made by the clock.
        minTimeout: 0,
        shouldRetry: ({ error, attemptNumber }) => pauseAfter((error as Failure).error, attemptNumber),
      },
    );
  } catch (thrown) {
    caller?.throwIfAborted();
    if (total?.aborted) throw lastReal === undefined ? total.reason : lastReal.error;
    throw thrown instanceof Failure ? thrown.error : thrown;
  }
}

function isRetryable(error: unknown, retryOn: RetryOn): boolean {
  if (error instanceof DeadlineError) return false;
  if (error instanceof TimeoutError) return true;
  return typeof retryOn === 'function' ? retryOn(error) : retryOn.some((Class) => error instanceof Class);
}
