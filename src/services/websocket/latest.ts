import type { Clock, Timer } from '../../clock.ts';

/**
 * Values by key of which only the newest counts: they are handed on together, the first after a rest in the
 * next turn of the event loop, later ones no sooner than `everyMs` after the last time.
 */
export class Latest<Value> {
  readonly #clock: Clock;
  readonly #everyMs: number;
  readonly #handOn: (values: readonly Value[]) => void;
  readonly #values = new Map<string, Value>();
  #timer: Timer | undefined;
  #nextAt = 0;

  constructor(clock: Clock, everyMs: number, handOn: (values: readonly Value[]) => void) {
    this.#clock = clock;
    this.#everyMs = everyMs;
    this.#handOn = handOn;
  }

  set(key: string, value: Value): void {
    this.#values.set(key, value);
    this.#timer ??= this.#clock.setTimer(() => this.flush(), Math.max(0, this.#nextAt - this.#clock.now()));
  }

  /** Hands on what there is now. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#nextAt = this.#clock.now() + this.#everyMs;
    const values = [...this.#values.values()];
    this.#values.clear();
    this.#handOn(values);
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#values.clear();
  }
}
