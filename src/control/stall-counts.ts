import { counter, type Metric } from '../metrics.ts';
import type { Stall } from '../observe/reports.ts';

/** Counts stalls, by the service that blocked the loop; those of which that is not known under ''. */
export class StallCounts {
  readonly #counts = new Map([['', { count: 0, seconds: 0 }]]);

  add({ service = '', durationMs }: Stall): void {
    const counts = this.#counts.get(service) ?? { count: 0, seconds: 0 };
    counts.count += 1;
    counts.seconds += durationMs / 1_000;
    this.#counts.set(service, counts);
  }

  metrics(): Metric[] {
    const counts = [...this.#counts];
    return [
      counter(
        'bosun_event_loop_stalls_total',
        'How often the main event loop was blocked beyond the threshold, by the service that did it.',
        counts.map(([culprit, { count }]) => ({ labels: { culprit }, value: count })),
      ),
      counter(
        'bosun_event_loop_stall_seconds_total',
        'For how long the main event loop was so blocked, by the service that did it.',
        counts.map(([culprit, { seconds }]) => ({ labels: { culprit }, value: seconds })),
      ),
    ];
  }
}
