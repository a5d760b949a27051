import { createWriteStream } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setImmediate } from 'node:timers/promises';
import { getHeapSnapshot, getHeapStatistics } from 'node:v8';
import type { Clock } from '../../clock.ts';
import { BosunError } from '../../errors.ts';
import type { Logger } from '../../service.ts';
import { formatBytes } from './table.ts';

/** Options of `HeapSnapshots`. */
export interface HeapSnapshotsOptions {
  /** Where they are written; made when it is not there. */
  readonly dir: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** From the end of one to the beginning of the next; 0: at any time. Default: a minute. */
  readonly minIntervalMs?: number;
  /** Older ones are removed when there are more. Default: 3. */
  readonly maxFiles?: number;
}

/** Why no snapshot is taken now: another is being taken, the last was taken just now, the disk is too full. */
export interface SnapshotRefusal {
  readonly reason: 'busy' | 'too-soon' | 'no-space';
  readonly message: string;
  /** When it can be taken; `undefined`: not known. */
  readonly retryAfterMs: number | undefined;
}

/** What a snapshot would cost now. */
export interface SnapshotPlan {
  readonly heapUsedBytes: number;
  /** How long the main loop would stand still. */
  readonly estimatedPauseMs: number;
  /** How large the file would be. */
  readonly estimatedBytes: number;
  /** What is free where it would be written. */
  readonly freeBytes: number;
  readonly refusal: SnapshotRefusal | null;
}

/** A snapshot that was taken. */
export interface HeapSnapshot {
  readonly path: string;
  readonly bytes: number;
  readonly durationMs: number;
}

/** A heap snapshot was not taken. */
export class HeapSnapshotRefusedError extends BosunError {
  readonly code = 'ERR_HEAP_SNAPSHOT_REFUSED';
  readonly reason: SnapshotRefusal['reason'];
  readonly retryAfterMs?: number;

  constructor({ reason, message, retryAfterMs }: SnapshotRefusal) {
    super(message);
    this.reason = reason;
    if (retryAfterMs !== undefined) this.retryAfterMs = retryAfterMs;
  }
}

const MIB = 2 ** 20;

/** What the first one is taken to cost: measured on heaps of 50 to 200 MB. Later ones go by the last. */
const FIRST_PAUSE_MS_PER_MIB = 50;
const FIRST_BYTES_PER_BYTE = 2;

const DEFAULT_MIN_INTERVAL_MS = 60_000;
const DEFAULT_MAX_FILES = 3;

const suffix = '.heapsnapshot';
const ownFile = /^bosun-[\dTZ-]+-\d+\.heapsnapshot$/;
const partial = /^bosun-[\dTZ-]+-(\d+)\.heapsnapshot\.partial$/;

/** There is one heap, whoever wants to see it. */
let busy = false;

/**
 * Takes snapshots of the heap, for the memory tools of Chrome and its like. They hold everything that is in the
 * memory, secrets too: only the owner may read the files.
 */
export class HeapSnapshots {
  readonly #dir: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #minIntervalMs: number;
  readonly #maxFiles: number;
  #pauseMsPerMib = FIRST_PAUSE_MS_PER_MIB;
  #bytesPerByte = FIRST_BYTES_PER_BYTE;
  #lastAt = Number.NEGATIVE_INFINITY;

  constructor(options: HeapSnapshotsOptions) {
    const { dir, clock, log } = options;
    this.#dir = resolve(dir);
    this.#clock = clock;
    this.#log = log;
    this.#minIntervalMs = options.minIntervalMs ?? DEFAULT_MIN_INTERVAL_MS;
    this.#maxFiles = options.maxFiles ?? DEFAULT_MAX_FILES;
  }

