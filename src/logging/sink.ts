import { systemClock, type Timer } from '../clock.ts';
import { sayOnStderr } from './descriptor.ts';
import { acquireOutput, type Batch, type MidLine, type Output, type Source } from './output.ts';

/** What a sink is told. */
export interface SinkOptions {
  readonly fd: number;
  readonly others: MidLine | undefined;
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

/** Lines that have been taken are cut off the queue this many at a time. */
const COMPACT_LINES = 1024;

/** One log's queue in front of an output: decides what may wait and what is dropped. */
export class Sink implements Source {
  readonly #options: SinkOptions;
  readonly #lines: string[] = [];
  /** Where in `#lines` the queue begins. */
  #head = 0;
  /** What waits, and what is being written. */
  #bytes = 0;
  #dropped = 0;
  #unreported = 0;
  #output: Output | undefined;
  #gathering: Timer | undefined;
  readonly #whenEmpty = new Set<() => void>();
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
    if (this.#broken) {
      this.#drop(1);
      return;
    }
    const bytes = Buffer.byteLength(line);
    this.#output ??= acquireOutput(this.#options.fd, this, this.#options.others);
    const output = this.#output;
    if (line.startsWith(FATAL)) this.#writeFatal(output, line, bytes);
    else if (this.#isFull(bytes)) this.#drop(1);
    else {
      this.#bytes += bytes;
      this.#lines.push(line);
      if (this.#options.flushIntervalMs === 0 || this.#bytes >= GATHER_BYTES) output.kick();
      else this.#gather();
    }
    if (this.#closed) this.#writeLate(output);
  }

  /** Counts a line that could not be made. */
  countUnwritable(): void {
    this.#drop(1);
  }

  /** Resolves when all that waits has been written or lost, after `flushTimeoutMs` at the latest. */
  async flush(): Promise<void> {
    this.#writeGathered();
    if (this.#bytes === 0) return;
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

  take(maxBytes: number): Batch | undefined {
    const taken: string[] = [];
    let bytes = 0;
    let size = 0;
    for (; this.#head < this.#lines.length; this.#head++) {
      const line = this.#lines[this.#head] as string;
      const text = this.#options.render(line);
      size += Buffer.byteLength(text);
      if (size > maxBytes && taken.length > 0) break;
      taken.push(text);
      bytes += Buffer.byteLength(line);
    }
    if (this.#head >= COMPACT_LINES || this.#head === this.#lines.length) {
      this.#lines.splice(0, this.#head);
      this.#head = 0;
    }
    return taken.length > 0 ? this.#batch(taken, bytes) : undefined;
  }

  written({ bytes }: Batch): void {
    this.#bytes -= bytes;
    if (this.#unreported > 0 && this.#isHalfFree()) this.#report();
    this.#wakeIfEmpty();
  }

  lost({ bytes }: Batch, lines: number): void {
    this.#bytes -= bytes;
    this.#drop(lines);
    this.#wakeIfEmpty();
  }

  broken(error: Error): void {
    this.#broken = true;
    sayOnStderr(`the log cannot be written any more, its lines are dropped from here on: ${error.message}`);
    this.#dropWaiting();
  }

  exit(): void {
    this.#finish();
  }

  /**
   * Once a line is dropped, so are those after it until half of the buffer is free: one gap and one report of
   * it, where it is, rather than many small ones. A line that is longer than the whole buffer has its turn when
   * nothing else waits.
   */
  #isFull(bytes: number): boolean {
    return (this.#unreported > 0 && !this.#isHalfFree()) || this.#exceeds(bytes);
  }

  #exceeds(bytes: number): boolean {
    return this.#bytes > 0 && this.#bytes + bytes > this.#options.bufferBytes;
  }

  #isHalfFree(): boolean {
    return this.#bytes <= this.#options.bufferBytes / 2;
  }

  #writeFatal(output: Output, line: string, bytes: number): void {
    while (this.#exceeds(bytes) && this.#head < this.#lines.length) {
      this.#bytes -= Buffer.byteLength(this.#lines.pop() as string);
      this.#drop(1);
    }
    if (this.#exceeds(bytes)) {
      this.#drop(1);
      return;
    }
    this.#bytes += bytes;
    output.writeUrgently(this.#batch([this.#options.render(line)], bytes));
  }

  #batch(lines: readonly string[], bytes: number): Batch {
    return { source: this, lines, bytes, buffer: Buffer.from(lines.join('')), written: 0 };
  }

  #gather(): void {
    this.#gathering ??= systemClock
      .setTimer(() => this.#writeGathered(), this.#options.flushIntervalMs)
      .unref();
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

  #drop(lines: number): void {
    this.#dropped += lines;
    this.#unreported += lines;
  }

  #dropWaiting(): void {
    this.#drop(this.#lines.length - this.#head);
    this.#lines.length = 0;
    this.#head = 0;
    this.#bytes = 0;
    this.#wakeIfEmpty();
  }

  #report(): void {
    const lines = this.#unreported;
    this.#unreported = 0;
    this.#options.reportDropped(lines);
  }

  #wakeIfEmpty(): void {
    if (this.#bytes > 0) return;
    for (const wake of this.#whenEmpty) wake();
  }

  #finish(): void {
    this.#closed = true;
    this.#gathering?.cancel();
    this.#output?.release(this);
    this.#output = undefined;
    this.#dropWaiting();
    if (this.#unreported === 0) return;
    const why = this.#broken ? 'stdout is closed' : 'stdout did not take them in time';
    sayOnStderr(`${this.#unreported} log lines dropped: ${why}`);
    this.#unreported = 0;
  }
}
