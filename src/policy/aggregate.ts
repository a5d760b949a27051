import { z } from 'zod';
import { type Clock, systemClock } from '../clock.ts';
import { countOrInfinity, parseOptions } from '../options.ts';
import { Batch, type BatchFunction, type Batching, type By } from './batch.ts';
import { AggregateMissingError } from './errors.ts';
import { policyShape } from './options.ts';
import type { PolicyOptions } from './policy.ts';
import { type PolicyKey, perThis } from './shared-work.ts';
import { type Counters, countersFor } from './statistics.ts';

/** Options of `aggregate`. */
export interface AggregateOptions extends PolicyOptions {
  /**
   * How long a batch may wait for more calls, from its first one on; it goes out at the end of the turn of the
   * event loop in which the time has passed (`setImmediate`). 0: it takes the calls of one turn. Default: 0.
   */
  readonly leewayMs?: number;
  /** How many arguments a batch may have; a full one waits no longer. `Infinity`: no limit. Default: 1 000. */
  readonly maxCount?: number;
  /**
   * How many batches may be out at a time; calls gather meanwhile. With 1, and a leeway of 0, a lone call does
   * not wait, and under load the batches grow with what the function can take, as suits a database. Of what has
   * gathered beside a smaller batch, some is left to the next one, so that batches get alike. Default: `Infinity`.
   */
  readonly maxInFlight?: number;
  /** Measures the leeway. Default: the real time. */
  readonly clock?: Clock;
}

/** With results in the order of the arguments. */
export interface AggregateByOrder {
  <Method extends (args: never[], signal?: AbortSignal) => Promise<readonly unknown[]>>(
    method: Method,
    context: ClassMethodDecoratorContext,
  ): Method;
  <This, Argument, Result>(
    fn: (
      this: This,
      args: Argument[],
      signal: AbortSignal,
    ) => readonly (Result | Error)[] | PromiseLike<readonly (Result | Error)[]>,
    context?: undefined,
  ): (this: This, argument: Argument, signal?: AbortSignal) => Promise<Result>;
}

/** With results that name their argument. */
export interface AggregateByKey<Result, Key extends PolicyKey> {
  <Method extends (args: never[], signal?: AbortSignal) => Promise<readonly Result[]>>(
    method: Method,
    context: ClassMethodDecoratorContext,
  ): Method;
  <This, Row extends Result>(
    fn: (this: This, args: Key[], signal: AbortSignal) => readonly Row[] | PromiseLike<readonly Row[]>,
    context?: undefined,
  ): (this: This, argument: Key, signal?: AbortSignal) => Promise<Row>;
}

/** With results in a `Map` by argument. */
export interface AggregateToMap {
  <Method extends (args: never[], signal?: AbortSignal) => Promise<ReadonlyMap<PolicyKey, unknown>>>(
    method: Method,
    context: ClassMethodDecoratorContext,
  ): Method;
  <This, Key extends PolicyKey, Result>(
    fn: (
      this: This,
      args: Key[],
      signal: AbortSignal,
    ) => ReadonlyMap<Key, Result | Error> | PromiseLike<ReadonlyMap<Key, Result | Error>>,
    context?: undefined,
  ): (this: This, argument: Key, signal?: AbortSignal) => Promise<Result>;
}

const schema = z.strictObject({
  name: policyShape.name,
  clock: policyShape.clock.default(systemClock),
  // A leeway without end would be a call without an answer.
  leewayMs: z
    .custom<number>(
      (value) => Number.isFinite(value) && Number(value) >= 0,
      'must be a finite number of milliseconds of at least 0',
    )
    .default(0),
  maxCount: countOrInfinity().default(1_000),
  maxInFlight: countOrInfinity().default(Number.POSITIVE_INFINITY),
  by: z
    .custom<By>(
      (value) => value === 'order' || value === 'key' || typeof value === 'function',
      "must be 'order', 'key' or a function from a result to its argument",
    )
    .default('order'),
});

/**
 * Lets calls of one argument each go out together, as one call of a function that takes a list:
 *
 * ```ts
 * const product = aggregate({ maxInFlight: 1, by: (row: Product) => row.id })(
 *   async (ids: readonly number[]) => {
 *     const { rows } = await database.query<Product>('SELECT … WHERE id = ANY($1)', [ids]);
 *     return rows;
 *   },
 * );
 * await product(5); // a Product
 * ```
 *
 * `by` tells how results find their callers. `'order'`, the default: the function returns an array of one result
 * per argument. A function: it makes of each result the argument that it belongs to. `'key'`: the function
 * returns a `Map` by argument. By key an argument that several callers have is sent once, and they share the
 * result; who has none is rejected alone ({AggregateMissingError} `ERR_AGGREGATE_MISSING`). By order each call is
 * sent, as for an insert. An `Error` in the array or the `Map` rejects its caller alone.
 *
 * As a TC39 decorator it takes a method with a list of arguments, whose type stays: each caller passes the list
 * that it needs, `const [row] = await this.rows([5])`, and gets what the method would have returned for that.
 *
 * A caller whose signal (after the argument) aborts, or whose deadline or request ends, is let go at once with the
 * reason. What has not gone out is not sent for it. A batch belongs to none of its callers: it carries nobody's log
 * fields, and has the time of the caller with the latest deadline. When the last one has left, it is aborted
 * (the signal after the list, and `currentSignal()`), and counts no longer for `maxInFlight`.
 *
 * aiomisc's `aggregate` has the same leeway and count.
 *
 * @throws {OptionsError} `ERR_OPTIONS`. The wrapped function rejects with what the function threw, which all callers
 * of the batch get, and with {AggregateResultError} `ERR_AGGREGATE_RESULT` when what it returned does not match
 * the arguments.
 */
