import type { HistogramSample } from '../metrics.ts';
import type { Service } from '../service.ts';
import type { Host } from '../supervisor/host.ts';
import { subtree } from '../supervisor/tree.ts';
import type { LoopFigures } from './protocol.ts';

/** The family that an HTTP service counts its requests in. */
const REQUESTS = 'bosun_http_request_duration_seconds';

/** Counts of requests by duration, in seconds; the same bounds in all services. */
export interface RequestCounts {
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
}

/** Adds up the requests of all services. */
export class RequestCounter {
  readonly #host: Host;
  /** Whether a service counts requests: those that do not are asked for their metrics once. */
  readonly #counting = new WeakMap<Service, boolean>();

  constructor(host: Host) {
    this.#host = host;
  }

  read(): RequestCounts {
    return sum(subtree(this.#host.root).flatMap((service) => this.#samples(service)));
  }

  #samples(service: Service): readonly HistogramSample[] {
    if (this.#counting.get(service) === false) return [];
    try {
      const metric = service.metrics().find(({ name }) => name === REQUESTS);
      this.#counting.set(service, metric !== undefined);
      return metric?.type === 'histogram' ? metric.samples : [];
    } catch {
      return []; // A service's own code: who reads the metrics is told.
    }
  }
}

/** What the requests between two counts were like. */
export function requestFigures(
  before: RequestCounts,
  now: RequestCounts,
  durationMs: number,
): Pick<LoopFigures, 'requestsPerSecond' | 'requestP99Ms'> {
  const counts = now.counts.map((count, index) => Math.max(0, count - (before.counts[index] ?? 0)));
  const total = counts.reduce((all, count) => all + count, 0);
  const seconds = quantile(0.99, now.bounds, counts);
  return {
    requestsPerSecond: total / Math.max(0.001, durationMs / 1_000),
    requestP99Ms: seconds === undefined ? null : seconds * 1_000,
  };
}

function sum([first, ...rest]: readonly HistogramSample[]): RequestCounts {
  const counts = [...(first?.counts ?? [])];
  for (const sample of rest) {
    sample.counts.forEach((count, index) => {
      counts[index] = (counts[index] ?? 0) + count;
    });
  }
  return { bounds: first?.bounds ?? [], counts };
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
