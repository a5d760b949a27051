/** What wraps the calls that a service makes: time limits, retries, breakers, batching. */
export type { Policy, PolicyOptions } from './policy.ts';
export { type PolicyKind, type PolicyStatistics, policyStatistics } from './statistics.ts';
