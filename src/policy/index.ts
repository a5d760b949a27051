/** What wraps the calls that a service makes: time limits, retries, breakers, batching. */
export { type BackoffOptions, backoff } from './backoff.ts';
export type { CircuitState, CircuitTransition } from './circuit.ts';
export { type CircuitBreaker, type CircuitBreakerOptions, circuitBreaker } from './circuit-breaker.ts';
export * from './errors.ts';
export { pipe } from './pipe.ts';
export type { Policy, PolicyOptions } from './policy.ts';
export type { ErrorClass, RetryInfo, RetryOn, RetryOptions } from './repeat.ts';
export { retry } from './retry.ts';
export { type PolicyKind, type PolicyStatistics, policyStatistics } from './statistics.ts';
export { timeout } from './timeout.ts';
