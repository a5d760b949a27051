import { hrtime } from 'node:process';

/** How often the main loop says that it turns. */
export const BEAT_MS = 20;

/** Milliseconds of the machine's steady clock: the same in all threads. */
export const steadyMs = (): number => Number(hrtime.bigint() / 1_000n) / 1_000;

/** Where the main loop writes when it turned. */
export type HeartbeatMemory = SharedArrayBuffer;

/** A time in which the loop did not turn for longer than usual, by `steadyMs`: the beats before and after it. */
export interface Gap {
  readonly began: number;
  readonly ended: number;
}

/** The last ones are kept: as each takes two beats at least, those of two seconds and a half. */
const KEPT_GAPS = 64;
/** In memory: how many gaps there were (32 bits), the last beat, begin and end of each of the gaps (64 bits). */
const BEAT = 1;
const FIRST_GAP = 2;
const NUMBERS = FIRST_GAP + 2 * KEPT_GAPS;

const placeOf = (gap: number): number => FIRST_GAP + 2 * (gap % KEPT_GAPS);

/** Writes when a loop turned. */
export class HeartbeatWriter {
  readonly memory: HeartbeatMemory = new SharedArrayBuffer(NUMBERS * Float64Array.BYTES_PER_ELEMENT);
  readonly #count = new Int32Array(this.memory, 0, 1);
  readonly #times = new Float64Array(this.memory);

  constructor() {
    this.#times[BEAT] = steadyMs();
  }

  get lastBeatMs(): number {
    return this.#times[BEAT] as number;
  }

  /** The loop has turned now. Returns when that is, by `steadyMs`. */
  beat(): number {
    const now = steadyMs();
    const { lastBeatMs } = this;
    if (now - lastBeatMs > 2 * BEAT_MS) {
      const gaps = Atomics.load(this.#count, 0);
      this.#times.set([lastBeatMs, now], placeOf(gaps));
      Atomics.store(this.#count, 0, gaps + 1);
    }
    this.#times[BEAT] = now;
    return now;
  }
}

/** Keeps writing the time to memory that other threads read; stops when disposed of. */
export class Heartbeat implements Disposable {
  readonly #writer = new HeartbeatWriter();
  readonly #timer: NodeJS.Timeout;
  readonly #listeners = new Set<(lateMs: number) => void>();

  constructor() {
    this.#timer = setInterval(() => this.#beat(), BEAT_MS).unref();
  }

  get memory(): HeartbeatMemory {
    return this.#writer.memory;
  }

  /** When the loop turned last, by `steadyMs`. */
  get lastBeatMs(): number {
    return this.#writer.lastBeatMs;
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
    const { lastBeatMs } = this;
    const now = this.#writer.beat();
    for (const listener of this.#listeners) listener(Math.max(0, now - lastBeatMs - BEAT_MS));
  }
}

/** Reads, in another thread, what a `Heartbeat` writes. */
export class HeartbeatReader {
  readonly #count: Int32Array;
  readonly #times: Float64Array;
  /** How many gaps were taken, or were there before. */
  #taken: number;

  constructor(memory: HeartbeatMemory) {
    this.#count = new Int32Array(memory, 0, 1);
    this.#times = new Float64Array(memory);
    this.#taken = Atomics.load(this.#count, 0);
  }

  /** When the main loop turned last, by `steadyMs`. */
  get lastBeatMs(): number {
    return this.#times[BEAT] as number;
  }

  /** For how long the main loop has not turned, beyond what is usual; 0: it does. */
  get blockedMs(): number {
    return Math.max(0, steadyMs() - this.lastBeatMs - 2 * BEAT_MS);
  }

  /** Those since the last call, or since this reader was made, the first one first; of very many the last ones. */
  takeGaps(): Gap[] {
    const count = Atomics.load(this.#count, 0);
    const gaps: Gap[] = [];
    // The place of the oldest one may be written to at this moment.
    for (let gap = Math.max(this.#taken, count - KEPT_GAPS + 1); gap < count; gap++) {
      const place = placeOf(gap);
      gaps.push({ began: this.#times[place] as number, ended: this.#times[place + 1] as number });
    }
    this.#taken = count;
    return gaps;
  }
}
