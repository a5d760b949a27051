import { setImmediate } from 'node:timers/promises';

/** After so long, work gives way to what else the program has to do. */
const TURN_MS = 2;

/** Knows how long work in many small pieces has held up the event loop, and when it is time to give way. */
export class Pace {
  readonly #now: () => number;
  #begun: number;
  #longestMs = 0;

  constructor(now = () => performance.now()) {
    this.#now = now;
    this.#begun = now();
  }

  /** Work begins here, in this turn of the event loop. */
  restart(): void {
    this.#longestMs = 0;
    this.#begun = this.#now();
  }

  /** Until now, the longest time in one piece. */
  get longestMs(): number {
    return Math.max(this.#longestMs, this.#now() - this.#begun);
  }

  get isDue(): boolean {
    return this.#now() - this.#begun >= TURN_MS;
  }

  /** Goes on in a later turn of the event loop. */
  async giveWay(): Promise<void> {
    await this.away(setImmediate());
  }

  /** Waits for what is not done here, such as reading a file. */
  async away<T>(other: Promise<T>): Promise<T> {
    this.#longestMs = this.longestMs;
    try {
      return await other;
    } finally {
      this.#begun = this.#now();
    }
  }
}
