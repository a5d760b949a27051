import {
  constants,
  monitorEventLoopDelay,
  type PerformanceEntry,
  PerformanceObserver,
  performance,
} from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import type { Clock } from '../clock.ts';
import { counter, gauge, Histogram, histogram, type Metric } from '../metrics.ts';

/** How often the delay of the event loop is measured, in ms. */
const RESOLUTION_MS = 10;

const gcKinds: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weakcb',
};

const GC_BOUNDS: readonly number[] = [0.001, 0.01, 0.1, 1, 2, 5];

/** From one look at the event loop's delay to the next, at least: see `RecentDelay`. */
const WINDOW_MS = 15_000;

/**
 * The delay of the event loop over the last 15 to 30 s, or since the last time it was asked for, when that is longer.
 * Two measurements overlap, so that those who ask take nothing from one another.
 */
class RecentDelay {
  readonly #clock: Clock;
  #older = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #newer = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  /** When the newer one began. */
  #since: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#since = clock.now();
    this.#older.enable();
    this.#newer.enable();
  }

  get histogram() {
    const now = this.#clock.now();
    if (now - this.#since >= WINDOW_MS) {
      [this.#older, this.#newer] = [this.#newer, this.#older];
      this.#newer.reset();
      this.#since = now;
    }
    return this.#older;
  }

  close(): void {
    this.#older.disable();
    this.#newer.disable();
  }
}

/** Watches the event loop and the heap of the thread that it is made in, until it is closed. */
export class LoopMetrics {
  readonly #delay: RecentDelay;
  readonly #collections = new Map<string, Histogram>();
  readonly #observer = new PerformanceObserver((list) => this.#observe(list.getEntries()));

  constructor(clock: Clock) {
    this.#delay = new RecentDelay(clock);
    this.#observer.observe({ entryTypes: ['gc'] });
  }

  /** Names and meaning are those of prom-client's default metrics, where it has them. */
  metrics(): Metric[] {
    this.#observe(this.#observer.takeRecords());
    return [...this.#loop(), ...heapMetrics(), this.#gc()];
  }

  close(): void {
    this.#delay.close();
    this.#observer.disconnect();
  }

  #loop(): Metric[] {
    const { idle, active } = performance.eventLoopUtilization();
    return [
      ...this.#lag(),
      counter('bosun_event_loop_active_seconds_total', 'Time the event loop was at work.', active / 1_000),
      counter('bosun_event_loop_idle_seconds_total', 'Time the event loop waited for work.', idle / 1_000),
    ];
  }

  #lag(): Metric[] {
    const delay = this.#delay.histogram;
    if (delay.count === 0) return [];
    const lag = (name: string, what: string, nanoseconds: number) =>
      gauge(
        `nodejs_eventloop_lag_${name}_seconds`,
        `${what} event loop delay of late: over 15 s at least.`,
        // What is measured is the time between two turns of a timer, its own interval included.
        Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1e3),
      );
    return [
      lag('min', 'Least', delay.min),
      lag('max', 'Greatest', delay.max),
      lag('mean', 'Mean', delay.mean),
      lag('p50', '50th percentile of the', delay.percentile(50)),
      lag('p90', '90th percentile of the', delay.percentile(90)),
      lag('p99', '99th percentile of the', delay.percentile(99)),
    ];
  }

  #gc(): Metric {
    return histogram(
      'nodejs_gc_duration_seconds',
      'Garbage collections of the main thread, by kind: major, minor, incremental or weakcb.',
      [...this.#collections].map(([kind, durations]) => durations.sample({ kind })),
    );
  }

  #observe(entries: readonly (PerformanceEntry & { readonly detail?: unknown })[]): void {
    for (const { detail, duration } of entries) {
      const kind = gcKinds[(detail as { readonly kind: number }).kind] ?? 'other';
      let durations = this.#collections.get(kind);
      if (durations === undefined) {
        durations = new Histogram(GC_BOUNDS);
        this.#collections.set(kind, durations);
      }
      durations.observe(duration / 1_000);
    }
  }
}

function heapMetrics(): Metric[] {
  const heap = getHeapStatistics();
  return [
    gauge('nodejs_heap_size_total_bytes', "Size of the main thread's heap.", heap.total_heap_size),
    gauge('nodejs_heap_size_used_bytes', "Used part of the main thread's heap.", heap.used_heap_size),
    gauge('nodejs_heap_size_limit_bytes', 'How large that heap may grow.', heap.heap_size_limit),
    gauge(
      'nodejs_external_memory_bytes',
      'Memory held by objects of that heap outside of it.',
      heap.external_memory,
    ),
  ];
}
