/** Says which lines of a program hold how much memory, and warns of leaks. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { getHeapStatistics } from 'node:v8';
import { z } from 'zod';
import { orAborted } from '../abort.ts';
import { Histogram, type Metric } from '../metrics.ts';
import { CallSites } from '../observe/memory/call-sites.ts';
import { Collections } from '../observe/memory/collections.ts';
import { type Capture, HeapSampler } from '../observe/memory/heap-sampler.ts';
import { HeapSnapshotRefusedError, HeapSnapshots } from '../observe/memory/heap-snapshot.ts';
import { HoldingsHistory } from '../observe/memory/holdings-history.ts';
import { type Holdings, Ledger } from '../observe/memory/ledger.ts';
import { formatReport, formatSite } from '../observe/memory/table.ts';
import { formatTrend, type Trend, TrendDetector } from '../observe/memory/trend.ts';
import { Pace } from '../observe/pace.ts';
import type { LeakSuspicion, MemoryReport } from '../observe/reports.ts';
import { SourceMaps } from '../observe/source-maps.ts';
import { byteCount, durationMs } from '../options.ts';
import { type Scope, Service } from '../service.ts';
import { hostOf } from '../supervisor/run.ts';

export type { LeakSuspicion, MemoryReport, MemoryRow } from '../observe/reports.ts';

/** Upper bounds for what a report holds up the main loop, in seconds. */
const PAUSE_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];

/** The share of the interval, at its end, in which a report waits for a garbage collection. */
const COLLECTION_WINDOW = 0.25;

/** How far below `snapshotAtHeapShare` the heap has to fall for the next crossing to count, as a share of it. */
const CROSSED_BACK = 0.9;

/** When a snapshot that was refused is tried again, where the refusal does not say. */
const TRY_AGAIN_MS = 60_000;

/** One run of the service. */
interface Tracing {
  readonly scope: Scope;
  readonly sampler: HeapSampler;
  readonly collections: Collections;
  readonly ledger: Ledger;
  readonly pace: Pace;
  readonly trend: TrendDetector;
  readonly snapshots: HeapSnapshots;
  readonly history: HoldingsHistory;
  /** What was held at the first report and at the last one. */
  first?: Holdings;
  last?: Holdings;
  /** Whether the next collection near the heap's limit takes a snapshot, and from when on. */
  snapshotArmed: boolean;
  snapshotFrom: number;
}

/**
 * Reports through the log, every `intervalMs`, which places in the code hold how much of what was allocated since
 * it started, and by how much that has changed; and warns once when the heap grows for good. It samples: what it
 * reports are estimates, the better the more a place holds. The event `memory-reported` carries the same.
 *
 * ```ts
 * await run([api, new MemoryTracerService({ top: 5 })]);
 * ```
 *
 * There can be one in a process, beside no other user of V8's sampling heap profiler.
 */
