import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import { gauge, Histogram, histogram, type Metric } from '../metrics.ts';

const gcKinds: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weakcb',
};

const GC_BOUNDS: readonly number[] = [0.001, 0.01, 0.1, 1, 2, 5];

/** Watches the heap of the thread that it is made in, until it is closed. */
export class HeapMetrics {
  readonly #collections = new Map<string, Histogram>();
  readonly #observer = new PerformanceObserver((list) => this.#observe(list.getEntries()));

  constructor() {
    this.#observer.observe({ entryTypes: ['gc'] });
  }

  /** Names and meaning are those of prom-client's default metrics, where it has them. */
  metrics(): Metric[] {
    this.#observe(this.#observer.takeRecords());
    return [...sizes(), this.#gc()];
  }

  close(): void {
    this.#observer.disconnect();
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

function sizes(): Metric[] {
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
