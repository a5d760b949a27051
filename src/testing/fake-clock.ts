import { BaseClock, type Timer } from '../clock.ts';
// The entrypoint loads these when it starts, which would take real time.
import '../logging/lifecycle.ts';
import '../logging/logging.ts';

interface Entry {
  readonly at: number;
  readonly sequence: number;
  readonly callback: () => void;
}

/**
 * A clock that stands still until it is advanced. Timers fire in the order of their time, those of one time
 * in the order in which they were set.
 */
export class FakeClock extends BaseClock {
  readonly #entries = new Set<Entry>();
  #now: number;
  #sequence = 0;

  /** `now` is where it starts, in milliseconds since the epoch. */
  constructor(now = 0) {
    super();
    this.#now = now;
  }

  override now(): number {
    return this.#now;
  }

  override setTimer(callback: () => void, delayMs: number): Timer {
    const entry = { at: this.#now + Math.max(0, delayMs), sequence: this.#sequence++, callback };
    this.#entries.add(entry);
    const timer: Timer = {
      cancel: () => void this.#entries.delete(entry),
      unref: () => timer,
      [Symbol.dispose]: () => void this.#entries.delete(entry),
    };
    return timer;
  }

  /** How many timers are pending. */
  get pending(): number {
    return this.#entries.size;
  }

  /** When the next timer is due, in milliseconds from now; `undefined` when there is none. */
  get untilNext(): number | undefined {
    const next = this.#next(Number.POSITIVE_INFINITY);
    return next === undefined ? undefined : next.at - this.#now;
  }

  /**
   * Moves on by `durationMs`, firing what is due on the way; before each, and at the end, promises and
   * immediates that are under way get to run.
   */
  async advance(durationMs: number): Promise<void> {
    const end = this.#now + durationMs;
    await settle();
    for (let next = this.#next(end); next !== undefined; next = this.#next(end)) {
      this.#entries.delete(next);
      this.#now = next.at;
      next.callback();
      await settle();
    }
    this.#now = end;
  }

  #next(end: number): Entry | undefined {
    let best: Entry | undefined;
    for (const entry of this.#entries) {
      if (entry.at > end || entry.at === Number.POSITIVE_INFINITY) continue;
      if (!best || entry.at < best.at || (entry.at === best.at && entry.sequence < best.sequence))
        best = entry;
    }
    return best;
  }
}

/** Lets promises and immediates that are under way run. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}
