import { hrtime } from 'node:process';

/** How often the main loop says that it turns. */
export const BEAT_MS = 20;

/** Milliseconds of the machine's steady clock: the same in all threads. */
export const steadyMs = (): number => Number(hrtime.bigint() / 1_000n) / 1_000;

/** Where the main loop writes when it turned last. */
export type HeartbeatMemory = SharedArrayBuffer;

/** What stands where: the last beat; the last two between which a beat was missed. */
const BEAT = 0;
const GAP_BEGAN = 1;
const GAP_ENDED = 2;

/** The last time that the loop did not turn for longer than usual, by `steadyMs`: two beats. */
export interface Gap {
  readonly began: number;
  readonly ended: number;
}

/** Keeps writing the time to memory that other threads read; stops when disposed of. */
export class Heartbeat implements Disposable {
  readonly memory: HeartbeatMemory = new SharedArrayBuffer(3 * Float64Array.BYTES_PER_ELEMENT);
  readonly #times = new Float64Array(this.memory);
  readonly #timer: NodeJS.Timeout;
  readonly #listeners = new Set<(lateMs: number) => void>();

  constructor() {
    this.#times[BEAT] = steadyMs();
    this.#timer = setInterval(() => this.#beat(), BEAT_MS).unref();
  }

  /** When the loop turned last, by `steadyMs`. */
  get lastBeatMs(): number {
    return this.#times[BEAT] as number;
  }

  /** Calls `listener` at every beat, with how much it was late. Returns the way to end that. */
  onBeat(listener: (lateMs: number) => void): () => void {
    const entry = (lateMs: number) => listener(lateMs);
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #beat(): void {
    const now = steadyMs();
    const { lastBeatMs } = this;
    if (now - lastBeatMs > 2 * BEAT_MS) {
      this.#times[GAP_ENDED] = now;
      this.#times[GAP_BEGAN] = lastBeatMs;
    }
    this.#times[BEAT] = now;
    for (const listener of this.#listeners) listener(Math.max(0, now - lastBeatMs - BEAT_MS));
  }
}

/** Reads, in another thread, what a `Heartbeat` writes. */
export class HeartbeatReader {
  readonly #times: Float64Array;

  constructor(memory: HeartbeatMemory) {
    this.#times = new Float64Array(memory);
  }

  /** When the main loop turned last, by `steadyMs`. */
  get lastBeatMs(): number {
    return this.#times[BEAT] as number;
  }

  /** Zeros when there was none. */
  get lastGap(): Gap {
    return { began: this.#times[GAP_BEGAN] as number, ended: this.#times[GAP_ENDED] as number };
  }

  /** For how long the main loop has not turned, beyond what is usual; 0: it does. */
  get blockedMs(): number {
    return Math.max(0, steadyMs() - this.lastBeatMs - 2 * BEAT_MS);
  }
}
