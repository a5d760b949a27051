import {
  constants,
  type NodeGCPerformanceDetail,
  type PerformanceEntry,
  PerformanceObserver,
} from 'node:perf_hooks';

/** Watches V8's garbage collections. */
export class Collections implements Disposable {
  readonly #observer: PerformanceObserver;
  readonly #listeners = new Set<(major: boolean) => void>();

  constructor() {
    this.#observer = new PerformanceObserver((list) => {
      const major = list.getEntries().some(isMajor);
      for (const listener of [...this.#listeners]) listener(major);
    });
    this.#observer.observe({ entryTypes: ['gc'] });
  }

  /**
   * Calls `listener` soon after each collection, with whether it was one of the whole heap. Returns the way to end
   * that.
   */
  on(listener: (major: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  [Symbol.dispose](): void {
    this.#listeners.clear();
    this.#observer.disconnect();
  }
}

function isMajor(entry: PerformanceEntry): boolean {
  const { detail } = entry as PerformanceEntry & { readonly detail: NodeGCPerformanceDetail };
  return detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR;
}
