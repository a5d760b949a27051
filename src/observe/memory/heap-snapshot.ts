import { mkdtempSync } from 'node:fs';
import { mkdir, readdir, rename, rm, rmdir, stat, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { getHeapStatistics, writeHeapSnapshot } from 'node:v8';
import type { Clock } from '../../clock.ts';
import { BosunError } from '../../errors.ts';
import type { Logger } from '../../service.ts';
import { formatBytes } from './table.ts';

/** Options of `HeapSnapshots`. */
export interface HeapSnapshotsOptions {
  /**
   * Where they are written; made when it is not there. `undefined`: a folder of its own below the system's for
   * temporary files, which is removed at the end unless there are snapshots in it.
   */
  readonly dir: string | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  /** Older ones in the folder are removed when there are more. Default: 3. */
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
  /** How long the main loop stood still. */
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

/** From the pause for one to the next. */
const MIN_INTERVAL_MS = 60_000;
const DEFAULT_MAX_FILES = 3;

const suffix = '.heapsnapshot';
const ownFile = /^bosun-[\dTZ-]+-\d+\.heapsnapshot$/;
const partial = /^bosun-[\dTZ-]+-(\d+)\.heapsnapshot\.partial$/;

/** There is one heap in the process, whoever wants to see it. */
const heap = {
  busy: false,
  /** When the main loop last stood still for one. */
  pausedAt: Number.NEGATIVE_INFINITY,
  /** What one is taken to cost: measured on heaps of 50 to 200 MB at first, then by the last one. */
  pauseMsPerMib: 50,
  bytesPerByte: 2,
};

/**
 * Takes snapshots of the heap, for the memory tools of Chrome and its like. They hold everything that is in the
 * memory, secrets too: only the owner may read the files.
 */
export class HeapSnapshots implements AsyncDisposable {
  readonly #isTemporary: boolean;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #maxFiles: number;
  #dir: string | undefined;

  constructor({ dir, clock, log, maxFiles = DEFAULT_MAX_FILES }: HeapSnapshotsOptions) {
    this.#isTemporary = dir === undefined;
    this.#dir = dir && resolve(dir);
    this.#clock = clock;
    this.#log = log;
    this.#maxFiles = maxFiles;
  }

  /**
   * What `take` would cost now, and whether it would be refused. Makes the folder when it is not there, and removes
   * what is in it that nobody will finish.
   */
  async plan(): Promise<SnapshotPlan> {
    const dir = await this.#folder();
    await removeAbandoned(dir);
    const { bavail, bsize } = await statfs(dir);
    const heapUsedBytes = getHeapStatistics().used_heap_size;
    const estimatedPauseMs = Math.round((heapUsedBytes / MIB) * heap.pauseMsPerMib);
    const estimatedBytes = Math.round(heapUsedBytes * heap.bytesPerByte);
    const freeBytes = bavail * bsize;
    const refusal = this.#refusal() ?? noSpace(dir, estimatedBytes, freeBytes);
    return { heapUsedBytes, estimatedPauseMs, estimatedBytes, freeBytes, refusal };
  }

  /**
   * Takes one, which holds up the main loop for about `estimatedPauseMs`; says so in the log before. Until then
   * `signal` can abort it; the pause cannot be cut short, and what was written in it is kept.
   *
   * @throws {HeapSnapshotRefusedError} `ERR_HEAP_SNAPSHOT_REFUSED`
   * @throws `signal.reason`; what the file system throws.
   */
  async take(signal?: AbortSignal): Promise<HeapSnapshot> {
    signal?.throwIfAborted();
    const plan = await this.plan();
    // Since the plan, another may have begun.
    const refusal = plan.refusal ?? this.#refusal();
    if (refusal !== null) throw new HeapSnapshotRefusedError(refusal);
    heap.busy = true;
    try {
      return await this.#take(plan, signal);
    } finally {
      heap.busy = false;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // It is not empty when there are snapshots in it.
    if (this.#isTemporary && this.#dir !== undefined) await rmdir(this.#dir).catch(() => {});
  }

  /** Others must not be able to put anything there: `mkdtemp` makes it with mode 0700, too. */
  async #folder(): Promise<string> {
    this.#dir ??= mkdtempSync(join(tmpdir(), `bosun-${process.pid}-`));
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    return this.#dir;
  }

  #refusal(): SnapshotRefusal | null {
    if (heap.busy) {
      const message = 'a heap snapshot is being taken already';
      return { reason: 'busy', message, retryAfterMs: undefined };
    }
    const retryAfterMs = heap.pausedAt + MIN_INTERVAL_MS - this.#clock.now();
    if (retryAfterMs <= 0) return null;
    const message = `the last heap snapshot was taken just now: the next can be in ${Math.ceil(retryAfterMs)} ms`;
    return { reason: 'too-soon', message, retryAfterMs };
  }

  async #take(plan: SnapshotPlan, signal: AbortSignal | undefined): Promise<HeapSnapshot> {
    const { heapUsedBytes, estimatedPauseMs, estimatedBytes } = plan;
    this.#log.warn(
      { heapUsedBytes, estimatedPauseMs, estimatedBytes },
      `taking a heap snapshot: the main loop will stand still for about ${(estimatedPauseMs / 1_000).toFixed(1)} s`,
    );
    // Lets the line above out before everything stops.
    await setImmediate();
    signal?.throwIfAborted();
    const dir = await this.#folder();
    const path = join(dir, `bosun-${stamp(this.#clock.now())}-${process.pid}${suffix}`);
    const unfinished = `${path}.partial`;
    // V8 follows links and overwrites: it writes where nobody else can have put anything.
    await mkdir(unfinished, { mode: 0o700 });
    try {
      const file = join(unfinished, basename(path));
      const durationMs = this.#write(file);
      const { size: bytes } = await stat(file);
      await rename(file, path);
      heap.pauseMsPerMib = durationMs / (heapUsedBytes / MIB);
      heap.bytesPerByte = bytes / heapUsedBytes;
      this.#log.warn({ path, bytes, durationMs }, `took a heap snapshot of ${formatBytes(bytes)}: ${path}`);
      await this.#removeOld(dir, basename(path));
      return { path, bytes, durationMs };
    } finally {
      await rm(unfinished, { recursive: true, force: true });
    }
  }

  /** V8 hands it to the file in chunks, and does nothing else meanwhile. Returns how long that took. */
  #write(file: string): number {
    const begun = this.#clock.now();
    try {
      writeHeapSnapshot(file);
    } finally {
      heap.pausedAt = this.#clock.now();
    }
    return heap.pausedAt - begun;
  }

  async #removeOld(dir: string, newest: string): Promise<void> {
    try {
      const files = await readdir(dir);
      const old = files.filter((file) => ownFile.test(file) && file !== newest).sort();
      await remove(dir, old.slice(0, Math.max(0, old.length + 1 - this.#maxFiles)));
    } catch (thrown) {
      this.#log.warn({ err: thrown }, `old heap snapshots in ${dir} were not removed`);
    }
  }
}

function noSpace(dir: string, neededBytes: number, freeBytes: number): SnapshotRefusal | null {
  if (neededBytes <= freeBytes) return null;
  const message = `a heap snapshot would take about ${formatBytes(neededBytes)}, but ${dir} has only ${formatBytes(freeBytes)} free`;
  return { reason: 'no-space', message, retryAfterMs: undefined };
}

/** Removes what a process did not finish that is gone; in a container the one before had the same id. */
async function removeAbandoned(dir: string): Promise<void> {
  const files = await readdir(dir);
  if (heap.busy) return;
  const abandoned = files.filter((file) => {
    const pid = partial.exec(file)?.[1];
    return pid !== undefined && (Number(pid) === process.pid || !isRunning(Number(pid)));
  });
  await remove(dir, abandoned);
}

async function remove(dir: string, files: readonly string[]): Promise<void> {
  await Promise.all(files.map((file) => rm(join(dir, file), { recursive: true, force: true })));
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
