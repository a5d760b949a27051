import { counter, gauge, type Metric, outcomes } from '../metrics.ts';
import { type PolicyStatistics, policyStatistics } from '../policy/statistics.ts';

/** Of the policies that have a name. */
export function policyMetrics(): Metric[] {
  const policies = policyStatistics().map((statistics) => ({
    labels: { kind: statistics.kind, policy: statistics.name },
    statistics,
  }));
  const samples = (value: (statistics: PolicyStatistics) => number) =>
    policies.map(({ labels, statistics }) => ({ labels, value: value(statistics) }));
  return [
    counter(
      'bosun_policy_calls_total',
      'Calls under a policy that have ended, by how.',
      policies.flatMap(({ labels, statistics: { done, errors, cancels } }) =>
        outcomes(labels, done, errors, cancels),
      ),
    ),
    counter(
      'bosun_policy_attempts_total',
      'How often what a policy wraps was called.',
      samples((of) => of.attempts),
    ),
    gauge(
      'bosun_policy_calls_in_flight',
      'Calls under a policy that are under way.',
      samples((of) => of.inFlight),
    ),
    counter(
      'bosun_policy_call_seconds_total',
      'How long the calls that have ended took together.',
      samples((of) => of.totalMs / 1_000),
    ),
  ];
}
