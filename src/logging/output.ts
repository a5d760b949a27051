import { AsyncLocalStorage } from 'node:async_hooks';
import { write, writeSync } from 'node:fs';
import { systemClock, type Timer } from '../clock.ts';
import { type Descriptor, openDescriptor } from './descriptor.ts';

/** Rendered lines of one source that are written in one go. */
export interface Batch {
  readonly source: Source;
  readonly lines: readonly string[];
  /** What its source counts it as. */
  readonly bytes: number;
  readonly buffer: Buffer;
  /** How much of `buffer` has been written. */
  written: number;
}

/** A log that writes to an output, and holds its lines until their turn has come. */
export interface Source {
  /** The next lines, `maxBytes` in all or a single one; `undefined` when none wait. */
  take(maxBytes: number): Batch | undefined;
  written(batch: Batch): void;
  /** So many lines of a batch will never be written, not wholly at least. */
  lost(batch: Batch, lines: number): void;
  /** The output can take nothing any more: the pipe is closed, the terminal is gone. */
  broken(error: Error): void;
  /** The process ends, and what could be written has been. */
  exit(): void;
}

/** Errors that pass: no room in the pipe, or on the disk. */
const passing = new Set(['EAGAIN', 'EINTR', 'EBUSY', 'ENOSPC', 'EDQUOT']);

/** While nothing can be written, the pause between two tries doubles up to this. */
const MAX_RETRY_MS = 64;
/** So that a long queue and a fast reader do not hold up the loop. */
const TURN_MS = 2;
/** How long a synchronous flush may hold up the process. */
const SYNC_LIMIT_MS = 1_000;
const SYNC_PAUSE_MS = 5;

/** What is set up here outlives the request that logged, so it must not hold on to its AsyncLocalStorage. */
const outside = AsyncLocalStorage.snapshot();

const outputs = new Map<number, Output>();

/** Memory that tells other threads, by a number that is not 0, that one has written a line only in part. */
export type MidLine = SharedArrayBuffer;

const midLines = new Map<number, MidLine>();

/** Where this thread tells the others that it is in the middle of a line on a descriptor. */
export function midLineOf(fd: number): MidLine {
  const known = midLines.get(fd) ?? new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  midLines.set(fd, known);
  return known;
}

/**
 * The output of a descriptor, which all logs of the thread that write to it share. `release` it.
 *
 * @param others Another thread that writes to the same descriptor: no line begins in the middle of one of its.
 */
export function acquireOutput(fd: number, source: Source, others?: MidLine): Output {
  const output = outputs.get(fd) ?? new Output(fd, others, () => outputs.delete(fd));
  outputs.set(fd, output);
  output.sources.add(source);
  return output;
}

/**
 * Takes the sources' lines to a descriptor without ever waiting for its reader. A batch that has been written in
 * part is finished before another one begins, so lines are never torn.
 */
class Output {
  readonly sources = new Set<Source>();
  readonly #descriptor: Descriptor;
  readonly #midLine: Int32Array;
  readonly #others: Int32Array | undefined;
  readonly #onReleased: () => void;
  readonly #onExit = () => this.#exit();
  /** What is written before the sources are asked: begun, or urgent. */
  readonly #first: Batch[] = [];
  readonly #urgent = new WeakSet<Batch>();
  /** What is being written in libuv's pool. */
  #inPool: Batch | undefined;
  #writing = false;
  #turn: NodeJS.Immediate | undefined;
  #retry: Timer | undefined;
  #retryMs = 1;
  /** A synchronous flush has given up, and nothing has been written since. */
  #stalled = false;
  #broken = false;

