import type { Clock, Timer } from '../../clock.ts';

/**
 * Values by key of which only the newest counts. They are handed on together: the first after a rest in the
 * next turn of the event loop, later ones no sooner than `everyMs` after the last time, and not before those
 * of the last time have been dealt with.
 */
export class Latest<Value> {
  readonly #clock: Clock;
  readonly #everyMs: number;
  readonly #handOn: (values: readonly Value[]) => Promise<void>;
  readonly #values = new Map<string, Value>();
  #timer: Timer | undefined;
  #handedOn: Promise<void> | undefined;
  #nextAt = 0;

  /** `handOn` must not reject. */
  constructor(clock: Clock, everyMs: number, handOn: (values: readonly Value[]) => Promise<void>) {
    this.#clock = clock;
    this.#everyMs = everyMs;
    this.#handOn = handOn;
  }

  set(key: string, value: Value): void {
    this.#values.set(key, value);
    this.#arm();
  }

  /** Hands on what there is now, and resolves when that has been dealt with. */
  async flush(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.#handedOn;
    this.#nextAt = this.#clock.now() + this.#everyMs;
    const values = [...this.#values.values()];
    this.#values.clear();
    this.#handedOn = this.#handOn(values);
    await this.#handedOn;
    this.#handedOn = undefined;
    this.#arm();
  }

  cancel(): void {
    this.#values.clear();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    if (this.#handedOn !== undefined || this.#values.size === 0) return;
    this.#timer ??= this.#clock.setTimer(
      () => void this.flush(),
      Math.max(0, this.#nextAt - this.#clock.now()),
    );
  }
}