export class MemoryTracerService extends Service.extend({
  critical: z.boolean().default(false),
  /**
   * From one report to the next. Within its last quarter, a report comes right after a garbage collection, if there is
   * one. Default: a minute, as in aiomisc.
   */
  intervalMs: durationMs()
    .refine((ms) => ms > 0 && Number.isFinite(ms), 'must be greater than 0 and finite')
    .default(60_000),
  /** The rows of a report: those that have grown most. */
  top: z.int().min(1).default(10),
  /** What the differences of a report are to: the report before, or the first one. */
  against: z.enum(['previous', 'start']).default('previous'),
  /** What a row stands for. */
  groupBy: z.enum(['line', 'file', 'stack']).default('line'),
  /**
   * One sample is taken for so many allocated bytes: fewer make it more exact, and cost more. Default: 1 MiB, twice
   * that of V8 and Go, which a daemon that does nothing but answer would notice. Growth on the heap is known to 25 %
   * when it is 64 times as much (64 MiB); of buffers with memory outside, a line has to hold about one for 90 of these
   * bytes (12,000) to be seen.
   */
  samplingBytes: byteCount()
    .refine((bytes) => Number.isInteger(bytes) && bytes >= 1_024, 'must be a whole number of at least 1024')
    .default(1_024 * 1_024),
  /** Frames of a stack that are kept, the innermost ones. With too few, the user's own may not be among them. */
  stackDepth: z.int().min(1).max(256).default(24),
  /** Of the line with the table. */
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'silent']).default('info'),
  /** What the heap does for so long after the start is not taken for a leak. */
  warmUpMs: durationMs().default(180_000),
  /**
   * Takes a heap snapshot when so much of the heap's limit is used, from 0 to 1, each time anew; one that is refused is
   * tried again while that is so. Default: never.
   */
  snapshotAtHeapShare: z.number().gt(0).max(1).optional(),
  /** Where snapshots are written. Default: a folder of each run's own below the system's for temporary files. */
  snapshotDir: z.string().min(1).optional(),
  /** Older ones in the folder are removed when there are more. */
  maxSnapshots: z.int().min(1).default(3),
}) {
  readonly #pauses = new Histogram(PAUSE_BOUNDS);
  #warnings = 0;

  /** @throws an `Error` when V8's sampling heap profiler is in use already. */
  override async start(scope: Scope): Promise<void> {
    const { samplingBytes, stackDepth, groupBy, warmUpMs, snapshotDir, maxSnapshots } = this.options;
    const { clock, log } = scope;
    const sampler = await HeapSampler.start({ samplingBytes, stackDepth, clock });
    scope.defer(() => sampler[Symbol.dispose]());
    const collections = new Collections();
    scope.defer(() => collections[Symbol.dispose]());
    const snapshots = new HeapSnapshots({ dir: snapshotDir, maxFiles: maxSnapshots, clock, log });
    scope.defer(() => snapshots[Symbol.asyncDispose]());
    const pace = new Pace();
    const sites = new CallSites(new SourceMaps(pace), pace);
    const tracing: Tracing = {
      scope,
      sampler,
      collections,
      ledger: new Ledger(sites, groupBy, process.memoryUsage().arrayBuffers, pace),
      pace,
      trend: new TrendDetector({ from: clock.now() + warmUpMs }),
      history: new HoldingsHistory(),
      snapshots,
      snapshotArmed: true,
      snapshotFrom: clock.now(),
    };
    const inScope = AsyncLocalStorage.snapshot();
    collections.on((major) => {
      if (major) inScope(() => this.#afterCollection(tracing));
    });
    scope.spawn('reports', (signal) => this.#reports(tracing, signal));
  }

  override metrics(): readonly Metric[] {
    return [
      {
        name: 'bosun_memory_tracer_report_pause_seconds',
        help: 'How long reports of the memory tracer held up the main loop.',
        type: 'histogram',
        samples: [this.#pauses.sample()],
      },
      {
        name: 'bosun_memory_tracer_leak_warnings_total',
        help: 'Warnings that the heap grows for good.',
        type: 'counter',
        samples: [{ value: this.#warnings }],
      },
    ];
  }

  async #reports(tracing: Tracing, signal: AbortSignal): Promise<void> {
    const { intervalMs } = this.options;
    const { clock } = tracing.scope;
    const window = intervalMs * COLLECTION_WINDOW;
    for (let due = clock.now() + intervalMs; ; due += intervalMs) {
      // Those that could not be in time are left out.
      if (due <= clock.now()) due = clock.now() + intervalMs;
      await clock.sleep(Math.max(0, due - window - clock.now()), { signal });
      await collected(tracing, due, signal);
      try {
        await this.#report(tracing, signal);
      } catch (thrown) {
        if (signal.aborted) throw thrown;
        tracing.scope.log.error({ err: thrown }, 'a memory report failed; the next one is made all the same');
      }
    }
  }

  async #report(tracing: Tracing, signal: AbortSignal): Promise<void> {
    const { scope, sampler, ledger, pace } = tracing;
    const { against, top, logLevel } = this.options;
    pace.restart();
    const capture = sampler.capture();
    const holdings = await ledger.add(capture);
    const isFirst = tracing.first === undefined;
    const baseline = against === 'start' ? tracing.first : tracing.last;
    const rows = await ledger.rows(holdings, baseline, top);
    const pauseMs = pace.longestMs;
    this.#pauses.observe(pauseMs / 1_000);
    if (signal.aborted) return;
    tracing.first ??= holdings;
    tracing.last = holdings;
    tracing.history.add(capture.at, holdings);
    const { unattributedBytes } = holdings;
    const report: MemoryReport = {
      ...figuresOf(capture),
      rows,
      unattributedBytes,
      unattributedBytesDiff: unattributedBytes - (baseline?.unattributedBytes ?? 0),
      samplingBytes: this.options.samplingBytes,
      pauseMs,
    };
    const since = isFirst ? 'the start' : against === 'start' ? 'the first report' : 'the last report';
    scope.log[logLevel]({ memory: report }, formatReport(report, since));
    hostOf(scope).emit({ type: 'memory-reported', report });
  }

  /** After a collection of the whole heap, what is used is what is live. */
  #afterCollection(tracing: Tracing): void {
    const { scope, trend } = tracing;
    const heap = getHeapStatistics();
    const found = trend.add(scope.clock.now(), heap.used_heap_size + heap.external_memory);
    if (found !== undefined) scope.spawn('leak warning', () => this.#warn(tracing, found));
    this.#watchLimit(tracing, heap.used_heap_size / heap.heap_size_limit);
  }

  #watchLimit(tracing: Tracing, share: number): void {
    const { scope } = tracing;
    const { snapshotAtHeapShare: limit } = this.options;
    if (limit === undefined) return;
    if (share < limit * CROSSED_BACK) tracing.snapshotArmed = true;
    if (share < limit || !tracing.snapshotArmed || scope.clock.now() < tracing.snapshotFrom) return;
    tracing.snapshotArmed = false;
    scope.spawn('heap snapshot', (signal) => this.#takeSnapshot(tracing, share, signal));
  }

  async #warn({ scope, ledger, history }: Tracing, trend: Trend): Promise<void> {
    const { since, mibPerHour, confidence } = trend;
    const held = history.since(since);
    const [row] = held === undefined ? [] : await ledger.rows(held.last, held.before, 1);
    const unattributed =
      held === undefined ? 0 : Math.max(0, held.last.unattributedBytes - held.before.unattributedBytes);
    const suspect = row !== undefined && row.bytesDiff > unattributed ? row : undefined;
    const suspicion: LeakSuspicion = { at: scope.clock.now(), mibPerHour, confidence, suspect };
    this.#warnings += 1;
    const where =
      suspect !== undefined
        ? `; most of the growth comes from ${formatSite(suspect)}`
        : unattributed > 0
          ? '; most of the growth is of buffers that were not sampled'
          : '';
    scope.log.warn({ leak: suspicion }, `${formatTrend(trend)}${where}`);
    hostOf(scope).emit({ type: 'leak-suspected', suspicion });
  }

  async #takeSnapshot(tracing: Tracing, share: number, signal: AbortSignal): Promise<void> {
    const { scope, snapshots } = tracing;
    scope.log.warn(`${Math.round(share * 100)} % of the heap's limit is used`);
    try {
      const { path, bytes, durationMs } = await snapshots.take(signal);
      hostOf(scope).emit({ type: 'heap-snapshot-taken', path, bytes, durationMs });
    } catch (thrown) {
      if (signal.aborted) return;
      if (!(thrown instanceof HeapSnapshotRefusedError)) {
        scope.log.error({ err: thrown }, "the heap snapshot near the heap's limit failed");
        return;
      }
      const { message, retryAfterMs = TRY_AGAIN_MS } = thrown;
      tracing.snapshotArmed = true;
      tracing.snapshotFrom = scope.clock.now() + retryAfterMs;
      scope.log.error(
        { err: thrown },
        `the heap snapshot near the heap's limit was refused: ${message}; it is tried again while the heap is as large`,
      );
    }
  }
}

const figuresOf = ({ at, memory }: Capture) => ({
  at,
  rssBytes: memory.rss,
  heapUsedBytes: memory.heapUsed,
  heapTotalBytes: memory.heapTotal,
  externalBytes: memory.external,
  arrayBuffersBytes: memory.arrayBuffers,
});

/** Resolves right after the next garbage collection, when there is little garbage, or when `due` has come. */
async function collected({ collections, scope }: Tracing, due: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const off = collections.on(() => resolve());
  const timer = scope.clock.setTimer(resolve, Math.max(0, due - scope.clock.now()));
  try {
    await orAborted(promise, signal);
  } finally {
    timer.cancel();
    off();
  }
}
