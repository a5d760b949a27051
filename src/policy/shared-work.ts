import { AsyncResource } from 'node:async_hooks';
import { Call, currentCall, surroundings } from '../call.ts';
import type { Clock, Timer } from '../clock.ts';
import type { Counters } from './statistics.ts';

/** What identifies a call or an argument: a primitive value, compared as the keys of a `Map` are. */
export type PolicyKey = string | number | bigint | boolean | symbol | null | undefined;

/** Who waits for shared work; leaves it when its signal aborts or the call around it is to end. @internal */
export class Caller<Argument, Result> {
  readonly argument: Argument;
  readonly call: Call | undefined = currentCall();
  readonly since: number;
  readonly resolve: (result: Result) => void;
  readonly reject: (reason: unknown) => void;
  /** What it waits for; another one once it has been passed on. */
  work: SharedWork<Argument, unknown, Result>;
  readonly #signal: AbortSignal | undefined;

  constructor(
    work: SharedWork<Argument, unknown, Result>,
    since: number,
    argument: Argument,
    signal: AbortSignal | undefined,
    resolve: (result: Result) => void,
    reject: (reason: unknown) => void,
  ) {
    this.work = work;
    this.since = since;
    this.argument = argument;
    this.#signal = signal;
    this.resolve = resolve;
    this.reject = reject;
  }

