import type { BosunEvent } from '../events.ts';
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

/** One sample for each state, as kube-state-metrics has it: a state that a service leaves goes to 0, and does not vanish. */
const stateSamples = new Map<string, readonly Sample[]>(
  statuses.map((current) => [
    current,
    statuses.map((state) => ({ labels: { state }, value: state === current ? 1 : 0 })),
  ]),
);

/** What has happened to a service so far. */
interface Counts {
  failures: number;
  stopFailures: number;
  startMs: number | undefined;
  stopMs: number | undefined;
}

const followed = new WeakMap<Control, SupervisionMetrics>();

/**
 * What the supervisors do. Counts from the first call of `of` for a daemon until its end: also while nobody asks for
 * metrics, so that counters go on when the service that does is restarted.
 */
export class SupervisionMetrics {
  readonly #control: Control;
  readonly #counts = new Map<string, Counts>();

  static of(control: Control): SupervisionMetrics {
    let metrics = followed.get(control);
    if (metrics === undefined) {
      metrics = new SupervisionMetrics(control);
      followed.set(control, metrics);
    }
    return metrics;
  }

  private constructor(control: Control) {
    this.#control = control;
    control.on((event) => this.#follow(event));
  }

  /** Of the daemon as a whole. */
  metrics(): Metric[] {
    const { phase, logDropped } = this.#control;
    return [
      gauge(
        'bosun_ready',
        'Whether all services have started and none is to stop.',
        phase === 'ready' ? 1 : 0,
      ),
      counter(
        'bosun_log_lines_dropped_total',
        'Log lines that were dropped as their reader was too slow.',
        logDropped,
      ),
    ];
  }

  /** Of one service. */
  metricsOf({ name, type, state, restarts, critical, supervisor = '' }: ServiceInfo): Metric[] {
    const counts = this.#counts.get(name);
    const metrics = [
      gauge('bosun_service_info', 'The class of a service, its supervisor, and whether it is critical.', [
        { labels: { type, supervisor, critical: String(critical) }, value: 1 },
      ]),
      gauge(
        'bosun_service_state',
        '1 for the state that a service is in.',
        stateSamples.get(state.status) ?? [],
      ),
      counter('bosun_service_restarts_total', 'How often a service has been started again.', restarts),
      counter(
        'bosun_service_failures_total',
        'Failures of a service, those to start included.',
        counts?.failures ?? 0,
      ),
      counter(
        'bosun_service_stop_failures_total',
        'Stops of a service that failed or had to be forced.',
        counts?.stopFailures ?? 0,
      ),
    ];
    if (state.status === 'running') {
      metrics.push(
        gauge(
          'bosun_service_start_time_seconds',
          'When a running service had started, since the epoch.',
          state.since / 1_000,
        ),
      );
    }
    if (counts?.startMs !== undefined) {
      metrics.push(
        gauge(
          'bosun_service_last_start_duration_seconds',
          'How long its last start took.',
          counts.startMs / 1_000,
        ),
      );
    }
    if (counts?.stopMs !== undefined) {
      metrics.push(
        gauge(
          'bosun_service_last_stop_duration_seconds',
          'How long its last stop took.',
          counts.stopMs / 1_000,
        ),
      );
    }
    return metrics;
  }

  #follow(event: BosunEvent): void {
    switch (event.type) {
      case 'service-failed':
      case 'service-start-failed':
        this.#of(event.service).failures += 1;
        break;
      case 'service-stop-failed':
        this.#of(event.service).stopFailures += 1;
        break;
      case 'service-running':
        this.#of(event.service).startMs = event.durationMs;
        break;
      case 'service-stopped':
        this.#of(event.service).stopMs = event.durationMs;
        break;
      case 'service-removed':
        this.#counts.delete(event.service);
        break;
    }
  }

  #of(service: string): Counts {
    let counts = this.#counts.get(service);
    if (counts === undefined) {
      counts = { failures: 0, stopFailures: 0, startMs: undefined, stopMs: undefined };
      this.#counts.set(service, counts);
    }
    return counts;
  }
}
