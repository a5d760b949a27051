import { AsyncLocalStorage } from 'node:async_hooks';
import { type Clock, systemClock, type Timer } from './clock.ts';
import { DeadlineError } from './errors.ts';
import type { LogFields } from './logging/fields.ts';

/** Told once, with the reason, that a call is to end. */
export type AbortListener = (reason: unknown) => void;

/** What a call is given. */
export interface CallOptions {
  /** The call it is part of: it ends with that, too. Default: none. */
  readonly parent?: Call | undefined;
  /** How long it may take, from now on. Default: `Infinity`. */
  readonly limitMs?: number;
  /** Measures `limitMs`. Default: the parent's, else the real time. */
  readonly clock?: Clock | undefined;
  /** When it began, by that clock. Default: now. */
  readonly beganAt?: number;
  /** Its reason to end when the limit has passed. Default: a `DeadlineError`. */
  readonly onLimit?: (limitMs: number) => unknown;
}

const deadlineError = (limitMs: number) => new DeadlineError(limitMs);

/**
 * Work that somebody waits for, such as a request: when it has to be done, and whether it was given up. It sets
 * a timer and listens to its parent only while somebody listens to it, and has an `AbortSignal` only once
 * somebody asks for it: most calls end before that, and those cost next to nothing.
 *
 * The package does not export it, but published types name it, so it is not marked as internal.
 */
export class Call {
  readonly clock: Clock;
  readonly #parent: Call | undefined;
  readonly #limitMs: number;
  readonly #endsAt: number;
  readonly #onLimit: (limitMs: number) => unknown;
  /** Mostly there is one at most, which needs no set. */
  #listeners: AbortListener | Set<AbortListener> | undefined;
  #onParentAbort: AbortListener | undefined;
  #timer: Timer | undefined;
  #controller: AbortController | undefined;
  #state: 'open' | 'ended' | 'aborted' = 'open';
  #reason: unknown;

  constructor({
    parent,
    limitMs = Number.POSITIVE_INFINITY,
    clock,
    beganAt,
    onLimit = deadlineError,
  }: CallOptions) {
    this.#parent = parent;
    this.clock = clock ?? parent?.clock ?? systemClock;
    this.#limitMs = limitMs;
    this.#endsAt = limitMs === Number.POSITIVE_INFINITY ? limitMs : (beganAt ?? this.clock.now()) + limitMs;
    this.#onLimit = onLimit;
  }