  watch(): void {
    const timed = this.work.times(this.call);
    this.call?.onAbort(this.#leave, !timed);
    if (this.#signal?.aborted) this.handleEvent();
    else this.#signal?.addEventListener('abort', this);
  }

  unwatch(): void {
    this.call?.offAbort(this.#leave);
    this.#signal?.removeEventListener('abort', this);
  }

  /** What its signal calls when it aborts. */
  handleEvent(): void {
    this.#leave(this.#signal?.reason);
  }

  readonly #leave = (reason: unknown) => this.work.leave(this, reason);
}

/**
 * Work that several callers wait for. It belongs to none of them: it runs in a call of its own and without their
 * log fields, until it has settled or the last of them has left. @internal
 */
export abstract class SharedWork<Argument, Outcome, Result> {
  /** Who waits: in the order in which they came, without those who have left or been answered. */
  readonly callers: Set<Caller<Argument, Result>> = new Set();
  readonly #counters: Counters;
  readonly #clock: Clock;
  /** Where its first caller came from: its stray errors belong there. */
  #origin = new AsyncResource('SharedWork');
  #call: Call | undefined;
  #over = false;
  #settledAt = 0;
  /** One timer for all callers whose time the same clock measures: mostly it is cancelled, and each would cost. */
  #timer: Timer | undefined;
  #timerClock: Clock | undefined;
  #timerDueAt = Number.POSITIVE_INFINITY;
  /** When the last of those who ever waited is due; `Infinity` when that is not known by the same clock. */
  #latestDueAt = 0;

  constructor(counters: Counters, clock: Clock) {
    this.#counters = counters;
    this.#clock = clock;
  }

  /** Does the work for those who wait now. */
  protected abstract perform(callers: readonly Caller<Argument, Result>[], call: Call): Promise<Outcome>;

  /** Answers those `callers` who still wait. What it throws, those get that it has not answered. */
  protected abstract distribute(outcome: Outcome, callers: readonly Caller<Argument, Result>[]): void;

  /** Called once: when the work has settled, was given up, or nobody waited for it when it was to begin. */
  protected abstract ended(): void;

  /** A caller has left. */
  protected left(_caller: Caller<Argument, Result>): void {}

  /** Adds the caller to those who wait. */
  join(argument: Argument, signal: AbortSignal | undefined): Promise<Result> {
    return new Promise((resolve, reject) => {
      const caller = new Caller(this, this.#clock.now(), argument, signal, resolve, reject);
      this.#counters.calls++;
      this.callers.add(caller);
      caller.watch();
    });
  }

  /** Whether it sees to it that a caller leaves when the call around it is due. */
  times(call: Call | undefined): boolean {
    this.#timerClock ??= call?.clock;
    if (call === undefined || call.clock !== this.#timerClock) {
      this.#latestDueAt = Number.POSITIVE_INFINITY;
      return false;
    }
    const { dueAt } = call;
    if (dueAt > this.#latestDueAt) this.#latestDueAt = dueAt;
    if (dueAt < this.#timerDueAt) this.#setTimer(dueAt);
    return true;
  }

  /** Lets one of the callers go before the end; when it was the last, what was begun is given up. */
  leave(caller: Caller<Argument, Result>, reason: unknown): void {
    if (!this.#release(caller, this.#clock.now())) return;
    this.#counters.cancels++;
    caller.reject(reason);
    this.left(caller);
    if (this.callers.size > 0) return;
    this.#clearTimer();
    if (this.#call === undefined) return;
    this.#call.abort(reason);
    this.#end();
  }

  /** Begins the work, once; who comes later has to join another. */
  begin(): void {
    const call = this.#newCall();
    const callers = [...this.callers];
    if (callers.length === 0) {
      this.#end();
      return;
    }
    this.#call = call;
    this.#counters.attempts++;
    this.#origin.runInAsyncScope(() => {
      void surroundings.run({ call, fields: undefined }, () => this.#run(callers, call));
    });
  }

  /** Lets a caller of what has not begun wait for `other` instead. */
  protected passOn(caller: Caller<Argument, Result>, other: SharedWork<Argument, Outcome, Result>): void {
    if (other.callers.size === 0) {
      other.#origin = this.#origin;
      other.#timerClock = this.#timerClock;
    }
    this.callers.delete(caller);
    other.callers.add(caller);
    caller.work = other;
    other.times(caller.call);
  }

  protected done(caller: Caller<Argument, Result>, result: Result): void {
    if (!this.#release(caller, this.#settledAt)) return;
    this.#counters.done++;
    caller.resolve(result);
  }

  protected failed(caller: Caller<Argument, Result>, error: unknown): void {
    if (!this.#release(caller, this.#settledAt)) return;
    this.#counters.errors++;
    caller.reject(error);
  }

  async #run(callers: readonly Caller<Argument, Result>[], call: Call): Promise<void> {
    try {
      const outcome = await this.perform(callers, call);
      this.#settledAt = this.#clock.now();
      this.distribute(outcome, callers);
    } catch (error) {
      this.#settledAt = this.#clock.now();
      for (const caller of this.callers) this.failed(caller, error);
    }
    this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#clearTimer();
    this.#call?.end();
    this.ended();
  }

  #setTimer(dueAt: number): void {
    const clock = this.#timerClock as Clock;
    this.#timer?.cancel();
    this.#timerDueAt = dueAt;
    this.#timer = clock.setTimer(() => this.#onDue(), dueAt - clock.now());
  }

  #clearTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerDueAt = Number.POSITIVE_INFINITY;
  }

  #onDue(): void {
    this.#clearTimer();
    const now = (this.#timerClock as Clock).now();
    let next = Number.POSITIVE_INFINITY;
    for (const { call } of [...this.callers]) {
      if (call === undefined || call.clock !== this.#timerClock) continue;
      const { dueAt } = call;
      // Asking makes the overdue leave; to ask all of them would cost each a look at the clock.
      if (dueAt <= now && call.aborted) continue;
      next = Math.min(next, dueAt);
    }
    if (next !== Number.POSITIVE_INFINITY) this.#setTimer(next);
  }

  #release(caller: Caller<Argument, Result>, now: number): boolean {
    if (!this.callers.delete(caller)) return false;
    caller.unwatch();
    this.#counters.totalMs += now - caller.since;
    return true;
  }

  /** A call with as much time as the caller who has most; those who are overdue leave here. */
  #newCall(): Call {
    const clock = this.#timerClock;
    if (clock === undefined) return new Call({});
    const now = clock.now();
    // The timer may be late.
    if (this.#timerDueAt <= now) this.#onDue();
    const limitMs = Math.max(0, this.#latestDueAt - now);
    return new Call({ limitMs, clock, beganAt: now });
  }
}

/** A state for each `this`: for each instance of a class whose method is decorated. @internal */
export function perThis<This, State>(make: (self: This) => State): (self: This) => State {
  const states = new WeakMap<WeakKey, State>();
  const withoutThis = {};
  return (self) => {
    const owner: WeakKey = typeof self === 'object' && self !== null ? self : withoutThis;
    let state = states.get(owner);
    if (state === undefined) {
      state = make(self);
      states.set(owner, state);
    }
    return state;
  };
}
