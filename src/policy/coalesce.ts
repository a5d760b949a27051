import { z } from 'zod';
import type { Call } from '../call.ts';
import { systemClock } from '../clock.ts';
import { preview } from '../errors.ts';
import { countOrInfinity, parseOptions } from '../options.ts';
import { CoalesceKeyError } from './errors.ts';
import { callable, policyShape } from './options.ts';
import type { PolicyOptions } from './policy.ts';
import { type PolicyKey, perThis, SharedWork } from './shared-work.ts';
import { type Counters, countersFor } from './statistics.ts';

/** Options of `coalesce`. */
export interface CoalesceOptions extends PolicyOptions {
  /**
   * How many executions of one key may be in flight at a time. With more than one, a caller waits less for those
   * before its own, and fewer callers share each. `Infinity`: only calls of one turn share. Default: 1.
   */
  readonly maxInFlight?: number;
}

/** Options of `coalesce` for functions whose arguments do not identify the call by themselves. */
export interface KeyedCoalesceOptions<Args extends readonly unknown[]> extends CoalesceOptions {
  /**
   * What identifies a call, from its arguments without a trailing `AbortSignal`. When it throws, the call
   * rejects with that.
   */
  readonly key: (...args: Args) => PolicyKey;
}

/** Wraps a function, or as a TC39 decorator a method, that takes `Args`; `this`, arguments and types stay. */
export type Coalesce<Args extends readonly unknown[]> = <This, Given extends Args & unknown[], Result>(
  fn: (this: This, ...args: Given) => Result | PromiseLike<Result>,
  context?: ClassMethodDecoratorContext,
) => (this: This, ...args: Given) => Promise<Result>;

const schema = z.strictObject({
  name: policyShape.name,
  key: callable<(...args: unknown[]) => unknown>().optional(),
  maxInFlight: countOrInfinity().default(1),
});

/**
 * Lets calls of one key that come at the same time share one execution:
 *
 * ```ts
 * const products = coalesce()(async () => render(await database.query('SELECT …')));
 * ```
 *
 * A caller never gets the result of an execution that began before it called: while one is in flight, callers
 * gather for the next, which begins when that one has settled. An execution begins at the end of its turn of
 * the event loop (`setImmediate`), and who calls in that turn shares it. All of them get the same result, the
 * very same object: share what nobody changes.
 *
 * Calls are the same when they have the same `this` and the same primitive arguments, compared exactly; for
 * other arguments give a `key`. A trailing `AbortSignal` does not count.
 *
 * A caller whose signal aborts, or whose deadline or request ends, is let go at once with the reason, and the
 * others do not notice. The execution belongs to none of them: it carries nobody's log fields and has the time
 * of the caller with the latest deadline. When the last one has left it is aborted (`currentSignal()`, and the
 * signal that it was handed in place of its caller's), and the next one may begin: work that ignores the abort
 * then runs on beside it.
 *
 * An execution that fails rejects those who share it with the same error, and none after them. Nothing is kept
 * of a key that nobody waits for. A function that calls itself by the same key waits for itself.
 *
 * @throws {OptionsError} `ERR_OPTIONS`. The wrapped function rejects with {CoalesceKeyError} `ERR_COALESCE_KEY`
 * for arguments that need a `key`.
 */
export function coalesce(options?: CoalesceOptions): Coalesce<readonly (PolicyKey | AbortSignal)[]>;
export function coalesce<Args extends readonly unknown[]>(
  options: KeyedCoalesceOptions<Args>,
): Coalesce<readonly [...Args, ...unknown[]]>;
export function coalesce(options: CoalesceOptions = {}): Coalesce<readonly unknown[]> {
  const { name, key, maxInFlight } = parseOptions('coalesce', schema, options);
  const counters = countersFor('coalesce', name);
  const keyOf = key === undefined ? keyOfArguments : (args: readonly unknown[]) => checkedKey(key(...args));
  return <This, Args extends unknown[], Result>(
    fn: (this: This, ...args: Args) => Result | PromiseLike<Result>,
  ) => {
    const lanesOf = perThis(() => new Map<PolicyKey, Lane<This, Args, Result>>());
    return function (this: This, ...args: Args): Promise<Result> {
      const signal = trailingSignal(args);
      let keyed: PolicyKey;
      try {
        keyed = keyOf(signal === undefined ? args : args.slice(0, -1));
      } catch (error) {
        return Promise.reject(error);
      }
      const lanes = lanesOf(this);
      let lane = lanes.get(keyed);
      if (lane === undefined) {
        lane = new Lane(counters, maxInFlight, fn, this, () => lanes.delete(keyed));
        lanes.set(keyed, lane);
      }
      return lane.join(args, signal);
    };
  };
}

