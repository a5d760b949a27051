/** What wraps the calls that a service makes: time limits, retries, breakers, batching. */
export {
  type AggregateByKey,
  type AggregateByOrder,
  type AggregateOptions,
  type AggregateToMap,
  aggregate,
} from './aggregate.ts';
export { type BackoffOptions, backoff } from './backoff.ts';
export { type Bulkhead, type BulkheadOptions, bulkhead } from './bulkhead.ts';
export type { CircuitState, CircuitTransition } from './circuit.ts';
export { type CircuitBreaker, type CircuitBreakerOptions, circuitBreaker } from './circuit-breaker.ts';
export { type Coalesce, type CoalesceOptions, coalesce, type KeyedCoalesceOptions } from './coalesce.ts';
export * from './errors.ts';
export { pipe } from './pipe.ts';
export type { Policy, PolicyOptions } from './policy.ts';
export type { ErrorClass, RetryInfo, RetryOn, RetryOptions } from './repeat.ts';
export { retry } from './retry.ts';
export { type Selectable, type Selected, select } from './select.ts';
export type { PolicyKey } from './shared-work.ts';
export { type ShieldOptions, shield } from './shield.ts';
export { type PolicyKind, type PolicyStatistics, policyStatistics } from './statistics.ts';
export { timeout } from './timeout.ts';