  /** What `take` would cost now, and whether it would be refused. Makes the folder when it is not there. */
  async plan(): Promise<SnapshotPlan> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    const { bavail, bsize } = await statfs(this.#dir);
    const heapUsedBytes = getHeapStatistics().used_heap_size;
    const estimatedPauseMs = Math.round((heapUsedBytes / MIB) * this.#pauseMsPerMib);
    const estimatedBytes = Math.round(heapUsedBytes * this.#bytesPerByte);
    const freeBytes = bavail * bsize;
    const refusal = this.#refusal(estimatedBytes, freeBytes);
    return { heapUsedBytes, estimatedPauseMs, estimatedBytes, freeBytes, refusal };
  }

  /**
   * Takes one, which holds up the main loop for about `estimatedPauseMs`; says so in the log before. When `signal`
   * aborts, nothing is left of it; the pause itself cannot be cut short.
   *
   * @throws {HeapSnapshotRefusedError} `ERR_HEAP_SNAPSHOT_REFUSED`
   * @throws `signal.reason`; what the file system throws.
   */
  async take(signal?: AbortSignal): Promise<HeapSnapshot> {
    signal?.throwIfAborted();
    const plan = await this.plan();
    // Since the plan, another may have begun.
    const refusal = plan.refusal ?? this.#refusal(0, 0);
    if (refusal !== null) throw new HeapSnapshotRefusedError(refusal);
    busy = true;
    try {
      return await this.#take(plan, signal);
    } finally {
      busy = false;
      this.#lastAt = this.#clock.now();
    }
  }

  /** The path of a snapshot by the name of its file; `undefined` when it cannot be one of these. */
  pathOf(file: string): string | undefined {
    return ownFile.test(file) ? join(this.#dir, file) : undefined;
  }

  #refusal(neededBytes: number, freeBytes: number): SnapshotRefusal | null {
    if (busy) {
      const message = 'a heap snapshot is being taken already';
      return { reason: 'busy', message, retryAfterMs: undefined };
    }
    const retryAfterMs = this.#lastAt + this.#minIntervalMs - this.#clock.now();
    if (retryAfterMs > 0) {
      const message = `the last heap snapshot was taken just now: the next can be in ${Math.ceil(retryAfterMs)} ms`;
      return { reason: 'too-soon', message, retryAfterMs };
    }
    if (neededBytes > freeBytes) {
      const message = `a heap snapshot would take about ${formatBytes(neededBytes)}, but ${this.#dir} has only ${formatBytes(freeBytes)} free`;
      return { reason: 'no-space', message, retryAfterMs: undefined };
    }
    return null;
  }

  async #take(plan: SnapshotPlan, signal: AbortSignal | undefined): Promise<HeapSnapshot> {
    const { heapUsedBytes, estimatedPauseMs, estimatedBytes } = plan;
    this.#log.warn(
      { heapUsedBytes, estimatedPauseMs, estimatedBytes },
      `taking a heap snapshot: the main loop will stand still for about ${(estimatedPauseMs / 1_000).toFixed(1)} s`,
    );
    await this.#removeOld(this.#maxFiles - 1);
    // Lets the line above out before everything stops.
    await setImmediate();
    signal?.throwIfAborted();
    const begun = this.#clock.now();
    const path = join(this.#dir, `bosun-${stamp(begun)}-${process.pid}${suffix}`);
    const unfinished = `${path}.partial`;
    try {
      await pipeline(getHeapSnapshot(), createWriteStream(unfinished, { flags: 'wx', mode: 0o600 }), {
        ...(signal && { signal }),
      });
      const { size: bytes } = await stat(unfinished);
      await rename(unfinished, path);
      const durationMs = this.#clock.now() - begun;
      this.#pauseMsPerMib = durationMs / (heapUsedBytes / MIB);
      this.#bytesPerByte = bytes / heapUsedBytes;
      this.#log.warn({ path, bytes, durationMs }, `took a heap snapshot of ${formatBytes(bytes)}: ${path}`);
      return { path, bytes, durationMs };
    } catch (thrown) {
      await rm(unfinished, { force: true });
      throw signal?.aborted ? signal.reason : thrown;
    }
  }

  /** Keeps so many, and nothing of what a process did not finish that is gone. */
  async #removeOld(keep: number): Promise<void> {
    const files = await readdir(this.#dir);
    const old = files.filter((file) => ownFile.test(file)).sort();
    const excess = old.slice(0, Math.max(0, old.length - keep));
    const left = files.filter((file) => !isRunning(Number(partial.exec(file)?.[1] ?? process.pid)));
    await Promise.all(
      [...excess, ...left].map((file) => rm(join(this.#dir, basename(file)), { force: true })),
    );
  }
}

/** A time as a part of a file's name, in the order of time: `20261122T083000123Z`. */
const stamp = (at: number) => new Date(at).toISOString().replace(/[-:.]/g, '');

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EPERM';
  }
}