export function aggregate(options?: AggregateOptions & { readonly by?: 'order' }): AggregateByOrder;
export function aggregate(options: AggregateOptions & { readonly by: 'key' }): AggregateToMap;
export function aggregate<Result, Key extends PolicyKey>(
  options: AggregateOptions & { readonly by: (result: Result) => Key },
): AggregateByKey<Result, Key>;
export function aggregate(options: unknown = {}): unknown {
  const settings = parseOptions('aggregate', schema, options);
  const counters = countersFor('aggregate', settings.name);
  return <This, Argument>(fn: BatchFunction<This, Argument>, context?: ClassMethodDecoratorContext) => {
    const aggregatorOf = perThis((self: This) => new Aggregator(fn, self, settings, counters));
    if (context === undefined) {
      return function (this: This, argument: Argument, signal?: AbortSignal) {
        return aggregatorOf(this).call(argument, signal);
      };
    }
    return async function (this: This, args: readonly Argument[], signal?: AbortSignal) {
      return await aggregatorOf(this).callEach(args, signal);
    };
  };
}

class Aggregator<This, Argument> {
  readonly #settings: z.output<typeof schema>;
  readonly #batching: Batching<This, Argument>;
  /** The batch that calls join; none when the last one is full, or out. */
  #open: Batch<This, Argument> | undefined;
  /** The batches that wait no longer for more calls, in the order in which they go out. */
  readonly #due = new Set<Batch<This, Argument>>();
  #inFlight = 0;
  #sending = false;
  /** How many calls the batches had that have ended since the last one went out. */
  #answered = 0;

  constructor(
    fn: BatchFunction<This, Argument>,
    self: This,
    settings: z.output<typeof schema>,
    counters: Counters,
  ) {
    this.#settings = settings;
    this.#batching = {
      fn,
      self,
      by: settings.by,
      clock: settings.clock,
      counters,
      onEmpty: (batch) => this.#drop(batch),
      onEnd: (count) => this.#ended(count),
    };
  }

  call(argument: Argument, signal: AbortSignal | undefined): Promise<unknown> {
    this.#open ??= this.#newBatch();
    const batch = this.#open;
    const result = batch.join(argument, signal);
    if (batch.size >= this.#settings.maxCount) {
      this.#open = undefined;
      this.#setDue(batch);
    }
    return result;
  }

  /** Answers as the function itself would for these arguments alone. */
  async callEach(args: readonly Argument[], signal: AbortSignal | undefined): Promise<unknown> {
    const { by } = this.#settings;
    if (by === 'order') return await Promise.all(args.map((argument) => this.call(argument, signal)));
    const found = new Map<Argument, unknown>();
    const ask = async (argument: Argument) => {
      try {
        found.set(argument, await this.call(argument, signal));
      } catch (error) {
        if (!(error instanceof AggregateMissingError)) throw error;
      }
    };
    await Promise.all([...new Set(args)].map(ask));
    return by === 'key' ? found : [...found.values()];
  }

  #newBatch(): Batch<This, Argument> {
    const { clock, leewayMs } = this.#settings;
    const batch = new Batch(this.#batching);
    if (leewayMs === 0) this.#setDue(batch);
    else batch.leeway = clock.setTimer(() => this.#setDue(batch), leewayMs);
    return batch;
  }

  #setDue(batch: Batch<This, Argument>): void {
    batch.leeway?.cancel();
    this.#due.add(batch);
    this.#sendSoon();
  }

  #sendSoon(): void {
    if (this.#sending || this.#due.size === 0 || this.#inFlight >= this.#settings.maxInFlight) return;
    this.#sending = true;
    setImmediate(() => this.#send());
  }

  #send(): void {
    const answered = this.#answered;
    this.#answered = 0;
    this.#sending = false;
    for (const batch of [...this.#due]) {
      if (this.#inFlight >= this.#settings.maxInFlight) return;
      const gathers = batch === this.#open;
      this.#drop(batch);
      this.#inFlight++;
      if (gathers && this.#inFlight === this.#settings.maxInFlight) this.#level(batch, answered);
      batch.begin();
    }
  }

  /**
   * Leaves some of a batch that follows a much smaller one to the next. Under load those who were answered come
   * back: if all others went out now, few would gather meanwhile, and so on in turn; the process would have nothing
   * to do while the large ones are out.
   */
  #level(batch: Batch<This, Argument>, answered: number): void {
    const count = Math.ceil((answered + batch.callers.size) / 2);
    if (answered === 0 || count >= batch.callers.size) return;
    this.#open = batch.split(count);
    this.#setDue(this.#open);
  }

  #ended(count: number): void {
    this.#inFlight--;
    // After a pause nobody is known to come back.
    this.#answered = this.#due.size === 0 ? 0 : this.#answered + count;
    this.#sendSoon();
  }

  /** It takes no more calls, and waits for nothing. */
  #drop(batch: Batch<This, Argument>): void {
    batch.leeway?.cancel();
    this.#due.delete(batch);
    if (this.#open === batch) this.#open = undefined;
  }
}