  /** How long is left, in ms: 0 when the time has passed or the call was given up, `Infinity` without a limit. */
  get remainingMs(): number {
    if (this.#state === 'ended') return Number.POSITIVE_INFINITY;
    if (this.aborted) return 0;
    const own = this.#endsAt === Number.POSITIVE_INFINITY ? this.#endsAt : this.#endsAt - this.clock.now();
    return Math.max(0, this.#parent === undefined ? own : Math.min(own, this.#parent.remainingMs));
  }

  /** When it has to be done, or what it is part of, as far as its own clock tells. */
  get dueAt(): number {
    if (this.#state === 'ended') return Number.POSITIVE_INFINITY;
    const parent = this.#parent;
    if (parent === undefined || parent.clock !== this.clock || parent.#state !== 'open') return this.#endsAt;
    return Math.min(this.#endsAt, parent.dueAt);
  }

  /** Whether it is to end. An overdue call is, also while its timer is late. */
  get aborted(): boolean {
    if (this.#state === 'open') this.#check();
    return this.#state === 'aborted';
  }

  /** Why, once it is `aborted`. */
  get reason(): unknown {
    return this.#reason;
  }

  /** @throws the reason when it is to end. */
  throwIfAborted(): void {
    if (this.aborted) throw this.#reason;
  }

  /** Aborts with the call; its time is bounded from then on until `end`. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      const controller = new AbortController();
      this.#controller = controller;
      this.onAbort((reason) => controller.abort(reason));
    }
    return this.#controller.signal;
  }

  /**
   * Calls the listener when the call is to end: now, if it is already. Without `timed`, who listens looks at
   * `aborted` at `dueAt`: one timer of theirs may serve many calls.
   */
  onAbort(listener: AbortListener, timed = true): void {
    this.#listen(listener);
    if (timed) this.#setTimer();
  }

  offAbort(listener: AbortListener): void {
    const listeners = this.#listeners;
    if (listeners === listener) this.#unwatch();
    else if (listeners instanceof Set && listeners.delete(listener) && listeners.size === 0) this.#unwatch();
  }

  /** Ends whatever is done for it. The first reason counts. */
  abort(reason: unknown): void {
    if (this.#state !== 'open') return;
    this.#state = 'aborted';
    this.#reason = reason;
    const listeners = this.#listeners;
    this.#unwatch();
    if (typeof listeners === 'function') listeners(reason);
    else for (const listener of listeners ?? []) listener(reason);
  }

  /** It is done: what still runs in it is neither aborted nor bounded any more. */
  end(): void {
    if (this.#state !== 'open') return;
    this.#state = 'ended';
    this.#unwatch();
  }

  #check(): void {
    if (this.#endsAt !== Number.POSITIVE_INFINITY && this.clock.now() >= this.#endsAt) {
      this.abort(this.#onLimit(this.#limitMs));
    } else if (this.#parent?.aborted === true) {
      this.abort(this.#parent.reason);
    }
  }

  /** Its end is found out by who listens, or by a timer of theirs. */
  #listen(listener: AbortListener): void {
    if (this.#state === 'aborted') listener(this.#reason);
    if (this.#state !== 'open') return;
    if (this.#listeners === undefined) {
      this.#listeners = listener;
      if (this.#parent !== undefined) this.#follow(this.#parent);
    } else if (typeof this.#listeners === 'function') {
      this.#listeners = new Set([this.#listeners, listener]);
    } else {
      this.#listeners.add(listener);
    }
  }

  #follow(parent: Call): void {
    this.#onParentAbort = (reason) => this.abort(reason);
    // One timer, that of the innermost call, is enough for all that one clock measures.
    if (parent.clock === this.clock) parent.#listen(this.#onParentAbort);
    else parent.onAbort(this.#onParentAbort);
  }

  #setTimer(): void {
    if (this.#state !== 'open' || this.#timer !== undefined) return;
    const { dueAt } = this;
    if (dueAt === Number.POSITIVE_INFINITY) return;
    const leftMs = dueAt - this.clock.now();
    if (leftMs <= 0 && this.aborted) return;
    this.#timer = this.clock.setTimer(() => this.#onDue(), leftMs);
  }

  #onDue(): void {
    this.#timer = undefined;
    // Whoever was to be done by now may have ended, and rounding may have made the timer early.
    if (!this.aborted) this.#setTimer();
  }

  #unwatch(): void {
    if (this.#listeners === undefined) return;
    this.#listeners = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#onParentAbort !== undefined) this.#parent?.offAbort(this.#onParentAbort);
    this.#onParentAbort = undefined;
  }
}

/** What surrounds the code that runs, and goes with it through everything that it awaits or starts. @internal */
export interface Surroundings {
  readonly call: Call | undefined;
  /** What every line that it logs carries. */
  readonly fields: LogFields | undefined;
}

/** One store for all of it: every one more would cost each of its `run`s. @internal */
export const surroundings = new AsyncLocalStorage<Surroundings>();

/** The innermost call around the caller. @internal */
export const currentCall = (): Call | undefined => surroundings.getStore()?.call;

/** Runs `fn` in a call; the log fields stay. @internal */
export function inCall<Result>(call: Call | undefined, fn: () => Result): Result {
  const around = surroundings.getStore();
  return around?.call === call ? fn() : surroundings.run({ call, fields: around?.fields }, fn);
}

/** Calls `fn` with a call that ends with `signal` as well as with `parent`, and that is done when it settles. @internal */
export async function withSignal<Result>(
  signal: AbortSignal,
  parent: Call | undefined,
  fn: (call: Call) => Promise<Result>,
): Promise<Result> {
  const call = new Call({ parent });
  const onAbort = () => call.abort(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort);
  try {
    return await fn(call);
  } finally {
    signal.removeEventListener('abort', onAbort);
    call.end();
  }
}

/** The signal of a call; outside of all it never aborts. @internal */
export const signalOf = (call: Call | undefined): AbortSignal => call?.signal ?? new AbortController().signal;

/**
 * What `work` comes to, or a rejection with the call's reason as soon as that is to end; `work` itself goes on.
 * @internal
 */
export function orEnded<Result>(work: PromiseLike<Result>, call: Call): Promise<Result> {
  return new Promise((resolve, reject) => {
    call.onAbort(reject);
    work.then(
      (result) => {
        call.offAbort(reject);
        resolve(result);
      },
      (error) => {
        call.offAbort(reject);
        reject(error);
      },
    );
  });
}

/**
 * The signal of what the caller is part of: the innermost policy with a time-out, `withDeadline`, or request.
 * It aborts when nobody waits for the work any more. Pass it on to whatever takes a signal; what Bosun has
 * (policies, queries, worker tasks) follows it by itself. Outside of all of them it never aborts.
 *
 * ```ts
 * const answer = await fetch(url, { signal: currentSignal() });
 * ```
 */
export function currentSignal(): AbortSignal {
  return signalOf(currentCall());
}

/** How long the caller's work may take still, in ms: 0 when it is overdue or given up, `Infinity` without a deadline. */
export function remainingMs(): number {
  return currentCall()?.remainingMs ?? Number.POSITIVE_INFINITY;
}

/** How `withDeadline` is told more. */
export interface DeadlineOptions {
  /** Measures the time. Default: the real time, or that of the deadline around it. */
  readonly clock?: Clock;
  /** Ends the work as well, with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Calls `fn`, which, with everything below it, has to be done within `ms`, counted from now. When the time has
 * passed, this rejects, `currentSignal()` aborts, and every policy and query below ends with the same error,
 * which no policy retries. An earlier deadline around it holds as well: it can be shortened, not extended.
 * `Infinity` sets none; 0 rejects without a call.
 *
 * @throws {DeadlineError} `ERR_DEADLINE`; `signal.reason`; {RangeError} for less than 0 or NaN; whatever `fn`
 * throws.
 */
export async function withDeadline<Result>(
  ms: number,
  fn: () => Result | PromiseLike<Result>,
  { clock, signal }: DeadlineOptions = {},
): Promise<Result> {
  if (!(ms >= 0)) {
    throw new RangeError(`withDeadline: ms must be at least 0 (Infinity: no deadline), received ${ms}`);
  }
  const call = new Call({ parent: currentCall(), limitMs: ms, clock });
  const onAbort = () => call.abort(signal?.reason);
  try {
    if (signal?.aborted) onAbort();
    call.throwIfAborted();
    signal?.addEventListener('abort', onAbort);
    return await orEnded(
      inCall(call, async () => await fn()),
      call,
    );
  } finally {
    signal?.removeEventListener('abort', onAbort);
    call.end();
  }
}
