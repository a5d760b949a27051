import type { HeartbeatReader } from '../heartbeat.ts';
import type { HealthReport, LoopFigures, MainMethods } from '../protocol.ts';
import type { Rpc } from '../rpc.ts';

/** The process in figures; those of the main loop stay as they were while it is blocked. */
export interface ProcessFigures extends LoopFigures {
  readonly rssBytes: number;
  /** Of one processor, of all threads: 1.5 are one and a half. */
  readonly cpuShare: number;
}

/** How long figures are kept for those who ask next. */
const FRESH_MS = 900;
/** `health()` may cost a query. */
const HEALTH_FRESH_MS = 5_000;
/** How long the main loop may take: whoever reads is to be told every second. */
const ANSWER_MS = 500;

const unknown: LoopFigures = {
  heapUsedBytes: 0,
  heapTotalBytes: 0,
  externalBytes: 0,
  arrayBuffersBytes: 0,
  loopDelayMaxMs: null,
  loopUtilisation: null,
  requestsPerSecond: null,
  requestP99Ms: null,
};

/** Asks the main thread for its figures: only when somebody asks for them here, and once for all who do. */
export class Samples {
  readonly #main: Rpc<MainMethods>;
  readonly #heartbeat: HeartbeatReader;
  readonly #process: Kept<ProcessFigures>;
  readonly #health: Kept<HealthReport>;
  #loop = unknown;
  #cpu = { at: performance.now(), ...process.cpuUsage() };

  constructor(main: Rpc<MainMethods>, heartbeat: HeartbeatReader, healthTimeoutMs: number) {
    this.#main = main;
    this.#heartbeat = heartbeat;
    this.#process = new Kept(FRESH_MS, () => this.#sample());
    const timeoutMs = Math.min(healthTimeoutMs, ANSWER_MS);
    this.#health = new Kept(HEALTH_FRESH_MS, () =>
      main.call('health', undefined, { timeoutMs }).catch(() => ({})),
    );
  }

  /** Not older than a second. */
  process(): Promise<ProcessFigures> {
    return this.#process.get();
  }

  /** What the services said of themselves, a few seconds ago at most; nothing of those that did not answer. */
  health(): Promise<HealthReport> {
    return this.#health.get();
  }

  async #sample(): Promise<ProcessFigures> {
    const blockedMs = this.#heartbeat.blockedMs;
    try {
      this.#loop = await this.#main.call('figures', undefined, { timeoutMs: ANSWER_MS });
    } catch {
      const loopDelayMaxMs = Math.max(this.#heartbeat.blockedMs, blockedMs);
      this.#loop = {
        ...this.#loop,
        loopDelayMaxMs,
        loopUtilisation: 1,
        requestsPerSecond: 0,
        requestP99Ms: null,
      };
    }
    return { ...this.#loop, rssBytes: process.memoryUsage.rss(), cpuShare: this.#cpuShare() };
  }

  #cpuShare(): number {
    const before = this.#cpu;
    const { user, system } = process.cpuUsage(before);
    const at = performance.now();
    this.#cpu = { at, user: before.user + user, system: before.system + system };
    return (user + system) / 1_000 / Math.max(1, at - before.at);
  }
}

/** Keeps what it was given for a while. */
class Kept<Value> {
  readonly #freshMs: number;
  readonly #make: () => Promise<Value>;
  #madeAt = Number.NEGATIVE_INFINITY;
  #value: Promise<Value> | undefined;

  constructor(freshMs: number, make: () => Promise<Value>) {
    this.#freshMs = freshMs;
    this.#make = make;
  }

  get(): Promise<Value> {
    const now = performance.now();
    if (this.#value === undefined || now - this.#madeAt >= this.#freshMs) {
      this.#madeAt = now;
      this.#value = this.#make();
    }
    return this.#value;
  }
}
