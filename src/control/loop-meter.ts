import { performance } from 'node:perf_hooks';
import { counter, Histogram, histogram, type Metric } from '../metrics.ts';
import { BEAT_MS, type Heartbeat } from './heartbeat.ts';

/** In seconds: below the first one is a loop in good health, whose timers are up to a millisecond late anyway. */
const DELAY_BOUNDS = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10];
const UTILISATION_BOUNDS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
const BEATS_PER_SECOND = 1_000 / BEAT_MS;

/** Measures the event loop it runs on, as long as its heart beats. */
export class LoopMeter {
  readonly #delay = new Histogram(DELAY_BOUNDS);
  readonly #utilisation = new Histogram(UTILISATION_BOUNDS);
  #maxDelayMs = 0;
  #beats = 0;
  #last = performance.eventLoopUtilization();

  constructor(heartbeat: Heartbeat) {
    heartbeat.onBeat((lateMs) => this.#measure(lateMs));
  }

  /** The longest delay since the last call. */
  takeMaxDelayMs(): number {
    const maxDelayMs = this.#maxDelayMs;
    this.#maxDelayMs = 0;
    return maxDelayMs;
  }

  metrics(): Metric[] {
    const { idle, active } = performance.eventLoopUtilization();
    return [
      histogram(
        'bosun_event_loop_delay_seconds',
        `How late a timer of ${BEAT_MS} ms on the main event loop was.`,
        [this.#delay.sample()],
      ),
      histogram(
        'bosun_event_loop_utilisation',
        'The share of each second or so in which the main event loop was busy, from 0 to 1.',
        [this.#utilisation.sample()],
      ),
      counter('bosun_event_loop_active_seconds_total', 'Time the event loop was at work.', active / 1_000),
      counter('bosun_event_loop_idle_seconds_total', 'Time the event loop waited for work.', idle / 1_000),
    ];
  }

  #measure(lateMs: number): void {
    this.#delay.observe(lateMs / 1_000);
    this.#maxDelayMs = Math.max(this.#maxDelayMs, lateMs);
    this.#beats += 1;
    if (this.#beats < BEATS_PER_SECOND) return;
    this.#beats = 0;
    const now = performance.eventLoopUtilization();
    this.#utilisation.observe(performance.eventLoopUtilization(now, this.#last).utilization);
    this.#last = now;
  }
}
