import { hrtime } from 'node:process';

/** How often the main loop says that it turns. */
export const BEAT_MS = 20;

/** Milliseconds of the machine's steady clock: the same in all threads. */
export const steadyMs = (): number => Number(hrtime.bigint() / 1_000n) / 1_000;

/** Where the main loop writes when it turned last. */
export type HeartbeatMemory = SharedArrayBuffer;

/** Keeps writing the time to memory that other threads read; stops when disposed of. */
export class Heartbeat implements Disposable {
  readonly memory: HeartbeatMemory = new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT);
  readonly #beat = new Float64Array(this.memory);
  readonly #timer: NodeJS.Timeout;

  constructor() {
    this.#beat[0] = steadyMs();
    this.#timer = setInterval(() => {
      this.#beat[0] = steadyMs();
    }, BEAT_MS).unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** Reads, in another thread, what a `Heartbeat` writes. */
export class HeartbeatReader {
  readonly #beat: Float64Array;

  constructor(memory: HeartbeatMemory) {
    this.#beat = new Float64Array(memory);
  }

  /** When the main loop turned last, by `steadyMs`. */
  get lastBeatMs(): number {
    return this.#beat[0] as number;
  }

  /** For how long the main loop has not turned, beyond what is usual; 0: it does. */
  get blockedMs(): number {
    return Math.max(0, steadyMs() - this.lastBeatMs - 2 * BEAT_MS);
  }
}
