import type { Clock, Timer } from '../../clock.ts';
import type { Connection } from './connection.ts';

/** Tells of connections that are held for too long, each time once. One timer for all of them. */
export class Leaks {
  readonly #inUse: Iterable<Connection>;
  readonly #afterMs: number;
  readonly #clock: Clock;
  readonly #onLeak: (connection: Connection, heldMs: number) => void;
  #timer: Timer | undefined;
  #closed = false;

  /** `inUse`: the connections that are held, the oldest first. */
  constructor(
    inUse: Iterable<Connection>,
    afterMs: number,
    clock: Clock,
    onLeak: (connection: Connection, heldMs: number) => void,
  ) {
    this.#inUse = inUse;
    this.#afterMs = afterMs;
    this.#clock = clock;
    this.#onLeak = onLeak;
  }

  /** A connection is held from now on. */
  watch(): void {
    if (this.#timer === undefined && !this.#closed) this.#wait(this.#afterMs);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #wait(delayMs: number): void {
    this.#timer = this.#clock.setTimer(() => this.#look(), delayMs).unref();
  }

  #look(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    for (const connection of this.#inUse) {
      const heldMs = now - connection.heldSince;
      if (heldMs < this.#afterMs) {
        this.#wait(this.#afterMs - heldMs);
        return;
      }
      if (!connection.leakTold) this.#onLeak(connection, heldMs);
      connection.leakTold = true;
    }
  }
}
