import { BosunError } from '../errors.ts';

/** A call cannot be told from others: its arguments do not identify it, and no `key` does. A defect, never retried. */
export class CoalesceKeyError extends BosunError {
  readonly code = 'ERR_COALESCE_KEY';
}

/** What an aggregated function returned cannot be matched with the arguments of its batch. */
export class AggregateResultError extends BosunError {
  readonly code = 'ERR_AGGREGATE_RESULT';
}
