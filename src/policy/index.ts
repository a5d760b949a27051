/** What wraps the calls that a service makes: time limits, retries, breakers, batching. */

export {
  type AggregateByKey,
  type AggregateByOrder,
  type AggregateOptions,
  type AggregateToMap,
  aggregate,
} from './aggregate.ts';
export { AggregateResultError, CoalesceKeyError } from './batching-errors.ts';
export {
  type Coalesce,
  type CoalesceOptions,
  coalesce,
  type KeyedCoalesceOptions,
} from './coalesce.ts';
export type { Policy, PolicyOptions } from './policy.ts';
export type { PolicyKey } from './shared-work.ts';
export { type PolicyKind, type PolicyStatistics, policyStatistics } from './statistics.ts';
