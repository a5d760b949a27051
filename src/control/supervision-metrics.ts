import { counter, gauge, type Metric, type Sample } from '../metrics.ts';
import type { ServiceState } from '../service.ts';
import type { Control, ServiceInfo } from '../supervisor/host.ts';

const statuses: readonly ServiceState['status'][] = [
  'created',
  'starting',
  'running',
  'stopping',
  'stopped',
  'failed',
  'backing-off',
];

/** What the supervisors do. */
export function supervisionMetrics(control: Control): Metric[] {
  const infos = control.services().map((info) => ({ labels: { service: info.name }, info }));
  const samples = (value: (info: ServiceInfo) => number | undefined): Sample[] =>
    infos.flatMap(({ labels, info }) => {
      const of = value(info);
      return of === undefined ? [] : { labels, value: of };
    });
  return [
    gauge(
      'bosun_ready',
      'Whether all services have started and none is to stop.',
      control.phase === 'ready' ? 1 : 0,
    ),
    counter(
      'bosun_log_lines_dropped_total',
      'Log lines that were dropped as their reader was too slow.',
      control.logDropped,
    ),
    gauge(
      'bosun_service_info',
      'The class of a service, its supervisor, and whether it is critical.',
      infos.map(({ info: { name: service, type, supervisor = '', critical } }) => ({
        labels: { service, type, supervisor, critical: String(critical) },
        value: 1,
      })),
    ),
    gauge(
      'bosun_service_state',
      '1 for the state that a service is in.',
      infos.flatMap(({ info: { name: service, state: current } }) =>
        // As kube-state-metrics has it: a state that a service leaves goes to 0, and does not vanish.
        statuses.map((state) => ({
          labels: { service, state },
          value: state === current.status ? 1 : 0,
        })),
      ),
    ),
    counter(
      'bosun_service_restarts_total',
      'How often a service has been started again.',
      samples(({ restarts }) => restarts),
    ),
    counter(
      'bosun_service_failures_total',
      'Failures of a service, those to start included.',
      samples(({ failures }) => failures),
    ),
    counter(
      'bosun_service_stop_failures_total',
      'Stops of a service that failed or had to be forced.',
      samples(({ stopFailures }) => stopFailures),
    ),
    gauge(
      'bosun_service_start_time_seconds',
      'When a running service had started, since the epoch.',
      samples(({ state }) => (state.status === 'running' ? state.since / 1_000 : undefined)),
    ),
    gauge(
      'bosun_service_last_start_duration_seconds',
      'How long its last start took.',
      samples(({ lastStartMs }) => (lastStartMs === undefined ? undefined : lastStartMs / 1_000)),
    ),
    gauge(
      'bosun_service_last_stop_duration_seconds',
      'How long its last stop took.',
      samples(({ lastStopMs }) => (lastStopMs === undefined ? undefined : lastStopMs / 1_000)),
    ),
  ];
}
