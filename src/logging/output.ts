import { AsyncLocalStorage } from 'node:async_hooks';
import { write, writeSync } from 'node:fs';
import { systemClock, type Timer } from '../clock.ts';
import { type Descriptor, openDescriptor } from './descriptor.ts';

/** A log that writes to an output. */
export interface Source {
  /** A line as it is to be written. Called when its turn has come, so that a burst of lines is not held up. */
  render(line: string): string;
  /** Lines that were added with so many bytes have been written. */
  written(bytes: number): void;
  /** So many lines, added with so many bytes, will never be written, not wholly at least. */
  lost(lines: number, bytes: number): void;
  /** The output can take nothing any more: the pipe is closed, the terminal is gone. */
  broken(error: Error): void;
  /** The process ends, and what could be written has been. */
  exit(): void;
}

/** Whole lines of one source that are written in one go. */
interface Batch {
  readonly source: Source;
  lines: string[];
  /** The length of the lines as they were added. */
  bytes: number;
  /** The lines as they are written; once it is there, nothing is added to them. */
  buffer?: Buffer;
  /** How much of `buffer` has been written. */
  written: number;
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

/** The output of a descriptor, which all logs of the process that write to it share. `release` it. */
export function acquireOutput(fd: number, source: Source): Output {
  const output = outputs.get(fd) ?? new Output(fd, () => outputs.delete(fd));
  outputs.set(fd, output);
  output.sources.add(source);
  return output;
}

/**
 * Lines in front of a descriptor; writing never waits for the reader. A line that has been written in part is
 * finished before another one begins. How much may wait is the sources' business.
 */
class Output {
  readonly sources = new Set<Source>();
  readonly #onReleased: () => void;
  readonly #descriptor: Descriptor;
  readonly #queue: Batch[] = [];
  readonly #onExit = () => this.#exit();
  #pumping = false;
  /** The first batch is being written in libuv's pool. */
  #inPool = false;
  #turn: NodeJS.Immediate | undefined;
  #retry: Timer | undefined;
  #retryMs = 1;
  /** A synchronous flush has given up, and nothing has been written since. */
  #stalled = false;
  #error: Error | undefined;

