import { performance } from 'node:perf_hooks';
import { Histogram, type Metric } from '../metrics.ts';
import type { Stall } from '../observe/reports.ts';
import { BEAT_MS, type Heartbeat } from './heartbeat.ts';

/** In seconds: below the first one is a loop in good health, whose timers are up to a millisecond late anyway. */
const DELAY_BOUNDS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10];
const UTILISATION_BOUNDS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
const BEATS_PER_SECOND = 1_000 / BEAT_MS;

/** Measures the event loop it runs on, and counts its stalls. */
export class LoopMeter {
  readonly #delay = new Histogram(DELAY_BOUNDS);
  readonly #utilisation = new Histogram(UTILISATION_BOUNDS);
  readonly #stalls = new Map<string, { count: number; seconds: number }>([['', { count: 0, seconds: 0 }]]);

  /** Measures from now on. Returns the way to end that. */
  measure(heartbeat: Heartbeat): () => void {
    let beats = 0;
    let last = performance.eventLoopUtilization();
    return heartbeat.onBeat((lateMs) => {
      this.#delay.observe(lateMs / 1_000);
      beats += 1;
      if (beats < BEATS_PER_SECOND) return;
      beats = 0;
      const now = performance.eventLoopUtilization();
      this.#utilisation.observe(performance.eventLoopUtilization(now, last).utilization);
      last = now;
    });
  }

  stalled({ service = '', durationMs }: Stall): void {
    const counts = this.#stalls.get(service) ?? { count: 0, seconds: 0 };
    counts.count += 1;
    counts.seconds += durationMs / 1_000;
    this.#stalls.set(service, counts);
  }

  metrics(): readonly Metric[] {
    const stalls = [...this.#stalls];
    return [
      {
        name: 'bosun_event_loop_delay_seconds',
        help: `How late a timer of ${BEAT_MS} ms on the main event loop was.`,
        type: 'histogram',
        samples: [this.#delay.sample()],
      },
      {
        name: 'bosun_event_loop_utilisation',
        help: 'The share of each second or so in which the main event loop was busy, from 0 to 1.',
        type: 'histogram',
        samples: [this.#utilisation.sample()],
      },
      {
        name: 'bosun_event_loop_stalls_total',
        help: 'How often the main event loop was blocked beyond the threshold, by the service that did it.',
        type: 'counter',
        samples: stalls.map(([culprit, { count }]) => ({ labels: { culprit }, value: count })),
      },
      {
        name: 'bosun_event_loop_stall_seconds_total',
        help: 'For how long the main event loop was so blocked, by the service that did it.',
        type: 'counter',
        samples: stalls.map(([culprit, { seconds }]) => ({ labels: { culprit }, value: seconds })),
      },
    ];
  }
}