/** The calls of one key: the executions in flight, and the next one, for which callers gather. */
class Lane<This, Args extends unknown[], Result> {
  readonly fn: (this: This, ...args: Args) => Result | PromiseLike<Result>;
  readonly self: This;
  readonly #counters: Counters;
  readonly #maxInFlight: number;
  readonly #onIdle: () => void;
  #next: Execution<This, Args, Result> | undefined;
  #inFlight = 0;
  #starting = false;

  constructor(
    counters: Counters,
    maxInFlight: number,
    fn: (this: This, ...args: Args) => Result | PromiseLike<Result>,
    self: This,
    onIdle: () => void,
  ) {
    this.#counters = counters;
    this.#maxInFlight = maxInFlight;
    this.fn = fn;
    this.self = self;
    this.#onIdle = onIdle;
  }

  join(args: Args, signal: AbortSignal | undefined): Promise<Result> {
    this.#next ??= new Execution(this, this.#counters, args);
    this.#startSoon();
    return this.#next.join(undefined, signal);
  }

  /** An execution is over. */
  ended(): void {
    this.#inFlight--;
    if (this.#next !== undefined) this.#startSoon();
    else if (this.#inFlight === 0) this.#onIdle();
  }

  #startSoon(): void {
    if (this.#starting || this.#inFlight >= this.#maxInFlight) return;
    this.#starting = true;
    setImmediate(start, this);
  }

  start(): void {
    const next = this.#next;
    this.#starting = false;
    this.#next = undefined;
    this.#inFlight++;
    next?.begin();
  }
}

const start = (lane: { start(): void }) => lane.start();

class Execution<This, Args extends unknown[], Result> extends SharedWork<undefined, Result, Result> {
  readonly #lane: Lane<This, Args, Result>;
  readonly #args: Args;

  constructor(lane: Lane<This, Args, Result>, counters: Counters, args: Args) {
    super(counters, systemClock);
    this.#lane = lane;
    this.#args = args;
  }

  protected override async perform(_callers: unknown, call: Call): Promise<Result> {
    const { fn, self } = this.#lane;
    if (trailingSignal(this.#args) === undefined) return await fn.apply(self, this.#args);
    return await fn.apply(self, this.#args.with(-1, call.signal) as Args);
  }

  protected override distribute(result: Result): void {
    for (const caller of this.callers) this.done(caller, result);
  }

  protected override ended(): void {
    this.#lane.ended();
  }
}

const trailingSignal = (args: readonly unknown[]): AbortSignal | undefined => {
  const last = args.at(-1);
  return typeof last === 'object' && last instanceof AbortSignal ? last : undefined;
};

const isKey = (value: unknown): value is PolicyKey =>
  value === null || (typeof value !== 'object' && typeof value !== 'function');

function checkedKey(key: unknown): PolicyKey {
  if (isKey(key)) return key;
  throw new CoalesceKeyError(
    `coalesce: the option "key" must return a string, a number or another primitive, returned ${preview(key)}`,
  );
}

/** Begins the keys that are made of several arguments, and no key that is one argument. */
const COMPOSED = '\0';

/** One argument is its own key, so that the most frequent case costs nothing. */
function keyOfArguments(args: readonly unknown[]): PolicyKey {
  const [only] = args;
  if (args.length === 1 && isKey(only) && !(typeof only === 'string' && only.startsWith(COMPOSED)))
    return only;
  return COMPOSED + args.map(keyPart).join('');
}

function keyPart(arg: unknown, index: number): string {
  if (!isKey(arg) || typeof arg === 'symbol') {
    throw new CoalesceKeyError(
      `coalesce: argument ${index + 1} does not identify the call by itself: give the option "key", received ${preview(arg)}`,
    );
  }
  const text = String(arg);
  return `${typeof arg} ${text.length} ${text}`;
}
