import {
  constants,
  monitorEventLoopDelay,
  type PerformanceEntry,
  PerformanceObserver,
  performance,
} from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
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

/** Watches the event loop and the heap of the thread that it is made in, until it is closed. */
export class LoopMetrics {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #collections = new Map<string, Histogram>();
  readonly #observer = new PerformanceObserver((list) => this.#observe(list.getEntries()));

  constructor() {
    this.#delay.enable();
    this.#observer.observe({ entryTypes: ['gc'] });
  }

  /** Names and meaning are those of prom-client's default metrics, where it has them; delays are since the last call. */
  metrics(): Metric[] {
    this.#observe(this.#observer.takeRecords());
    return [...this.#loop(), ...heapMetrics(), this.#gc()];
  }

  close(): void {
    this.#delay.disable();
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
    const delay = this.#delay;
    if (delay.count === 0) return [];
    const lag = (name: string, what: string, nanoseconds: number) =>
      gauge(
        `nodejs_eventloop_lag_${name}seconds`,
        `${what} event loop delay since the last collection.`,
        // What is measured is the time between two turns of a timer, its own interval included.
        Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1e3),
      );
    const metrics = [
      lag('min_', 'Least', delay.min),
      lag('max_', 'Greatest', delay.max),
      lag('mean_', 'Mean', delay.mean),
      lag('p50_', '50th percentile of the', delay.percentile(50)),
      lag('p90_', '90th percentile of the', delay.percentile(90)),
      lag('p99_', '99th percentile of the', delay.percentile(99)),
    ];
    delay.reset();
    return metrics;
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
