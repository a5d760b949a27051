import { OptionsError } from '../errors.ts';
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
 *
 * @throws {OptionsError} `ERR_OPTIONS`
 */
export function pipe(...policies: readonly [Policy, ...Policy[]]): Policy {
  const rule = 'must be a policy, such as timeout(500)';
  const problems = policies.flatMap((received: Partial<Policy> | undefined, i) =>
    received?.[execution] === undefined ? [{ path: [i], rule, received }] : [],
  );
  if (policies.length === 0) problems.push({ path: [0], rule, received: undefined });
  if (problems.length > 0) throw new OptionsError('pipe', problems);
  return policyOf(policies.map((policy) => policy[execution]).reduce(around));
}
