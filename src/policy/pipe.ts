import { policyOf } from './make-policy.ts';
import { type Execution, execution, type Policy } from './policy.ts';

const around =
  (outer: Execution, inner: Execution): Execution =>
  (attempt, caller) =>
    outer((call) => inner(attempt, call), caller);

/**
 * Policies as one, the first outermost: `pipe(a, b)(fn)` is `a(b(fn))`, at less cost.
 *
 * ```ts
 * const guarded = pipe(backoff({ deadlineMs: 5_000, retryOn: [UpstreamError] }), circuitBreaker(), timeout(800));
 * ```
 */
export function pipe(...policies: readonly [Policy, ...Policy[]]): Policy {
  return policyOf(policies.map((policy) => policy[execution]).reduce(around));
}
