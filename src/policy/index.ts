/** What wraps the calls that a service makes: time limits, retries, breakers, batching. */

export { AggregateResultError, CoalesceKeyError } from './batching-errors.ts';
export {
  type Coalesce,
  type CoalesceKey,
  type CoalesceOptions,
  coalesce,
  type KeyedCoalesceOptions,
} from './coalesce.ts';
export type { Policy, PolicyOptions } from './policy.ts';
export { type PolicyKind, type PolicyStatistics, policyStatistics } from './statistics.ts';
