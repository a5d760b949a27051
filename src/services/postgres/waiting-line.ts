import type { AbortListener, Call } from '../../call.ts';
import type { Clock, Timer } from '../../clock.ts';
import type { Holder } from './connection.ts';

/** Somebody who waits for a connection. */
export interface Waiter<Thing> {
  readonly by: Holder;
  readonly since: number;
  readonly call: Call;
  readonly onAbort: AbortListener;
  readonly resolve: (thing: Thing) => void;
  readonly reject: (error: unknown) => void;
}

/** Who waits for something, in the order in which they came, each for the same time at most. */
export class WaitingLine<Thing> {
  readonly #waiters: Waiter<Thing>[] = [];
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  readonly #onLate: (othersWaiting: number) => Error;
  /** One timer for all: the first of them has waited longest. */
  #expiry: Timer | undefined;

  /** `onLate` says what those are rejected with who have waited for `timeoutMs`. */
  constructor(timeoutMs: number, clock: Clock, onLate: (othersWaiting: number) => Error) {
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
    this.#onLate = onLate;
  }

  get length(): number {
    return this.#waiters.length;
  }

  /** Joins the line; leaves it when the call is to end. */
  join(by: Holder, call: Call, since: number): Promise<Thing> {
    const { promise, resolve, reject } = Promise.withResolvers<Thing>();
    const onAbort: AbortListener = (reason) => {
      this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
      reject(reason);
    };
    const waiter: Waiter<Thing> = { by, since, call, onAbort, resolve, reject };
    this.#waiters.push(waiter);
    call.onAbort(onAbort);
    this.#watch();
    return promise;
  }

  /** Takes who has waited longest out of the line. */
  shift(): Waiter<Thing> | undefined {
    const waiter = this.#waiters.shift();
    waiter?.call.offAbort(waiter.onAbort);
    return waiter;
  }

  /** Rejects all. */
  refuse(error: () => Error): void {
    this.#reject(this.#waiters.splice(0), error);
  }

  /** Rejects all, for good. */
  close(error: () => Error): void {
    this.#expiry?.cancel();
    this.refuse(error);
  }

  #reject(waiters: readonly Waiter<Thing>[], error: () => Error): void {
    for (const { call, onAbort, reject } of waiters) {
      call.offAbort(onAbort);
      reject(error());
    }
  }

  #watch(): void {
    const [first] = this.#waiters;
    if (first === undefined || this.#expiry !== undefined) return;
    this.#expiry = this.#clock.setTimer(
      () => {
        this.#expiry = undefined;
        this.#expire();
        this.#watch();
      },
      first.since + this.#timeoutMs - this.#clock.now(),
    );
  }

  #expire(): void {
    const latest = this.#clock.now() - this.#timeoutMs;
    const inTime = this.#waiters.findIndex(({ since }) => since > latest);
    const count = inTime === -1 ? this.#waiters.length : inTime;
    const others = this.#waiters.length - 1;
    this.#reject(this.#waiters.splice(0, count), () => this.#onLate(others));
  }
}
