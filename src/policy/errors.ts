import { BosunError, preview } from '../errors.ts';

/** What a policy allows took longer: one attempt, or all of them together. */
export class TimeoutError extends BosunError {
  readonly code = 'ERR_TIMEOUT';
  readonly limitMs: number;

  constructor(what: string, limitMs: number) {
    super(`${what} was not done within ${limitMs} ms`);
    this.limitMs = limitMs;
  }
}

/** A circuit breaker lets nothing through at the moment; nothing was called. */
export class CircuitBrokenError extends BosunError {
  readonly code = 'ERR_CIRCUIT_BROKEN';
  /** The breaker's name. */
  readonly breaker: string | undefined;
  /** The failure that broke the circuit, also its `cause`; `undefined` when it was isolated by hand. */
  readonly lastError: unknown;
  /** When the next call is let through at the latest, in ms from now; a guess where it was isolated. */
  readonly retryAfterMs: number;

  constructor(breaker: string | undefined, why: string, lastError: unknown, retryAfterMs: number) {
    const which = breaker === undefined ? 'the circuit' : `circuit "${breaker}"`;
    const last = lastError instanceof Error ? `; the last failure: ${lastError.message}` : '';
    super(`${which} is ${why}${last}`, { cause: lastError });
    this.breaker = breaker;
    this.lastError = lastError;
    this.retryAfterMs = retryAfterMs;
  }
}

/** As many calls as a bulkhead takes are running, and as many as may wait are waiting; nothing was called. */
export class BulkheadFullError extends BosunError {
  readonly code = 'ERR_BULKHEAD_FULL';
  readonly bulkhead: string | undefined;
  readonly maxConcurrent: number;
  readonly maxQueued: number;
  /** 0: a place may be free at any moment. */
  readonly retryAfterMs = 0;

  constructor(bulkhead: string | undefined, maxConcurrent: number, maxQueued: number) {
    const which = bulkhead === undefined ? 'the bulkhead' : `bulkhead "${bulkhead}"`;
    super(`${which} is full: ${maxConcurrent} calls are running and ${maxQueued} waiting`);
    this.bulkhead = bulkhead;
    this.maxConcurrent = maxConcurrent;
    this.maxQueued = maxQueued;
  }
}

/** A call cannot be told from others: its arguments do not identify it, and no `key` does. A defect, never retried. */
export class CoalesceKeyError extends BosunError {
  readonly code = 'ERR_COALESCE_KEY';
}

/** What an aggregated function returned cannot be matched with the arguments of its batch. */
export class AggregateResultError extends BosunError {
  readonly code = 'ERR_AGGREGATE_RESULT';
}

/** The batch of an aggregated call was done, and has no result for its argument. */
export class AggregateMissingError extends BosunError {
  readonly code = 'ERR_AGGREGATE_MISSING';
  readonly argument: unknown;

  constructor(argument: unknown) {
    super(`aggregate: there is no result for ${preview(argument)}`);
    this.argument = argument;
  }
}
