import { counter, type Metric } from '../metrics.ts';
import type { Stall } from '../observe/reports.ts';

/** Services come and go: those beyond are counted as if nobody knew them. */
const MAX_CULPRITS = 1_000;

/** Counts stalls, by the service that blocked the loop; those of which that is not known under ''. */
export class StallCounts {
  readonly #counts = new Map([['', { count: 0, seconds: 0 }]]);

  add({ service = '', durationMs }: Stall): void {
    const culprit = this.#counts.has(service) || this.#counts.size < MAX_CULPRITS ? service : '';
    const counts = this.#counts.get(culprit) ?? { count: 0, seconds: 0 };
    counts.count += 1;
    counts.seconds += durationMs / 1_000;
    this.#counts.set(culprit, counts);
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
