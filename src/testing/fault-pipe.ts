import type { Socket } from 'node:net';
import type { Clock, Timer } from '../clock.ts';

/** How a connection is cut: `reset` sends RST, as a process that was killed; `end` sends FIN, as one that closes. */
export type Cut = 'reset' | 'end';

/** What is done to the bytes of one direction, of all connections. @internal */
export interface Faults {
  delayMs: number;
  trickle: { readonly bytes: number; readonly everyMs: number } | undefined;
  paused: boolean;
  cutAfter: { readonly bytes: number; readonly how: Cut } | undefined;
}

/** No faults: bytes go through as they come. @internal */
export const noFaults = (): Faults => ({
  delayMs: 0,
  trickle: undefined,
  paused: false,
  cutAfter: undefined,
});

/** How much is kept before the source is not read any more, so that it feels the back-pressure. */
const MAX_QUEUED_BYTES = 65_536;

/** The bytes, the FIN and the RST of a source, in their order. */
type Item =
  | { readonly kind: 'data'; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: 'end' | 'reset'; readonly at: number };

/** One direction of one connection. @internal */
export class FaultPipe {
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #faults: Readonly<Faults>;
  readonly #clock: Clock;
  readonly #onCut: (how: Cut) => void;
  readonly #queue: Item[] = [];
  #queuedBytes = 0;
  #timer: Timer | undefined;
  /** Trickling: when the next bytes may go. */
  #nextAt = 0;
  #blocked = false;
  #dropping = false;
  #bytesLeft = Number.POSITIVE_INFINITY;

  /** `onCut` is to cut the connection, once the bytes that `cutAfter` lets through have gone. */
  constructor(
    source: Socket,
    sink: Socket,
    faults: Readonly<Faults>,
    clock: Clock,
    onCut: (how: Cut) => void,
  ) {
    this.#source = source;
    this.#sink = sink;
    this.#faults = faults;
    this.#clock = clock;
    this.#onCut = onCut;
    this.count();
    source.on('data', (bytes: Buffer) => {
      this.#queuedBytes += bytes.length;
      this.#enqueue({ kind: 'data', at: clock.now(), bytes });
    });
    source.on('end', () => this.#enqueue({ kind: 'end', at: clock.now() }));
    source.on('close', (hadError) => {
      if (hadError) this.#enqueue({ kind: 'reset', at: clock.now() });
    });
    sink.on('drain', () => {
      this.#blocked = false;
      this.flush();
    });
    sink.on('close', () => this.drop());
  }

  /** Begins to count the bytes of `cutAfter`. */
  count(): void {
    this.#bytesLeft = this.#faults.cutAfter?.bytes ?? Number.POSITIVE_INFINITY;
  }

  /** Passes on what may go now; to be called when the faults have changed. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    while (!this.#blocked && !this.#faults.paused) {
      const [item] = this.#queue;
      if (item === undefined) break;
      const { delayMs, trickle } = this.#faults;
      const dueAt = Math.max(item.at + delayMs, trickle === undefined ? 0 : this.#nextAt);
      const waitMs = dueAt - this.#clock.now();
      if (waitMs > 0) {
        this.#timer = this.#clock.setTimer(() => this.flush(), waitMs);
        break;
      }
      this.#queue.shift();
      if (item.kind === 'data') this.#send(item.bytes, item.at);
      else if (item.kind === 'end') this.#sink.end();
      else this.#sink.resetAndDestroy();
    }
    if (this.#queuedBytes < MAX_QUEUED_BYTES) this.#source.resume();
  }

  /** Loses what has not been passed on, and what comes from now on, except for a reset. */
  drop(): void {
    this.#dropping = true;
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.flush();
  }

  #enqueue(item: Item): void {
    if (this.#dropping) {
      this.#queuedBytes = 0;
      if (item.kind !== 'reset') return;
    }
    this.#queue.push(item);
    if (this.#queuedBytes >= MAX_QUEUED_BYTES) this.#source.pause();
    if (this.#timer === undefined) this.flush();
  }

  #send(bytes: Buffer, at: number): void {
    const { trickle, cutAfter } = this.#faults;
    const length = Math.min(bytes.length, trickle?.bytes ?? bytes.length, this.#bytesLeft);
    this.#nextAt = trickle === undefined ? 0 : this.#clock.now() + trickle.everyMs;
    this.#queuedBytes -= length;
    this.#bytesLeft -= length;
    const cut = length < bytes.length && this.#bytesLeft === 0 ? cutAfter : undefined;
    if (length < bytes.length) this.#queue.unshift({ kind: 'data', at, bytes: bytes.subarray(length) });
    const flowing = this.#sink.write(bytes.subarray(0, length), () => {
      if (cut !== undefined) this.#onCut(cut.how);
    });
    this.#blocked = !flowing || cut !== undefined;
  }
}