  constructor(fd: number, others: MidLine | undefined, onReleased: () => void) {
    this.#descriptor = openDescriptor(fd);
    this.#midLine = new Int32Array(midLineOf(fd));
    this.#others = others && new Int32Array(others);
    this.#onReleased = onReleased;
    process.on('exit', this.#onExit);
  }

  /** Starts writing, unless it is under way or has to wait for room. */
  kick(): void {
    if (this.#turn === undefined && this.#retry === undefined) this.#pump();
  }

  /**
   * Writes a batch before it returns: after the lines that wait if there is room for all, else ahead of them.
   * When there is no room for 1 s, it stays the next to be written.
   */
  writeUrgently(batch: Batch): void {
    this.flushNow();
    this.#urgent.add(batch);
    const others = this.#first.findIndex((other) => other.written === 0 && !this.#urgent.has(other));
    this.#first.splice(others === -1 ? this.#first.length : others, 0, batch);
    this.#flushSync(() => batch.written === batch.buffer.length);
    this.kick();
  }

  /** Writes what there is room for, without waiting. */
  flushNow(): void {
    this.#flushSync(() => false, 0);
  }

  /** Ends a source's use. The last source takes the output down. */
  release(source: Source): void {
    // What is in the pool has been handed over: the process does not end before it is done.
    for (const batch of [...this.#first]) if (batch.source === source) this.#lose(batch);
    this.sources.delete(source);
    if (this.sources.size > 0) return;
    process.off('exit', this.#onExit);
    clearImmediate(this.#turn);
    this.#retry?.cancel();
    this.#descriptor[Symbol.dispose]();
    this.#onReleased();
  }

  #next(): Batch | undefined {
    if (this.#first.length === 0) {
      const batch = this.#take();
      if (batch !== undefined) this.#first.push(batch);
    }
    return this.#first[0];
  }

  #take(): Batch | undefined {
    for (const source of this.sources) {
      const batch = source.take(this.#descriptor.batchBytes);
      if (batch === undefined) continue;
      // The other sources come first next time.
      this.sources.delete(source);
      this.sources.add(source);
      return batch;
    }
    return undefined;
  }

  /** A synchronous flush may have begun another one meanwhile. */
  #putBack(batch: Batch): void {
    const begun = (this.#first[0]?.written ?? 0) > 0;
    this.#first.splice(begun ? 1 : 0, 0, batch);
  }

  #pump(): void {
    if (this.#writing || this.#inPool !== undefined || this.#broken) return;
    if (this.#mustWait()) this.#tryLater();
    else if (this.#descriptor.nonBlocking) this.#writeHere();
    else this.#writeInPool();
  }

  #writeHere(): void {
    const end = performance.now() + TURN_MS;
    let wrote = false;
    this.#writing = true;
    for (let batch = this.#next(); batch !== undefined; batch = this.#next()) {
      wrote = this.#writeNow(batch);
      if (!wrote || performance.now() >= end) break;
    }
    this.#writing = false;
    if (wrote) this.#continueNextTurn();
    else if (this.#first.length > 0) this.#tryLater();
  }

  /** Whether another thread is in the middle of a line, and this one is not. */
  #mustWait(): boolean {
    return (
      this.#others !== undefined &&
      Atomics.load(this.#others, 0) !== 0 &&
      Atomics.load(this.#midLine, 0) === 0
    );
  }

  /** What is logged in the rest of this turn is written together. */
  #continueNextTurn(): void {
    outside(() => {
      this.#turn = setImmediate(() => {
        this.#turn = undefined;
        this.#pump();
      });
    });
  }

  #tryLater(): void {
    outside(() => {
      const retry = systemClock.setTimer(() => {
        this.#retry = undefined;
        this.#pump();
      }, this.#retryMs);
      this.#retry = retry.unref();
    });
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
  }

  #writeInPool(): void {
    const batch = this.#next();
    if (batch === undefined) return;
    this.#first.shift();
    this.#inPool = batch;
    outside(() => {
      write(this.#descriptor.fd, batch.buffer, batch.written, (error, bytes) => {
        this.#inPool = undefined;
        if (this.sources.size === 0) return;
        this.#putBack(batch);
        if (this.#account(batch, error, bytes)) this.kick();
        else if (!this.#broken) this.#tryLater();
      });
    });
  }

  #writeNow(batch: Batch): boolean {
    try {
      return this.#account(batch, null, writeSync(this.#descriptor.fd, batch.buffer, batch.written));
    } catch (error) {
      return this.#account(batch, error as NodeJS.ErrnoException, 0);
    }
  }

  /** Takes note of what a write came to; whether it wrote anything. */
  #account(batch: Batch, error: NodeJS.ErrnoException | null, bytes: number): boolean {
    if (error !== null && !passing.has(error.code ?? '')) this.#break(error);
    if (error !== null || bytes === 0) return false;
    this.#retryMs = 1;
    this.#stalled = false;
    batch.written += bytes;
    Atomics.store(this.#midLine, 0, batch.written === batch.buffer.length ? 0 : 1);
    if (batch.written === batch.buffer.length) {
      this.#first.splice(this.#first.indexOf(batch), 1);
      if (this.sources.has(batch.source)) batch.source.written(batch);
    }
    return true;
  }

  #break(error: Error): void {
    this.#broken = true;
    for (const batch of [...this.#first]) this.#lose(batch);
    for (const source of this.sources) source.broken(error);
  }

  #lose(batch: Batch): void {
    if (batch.written > 0) Atomics.store(this.#midLine, 0, 0);
    this.#first.splice(this.#first.indexOf(batch), 1);
    batch.source.lost(batch, unwrittenLines(batch));
  }

  /** Writes until `done`, for `limitMs` at most; not at all where a write might block. */
  #flushSync(done: () => boolean, limitMs = this.#stalled ? 0 : SYNC_LIMIT_MS): void {
    if (this.#writing || this.#broken || this.#mustWait() || !this.#descriptor.writableNow()) return;
    const end = performance.now() + limitMs;
    this.#writing = true;
    for (let batch = this.#next(); batch !== undefined && !done(); batch = this.#next()) {
      if (this.#writeNow(batch)) continue;
      if (performance.now() >= end) {
        this.#stalled ||= limitMs > 0;
        break;
      }
      Atomics.wait(sleeper, 0, 0, SYNC_PAUSE_MS);
    }
    this.#writing = false;
  }

  #exit(): void {
    this.#flushSync(() => false);
    for (const source of [...this.sources]) source.exit();
  }
}

export type { Output };

const sleeper = new Int32Array(new SharedArrayBuffer(4));

function unwrittenLines({ lines, written }: Batch): number {
  let end = 0;
  return lines.filter((line) => {
    end += Buffer.byteLength(line);
    return end > written;
  }).length;
}
