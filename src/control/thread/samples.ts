import type { Collected } from '../collected.ts';
import type { HeartbeatReader } from '../heartbeat.ts';
import type { LoopFigures, MainMethods } from '../protocol.ts';
import { NoAnswerError, RemoteError, type Rpc } from '../rpc.ts';
import type { ProcessFigures } from '../shown.ts';
import { Kept } from './kept.ts';

/** What the main thread has told for Prometheus. */
export interface Collection {
  readonly collected: Collected;
  /** By this thread's `performance`; `NaN`: it has never told anything. */
  readonly at: number;
}

/** How long figures are kept for those who ask next. */
const FRESH_MS = 900;
/** How long the main loop may take: whoever reads is to be told every second. */
const ANSWER_MS = 500;
/** How long it may take for a scrape, before that is answered with what it said last. */
const SCRAPE_ANSWER_MS = 1_000;

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

/** Asks the main thread for its figures: only when somebody asks for them here, and once for all who do, of any server. */
export class Samples {
  readonly #main: Rpc<MainMethods>;
  readonly #heartbeat: HeartbeatReader;
  readonly #process: Kept<ProcessFigures>;
  readonly #metrics: Kept<Collection>;
  #loop = unknown;
  #collection: Collection = { collected: { at: 0, families: [] }, at: Number.NaN };
  #cpu = { at: performance.now(), ...process.cpuUsage() };

  constructor(main: Rpc<MainMethods>, heartbeat: HeartbeatReader) {
    this.#main = main;
    this.#heartbeat = heartbeat;
    this.#process = new Kept(FRESH_MS, () => this.#sample());
    this.#metrics = new Kept(0, () => this.#collect());
  }

  /** Not older than a second. */
  process(): Promise<ProcessFigures> {
    return this.#process.get();
  }

  /** As they are now; what there was last while the main loop is blocked. */
  metrics(): Promise<Collection> {
    return this.#metrics.get();
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

  async #collect(): Promise<Collection> {
    if (this.#heartbeat.blockedMs <= SCRAPE_ANSWER_MS) {
      try {
        const collected = await this.#main.call('collect', undefined, { timeoutMs: SCRAPE_ANSWER_MS });
        this.#collection = { collected, at: performance.now() };
      } catch (thrown) {
        // It is blocked, or has failed and logged why: what it said last tells more than an error.
        if (!(thrown instanceof NoAnswerError || thrown instanceof RemoteError)) throw thrown;
      }
    }
    return this.#collection;
  }

  #cpuShare(): number {
    const before = this.#cpu;
    const { user, system } = process.cpuUsage(before);
    const at = performance.now();
    this.#cpu = { at, user: before.user + user, system: before.system + system };
    return (user + system) / 1_000 / Math.max(1, at - before.at);
  }
}
