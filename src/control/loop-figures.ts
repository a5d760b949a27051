import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import type { Host } from '../supervisor/host.ts';
import type { LoopMeter } from './loop-meter.ts';
import type { LoopFigures } from './protocol.ts';
import { RequestCounter, type RequestCounts, requestFigures } from './request-figures.ts';

/** What is between readings further apart is not told: it would be no news. */
const MAX_INTERVAL_MS = 5_000;

/** What counted up to a reading. */
interface Reading {
  readonly at: number;
  readonly utilisation: EventLoopUtilization;
  readonly requests: RequestCounts;
}

/** Tells how the main loop does, from one reading to the next. */
export class LoopReader {
  readonly #meter: LoopMeter;
  readonly #requests: RequestCounter;
  #last: Reading | undefined;

  constructor(host: Host, meter: LoopMeter) {
    this.#meter = meter;
    this.#requests = new RequestCounter(host);
  }

  /** What has been since the last reading. */
  read(): LoopFigures {
    const { heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage();
    return {
      heapUsedBytes: heapUsed,
      heapTotalBytes: heapTotal,
      externalBytes: external,
      arrayBuffersBytes: arrayBuffers,
      ...this.#sinceLast(),
    };
  }

  #sinceLast() {
    const before = this.#last;
    const maxDelayMs = this.#meter.takeMaxDelayMs();
    const now = {
      at: performance.now(),
      utilisation: performance.eventLoopUtilization(),
      requests: this.#requests.read(),
    };
    this.#last = now;
    if (before === undefined || now.at - before.at > MAX_INTERVAL_MS) {
      return { loopDelayMaxMs: null, loopUtilisation: null, requestsPerSecond: null, requestP99Ms: null };
    }
    return {
      loopDelayMaxMs: maxDelayMs,
      loopUtilisation: performance.eventLoopUtilization(now.utilisation, before.utilisation).utilization,
      ...requestFigures(before.requests, now.requests, now.at - before.at),
    };
  }
}
