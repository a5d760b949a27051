import { counter, gauge, type Histogram, histogram, type Metric } from '../../metrics.ts';
import type { PostgresStatistics } from './statistics.ts';

/** What a postgres service shows of itself. */
export function postgresMetrics(statistics: PostgresStatistics, durations: Histogram): Metric[] {
  const { state, idle, inUse, cleaning, connecting, waiting, errors } = statistics;
  return [
    gauge(
      'bosun_postgres_up',
      'Whether the database can be reached.',
      state === 'up' || state === 'degraded' ? 1 : 0,
    ),
    gauge('bosun_postgres_pool_connections', 'Connections of the pool by what they are doing.', [
      { labels: { state: 'idle' }, value: idle },
      { labels: { state: 'in-use' }, value: inUse - cleaning },
      { labels: { state: 'cleaning' }, value: cleaning },
      { labels: { state: 'connecting' }, value: connecting },
    ]),
    gauge('bosun_postgres_pool_waiting', 'Callers that wait for a connection.', waiting),
    counter(
      'bosun_postgres_pool_acquires_total',
      'How often a connection was handed out.',
      statistics.acquires,
    ),
    counter(
      'bosun_postgres_pool_acquire_seconds_total',
      'How long callers waited for those.',
      statistics.acquireMs / 1_000,
    ),
    counter(
      'bosun_postgres_pool_discarded_total',
      'Connections that were closed as unfit, or lost.',
      statistics.discarded,
    ),
    counter(
      'bosun_postgres_pool_leaks_total',
      'Clients held for longer than leakWarningMs.',
      statistics.leaks,
    ),
    counter('bosun_postgres_queries_total', 'Queries, failed ones included.', statistics.queries),
    counter(
      'bosun_postgres_query_errors_total',
      'Queries that failed, by class of SQLSTATE or by code.',
      Object.entries(errors).map(([error, value]) => ({ labels: { error }, value })),
    ),
    counter('bosun_postgres_query_retries_total', 'Queries that were tried again.', statistics.retries),
    counter(
      'bosun_postgres_query_cancels_total',
      'Queries that the server was asked to cancel.',
      statistics.cancels,
    ),
    histogram(
      'bosun_postgres_query_duration_seconds',
      'How long queries took, the wait for a connection and all tries included.',
      [durations.sample()],
    ),
  ];
}