  constructor(fd: number, onReleased: () => void) {
    this.#descriptor = openDescriptor(fd);
    this.#onReleased = onReleased;
    process.on('exit', this.#onExit);
  }

  /** Why nothing can be written ever again. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** Queues a line; `bytes` is its length in UTF-8. */
  add(source: Source, line: string, bytes: number): void {
    const last = this.#queue.at(-1);
    const fits = last?.source === source && last.bytes + bytes <= this.#descriptor.batchBytes;
    if (fits && last.buffer === undefined) {
      last.lines.push(line);
      last.bytes += bytes;
    } else {
      this.#queue.push({ source, lines: [line], bytes, written: 0 });
    }
  }

  /**
   * Writes a line before it returns: after those that wait if there is room for all, else ahead of them. When
   * there is no room for 1 s, it stays the next line to be written.
   */
  addUrgent(source: Source, line: string, bytes: number): void {
    this.flushNow();
    const batch: Batch = { source, lines: [line], bytes, written: 0 };
    const begun = this.#inPool || (this.#queue[0]?.written ?? 0) > 0;
    this.#queue.splice(begun ? 1 : 0, 0, batch);
    this.#flushSync(() => !this.#queue.includes(batch));
    this.kick();
  }

  /** Drops a source's newest batch that is not being written; whether there was one. */
  dropNewest(source: Source): boolean {
    const batch = this.#queue.findLast((other) => other.source === source && other.buffer === undefined);
    if (batch !== undefined) this.#lose(batch);
    return batch !== undefined;
  }

  /** Starts writing, unless it is under way or has to wait for room. */
  kick(): void {
    if (this.#turn === undefined && this.#retry === undefined) this.#pump();
  }

  /** Writes what there is room for, without waiting. */
  flushNow(): void {
    this.#flushSync(() => this.#queue.length === 0, 0);
  }

  /** Ends a source's use: its lines that wait are lost. The last source takes the output down. */
  release(source: Source): void {
    // What is in the pool has been handed over: the process does not end before it is done.
    const waiting = this.#queue.slice(this.#inPool ? 1 : 0);
    for (const batch of waiting) if (batch.source === source) this.#lose(batch);
    this.sources.delete(source);
    if (this.sources.size > 0) return;
    process.off('exit', this.#onExit);
    clearImmediate(this.#turn);
    this.#retry?.cancel();
    this.#descriptor[Symbol.dispose]();
    this.#onReleased();
  }

  #pump(): void {
    if (this.#pumping || this.#inPool || this.#queue.length === 0) return;
    if (!this.#descriptor.nonBlocking) {
      this.#writeInPool();
      return;
    }
    const end = performance.now() + TURN_MS;
    let room = true;
    this.#pumping = true;
    while (room && this.#queue.length > 0 && performance.now() < end) room = this.#writeNext();
    this.#pumping = false;
    if (room) this.#continueNextTurn();
    else this.#tryLater();
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
    const batch = this.#queue[0] as Batch;
    this.#inPool = true;
    outside(() => {
      write(this.#descriptor.fd, bufferOf(batch), batch.written, (error, bytes) => {
        this.#inPool = false;
        if (this.#account(batch, error, bytes)) this.#pump();
        else if (this.#queue.length > 0) this.#tryLater();
      });
    });
  }

  /** Whether the next batch could be written, if only in part. */
  #writeNext(): boolean {
    const batch = this.#queue[this.#inPool ? 1 : 0] as Batch;
    try {
      return this.#account(batch, null, writeSync(this.#descriptor.fd, bufferOf(batch), batch.written));
    } catch (error) {
      return this.#account(batch, error as NodeJS.ErrnoException, 0);
    }
  }

  #account(batch: Batch, error: NodeJS.ErrnoException | null, bytes: number): boolean {
    const index = this.#queue.indexOf(batch);
    if (index === -1) return true;
    if (error !== null) {
      if (!passing.has(error.code ?? '')) this.#break(error);
      return false;
    }
    if (bytes === 0) return false;
    batch.written += bytes;
    this.#retryMs = 1;
    this.#stalled = false;
    if (batch.written === batch.buffer?.length) {
      this.#queue.splice(index, 1);
      batch.source.written(batch.bytes);
    }
    return true;
  }

  #break(error: Error): void {
    this.#error = error;
    for (const source of this.sources) source.broken(error);
    for (const batch of [...this.#queue]) this.#lose(batch);
  }

  #lose(batch: Batch): void {
    this.#queue.splice(this.#queue.indexOf(batch), 1);
    batch.source.lost(unwrittenLines(batch), batch.bytes);
  }

  /** Writes until `done`, for `limitMs` at most; not at all where a write might block. */
  #flushSync(done: () => boolean, limitMs = this.#stalled ? 0 : SYNC_LIMIT_MS): void {
    if (this.#pumping || !this.#descriptor.writableNow()) return;
    const begun = performance.now();
    this.#pumping = true;
    while (!done() && this.#queue.length > (this.#inPool ? 1 : 0)) {
      if (this.#writeNext()) continue;
      if (performance.now() - begun >= limitMs) {
        this.#stalled ||= limitMs > 0;
        break;
      }
      Atomics.wait(sleeper, 0, 0, SYNC_PAUSE_MS);
    }
    this.#pumping = false;
  }

  #exit(): void {
    this.#flushSync(() => this.#queue.length === 0);
    for (const source of [...this.sources]) source.exit();
  }
}

export type { Output };

const sleeper = new Int32Array(new SharedArrayBuffer(4));

function bufferOf(batch: Batch): Buffer {
  if (batch.buffer === undefined) {
    batch.lines = batch.lines.map((line) => batch.source.render(line));
    batch.buffer = Buffer.from(batch.lines.join(''));
  }
  return batch.buffer;
}

function unwrittenLines({ lines, written }: Batch): number {
  let end = 0;
  return lines.filter((line) => {
    end += Buffer.byteLength(line);
    return end > written;
  }).length;
}
