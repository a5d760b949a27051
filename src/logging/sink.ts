import { systemClock, type Timer } from '../clock.ts';
import { sayOnStderr } from './descriptor.ts';
import { acquireOutput, type Output, type Source } from './output.ts';

/** What a sink is told. */
export interface SinkOptions {
  readonly fd: number;
  readonly bufferBytes: number;
  readonly flushIntervalMs: number;
  readonly flushTimeoutMs: number;
  /** pino's line of JSON as it is to be written. Must not throw. */
  readonly render: (line: string) => string;
  /** Logs that lines have been dropped; there is room again. */
  readonly reportDropped: (lines: number) => void;
}

/** How pino begins a line of this level. */
const FATAL = '{"level":60,';
/** So much is written at once, however long the flush interval. */
const GATHER_BYTES = 64 * 1024;

/** One log's way to its output: decides what may wait and what is dropped. */
export class Sink implements Source {
  readonly #options: SinkOptions;
  readonly #whenEmpty = new Set<() => void>();
  #output: Output | undefined;
  #gathering: Timer | undefined;
  #waitingBytes = 0;
  #dropped = 0;
  #unreported = 0;
  #broken = false;
  #closing: Promise<void> | undefined;
  #closed = false;

  constructor(options: SinkOptions) {
    this.#options = options;
  }

  get dropped(): number {
    return this.#dropped;
  }

  /** Takes pino's line of JSON; does not wait, except for a fatal one. */
  write(line: string): void {
    const bytes = Buffer.byteLength(line);
    const output = this.#open();
    if (output.error !== undefined) this.#drop(1);
    else if (line.startsWith(FATAL)) this.#addUrgent(output, line, bytes);
    else if (this.#isInGap() || this.#isFull(bytes)) this.#drop(1);
    else this.#add(output, line, bytes);
    if (this.#closed) this.#writeLate(output);
  }

  /** Counts a line that could not be made. */
  countUnwritable(): void {
    this.#drop(1);
  }

  /** Resolves when all that waits has been written or lost, after `flushTimeoutMs` at the latest. */
  async flush(): Promise<void> {
    this.#writeGathered();
    if (this.#waitingBytes === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    using _deadline = systemClock.setTimer(resolve, this.#options.flushTimeoutMs);
    this.#whenEmpty.add(resolve);
    await promise;
    this.#whenEmpty.delete(resolve);
  }

  /** Flushes and lets go of the output. */
  close(): Promise<void> {
    this.#closing ??= this.flush().then(() => this.#finish());
    return this.#closing;
  }

  render(line: string): string {
    return this.#options.render(line);
  }

  written(bytes: number): void {
    this.#waitingBytes -= bytes;
    if (this.#unreported > 0 && !this.#isInGap()) this.#report();
    this.#wakeIfEmpty();
  }

  lost(lines: number, bytes: number): void {
    this.#waitingBytes -= bytes;
    this.#drop(lines);
    this.#wakeIfEmpty();
  }

  broken(error: Error): void {
    this.#broken = true;
    sayOnStderr(`the log cannot be written any more, its lines are dropped from here on: ${error.message}`);
  }

  exit(): void {
    this.#finish();
  }

  #open(): Output {
    this.#output ??= acquireOutput(this.#options.fd, this);
    return this.#output;
  }

  /** A line that is longer than the whole buffer still has its turn when nothing else waits. */
  #isFull(bytes: number): boolean {
    return this.#waitingBytes > 0 && this.#waitingBytes + bytes > this.#options.bufferBytes;
  }

  #add(output: Output, line: string, bytes: number): void {
    this.#waitingBytes += bytes;
    output.add(this, line, bytes);
    if (this.#options.flushIntervalMs === 0 || this.#waitingBytes >= GATHER_BYTES) output.kick();
    else
      this.#gathering ??= systemClock
        .setTimer(() => this.#writeGathered(), this.#options.flushIntervalMs)
        .unref();
  }

  #addUrgent(output: Output, line: string, bytes: number): void {
    while (this.#isFull(bytes) && output.dropNewest(this)) {}
    this.#waitingBytes += bytes;
    output.addUrgent(this, line, bytes);
  }

  #writeGathered(): void {
    this.#gathering?.cancel();
    this.#gathering = undefined;
    this.#output?.kick();
  }

  /** After `close` nobody waits for a line, so what there is no room for now is lost. */
  #writeLate(output: Output): void {
    output.flushNow();
    this.#finish();
  }

  /**
   * Once a line is dropped, so are those after it until half of the buffer is free: one gap and one report of
   * it, where it is, rather than many small ones.
   */
  #isInGap(): boolean {
    return this.#unreported > 0 && this.#waitingBytes > this.#options.bufferBytes / 2;
  }

  #drop(lines: number): void {
    this.#dropped += lines;
    this.#unreported += lines;
  }

  #report(): void {
    const lines = this.#unreported;
    this.#unreported = 0;
    this.#options.reportDropped(lines);
  }

  #wakeIfEmpty(): void {
    if (this.#waitingBytes > 0) return;
    for (const wake of this.#whenEmpty) wake();
  }

  #finish(): void {
    this.#closed = true;
    this.#gathering?.cancel();
    this.#output?.release(this);
    this.#output = undefined;
    if (this.#unreported > 0) {
      const why = this.#broken ? 'stdout is closed' : 'stdout was not read in time';
      sayOnStderr(`${this.#unreported} log lines dropped: ${why}`);
    }
    this.#unreported = 0;
  }
}
