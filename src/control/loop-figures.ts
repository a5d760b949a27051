import { type EventLoopUtilization, monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { systemClock, type Timer } from '../clock.ts';
import type { HistogramSample } from '../metrics.ts';
import type { Host } from '../supervisor/host.ts';
import { subtree } from '../supervisor/tree.ts';
import type { LoopFigures } from './protocol.ts';

/** The family that an HTTP service counts its requests in. */
const REQUESTS = 'bosun_http_request_duration_seconds';
/** How precisely the loop's delay is measured. */
const RESOLUTION_MS = 10;
/** When nobody has asked for so long, nothing is measured any more. */
const IDLE_MS = 5_000;

/** Counts of requests by duration; the same bounds in all services. */
interface Requests {
  readonly at: number;
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
}

/** Measures the main loop, from one reading to the next; nothing between readings that are far apart. */
export class LoopReader implements Disposable {
  readonly #host: Host;
  #delay: ReturnType<typeof monitorEventLoopDelay> | undefined;
  #utilisation: EventLoopUtilization | undefined;
  #requests: Requests | undefined;
  #idle: Timer | undefined;

  constructor(host: Host) {
    this.#host = host;
  }

  /** What has been since the last reading. */
  read(): LoopFigures {
    this.#idle?.cancel();
    this.#idle = systemClock.setTimer(() => this[Symbol.dispose](), IDLE_MS).unref();
    const { heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage();
    return {
      heapUsedBytes: heapUsed,
      heapTotalBytes: heapTotal,
      externalBytes: external,
      arrayBuffersBytes: arrayBuffers,
      loopDelayP99Ms: this.#readDelay(),
      loopUtilisation: this.#readUtilisation(),
      ...this.#readRequests(),
    };
  }

  [Symbol.dispose](): void {
    this.#idle?.cancel();
    this.#delay?.disable();
    this.#delay = undefined;
    this.#utilisation = undefined;
    this.#requests = undefined;
  }

  #readDelay(): number | null {
    if (this.#delay === undefined) {
      this.#delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
      this.#delay.enable();
      return null;
    }
    // What is recorded is the time between two ticks; none at all gives NaN or 0.
    const delayMs = this.#delay.percentile(99) / 1e6 - RESOLUTION_MS;
    this.#delay.reset();
    return Math.max(0, delayMs || 0);
  }

  #readUtilisation(): number | null {
    const before = this.#utilisation;
    this.#utilisation = performance.eventLoopUtilization();
    return before === undefined
      ? null
      : performance.eventLoopUtilization(this.#utilisation, before).utilization;
  }

  #readRequests(): Pick<LoopFigures, 'requestsPerSecond' | 'requestP99Ms'> {
    const before = this.#requests;
    const now = sum(this.#samples());
    this.#requests = now;
    if (before === undefined) return { requestsPerSecond: null, requestP99Ms: null };
    const counts = now.counts.map((count, index) => Math.max(0, count - (before.counts[index] ?? 0)));
    const total = counts.reduce((all, count) => all + count, 0);
    const seconds = quantile(0.99, now.bounds, counts);
    return {
      requestsPerSecond: total / Math.max(0.001, (now.at - before.at) / 1_000),
      requestP99Ms: seconds === undefined ? null : seconds * 1_000,
    };
  }

  #samples(): HistogramSample[] {
    return subtree(this.#host.root).flatMap((service) => {
      try {
        return service
          .metrics()
          .flatMap((metric) =>
            metric.type === 'histogram' && metric.name === REQUESTS ? metric.samples : [],
          );
      } catch {
        return []; // A service's own code: who reads the metrics is told.
      }
    });
  }
}

function sum([first, ...rest]: readonly HistogramSample[]): Requests {
  const counts = [...(first?.counts ?? [])];
  for (const sample of rest) {
    sample.counts.forEach((count, index) => {
      counts[index] = (counts[index] ?? 0) + count;
    });
  }
  return { at: performance.now(), bounds: first?.bounds ?? [], counts };
}

/**
 * As Prometheus' `histogram_quantile`: linear within a bucket, the last bound for what is above it; `undefined`
 * when nothing was observed.
 */
export function quantile(
  share: number,
  bounds: readonly number[],
  counts: readonly number[],
): number | undefined {
  const total = counts.reduce((all, count) => all + count, 0);
  if (total === 0) return undefined;
  let left = share * total;
  for (const [index, bound] of bounds.entries()) {
    const count = counts[index] as number;
    if (left <= count) {
      const lower = index === 0 ? 0 : (bounds[index - 1] as number);
      return lower + (bound - lower) * (left / count);
    }
    left -= count;
  }
  return bounds.at(-1);
}
