import { counter, gauge, type Metric, outcomes } from '../metrics.ts';
import type { WorkerStatistics, Workers } from '../workers/workers.ts';

/** Of the worker threads and processes. */
export function workerMetrics({ statistics }: Workers): Metric[] {
  const kinds = Object.entries(statistics).map(([isolation, of]) => ({ labels: { isolation }, of }));
  const samples = (value: (of: WorkerStatistics) => number) =>
    kinds.map(({ labels, of }) => ({ labels, value: value(of) }));
  return [
    gauge(
      'bosun_workers',
      'Worker threads and processes that there are.',
      samples((of) => of.workers),
    ),
    gauge(
      'bosun_worker_tasks_running',
      'Tasks that run.',
      samples((of) => of.busy),
    ),
    gauge(
      'bosun_worker_tasks_queued',
      'Tasks that wait for a worker.',
      samples((of) => of.queued),
    ),
    counter(
      'bosun_worker_tasks_total',
      'Tasks that have ended, by how.',
      kinds.flatMap(({ labels, of: { done, failed, aborted } }) => outcomes(labels, done, failed, aborted)),
    ),
    counter(
      'bosun_worker_deaths_total',
      'Workers that ended by themselves.',
      samples((of) => of.deaths),
    ),
    counter(
      'bosun_worker_task_wait_seconds_total',
      'How long tasks waited for a worker.',
      samples((of) => of.waitMs / 1_000),
    ),
    counter(
      'bosun_worker_task_run_seconds_total',
      'How long tasks ran.',
      samples((of) => of.runMs / 1_000),
    ),
  ];
}
