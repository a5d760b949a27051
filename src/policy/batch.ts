import type { Call } from '../call.ts';
import type { Clock, Timer } from '../clock.ts';
import { preview } from '../errors.ts';
import { AggregateMissingError, AggregateResultError } from './errors.ts';
import { type Caller, SharedWork } from './shared-work.ts';
import type { Counters } from './statistics.ts';

/** What does the work of a batch. @internal */
export type BatchFunction<This, Argument> = (this: This, args: Argument[], signal: AbortSignal) => unknown;

/** How results find their arguments: by their order, as the keys of a `Map`, or by what a function makes of each. @internal */
export type By = 'order' | 'key' | ((result: unknown) => unknown);

/** What the batches of one function have in common. @internal */
export interface Batching<This, Argument> {
  readonly fn: BatchFunction<This, Argument>;
  readonly self: This;
  readonly by: By;
  readonly counters: Counters;
  readonly clock: Clock;
  /** All callers have left. */
  readonly onEmpty: (batch: Batch<This, Argument>) => void;
  /** A batch that was begun is over; so many had waited for it. */
  readonly onEnd: (count: number) => void;
}

/** Calls that go out as one. @internal */
export class Batch<This, Argument> extends SharedWork<Argument, unknown, unknown> {
  /** Runs while more calls are waited for. */
  leeway: Timer | undefined;
  readonly #batching: Batching<This, Argument>;
  /** How many callers wait for each argument; where results go by order, each of them has one of its own. */
  readonly #waiting: Map<Argument, number> | undefined;
  #sent: readonly Argument[] = [];
  #count = 0;

  constructor(batching: Batching<This, Argument>) {
    super(batching.counters, batching.clock);
    this.#batching = batching;
    this.#waiting = batching.by === 'order' ? undefined : new Map();
  }

  /** How many arguments it has. */
  get size(): number {
    return this.#waiting?.size ?? this.callers.size;
  }

  override join(argument: Argument, signal: AbortSignal | undefined): Promise<unknown> {
    this.#add(argument);
    return super.join(argument, signal);
  }

  /** Leaves the first `count` callers to this batch and the others, who came later, to a new one. */
  split(count: number): Batch<This, Argument> {
    const rest = new Batch(this.#batching);
    let index = 0;
    for (const caller of this.callers) {
      if (index++ < count) continue;
      this.passOn(caller, rest);
      this.#remove(caller.argument);
      rest.#add(caller.argument);
    }
    return rest;
  }

  protected override left({ argument }: Caller<Argument, unknown>): void {
    this.#remove(argument);
    if (this.callers.size === 0) this.#batching.onEmpty(this);
  }

  protected override async perform(
    callers: readonly Caller<Argument, unknown>[],
    call: Call,
  ): Promise<unknown> {
    const { fn, self } = this.#batching;
    this.#count = callers.length;
    this.#sent =
      this.#waiting === undefined ? callers.map(({ argument }) => argument) : [...this.#waiting.keys()];
    return await fn.call(self, [...this.#sent], call.signal);
  }

  protected override distribute(outcome: unknown, callers: readonly Caller<Argument, unknown>[]): void {
    const { by } = this.#batching;
    if (by === 'order') {
      const results = resultsInOrder(outcome, callers.length);
      for (const [index, caller] of callers.entries()) this.#answer(caller, results[index]);
    } else {
      const results = resultsByKey(outcome, by, this.#sent);
      for (const caller of this.callers) {
        const { argument } = caller;
        const result = results.get(argument);
        if (result !== undefined || results.has(argument)) this.#answer(caller, result);
        else this.failed(caller, new AggregateMissingError(argument));
      }
    }
  }

  protected override ended(): void {
    this.#batching.onEnd(this.#count);
  }

  #add(argument: Argument): void {
    this.#waiting?.set(argument, (this.#waiting.get(argument) ?? 0) + 1);
  }

  #remove(argument: Argument): void {
    const others = (this.#waiting?.get(argument) ?? 0) - 1;
    if (others > 0) this.#waiting?.set(argument, others);
    else this.#waiting?.delete(argument);
  }

  #answer(caller: Caller<Argument, unknown>, result: unknown): void {
    if (result instanceof Error) this.failed(caller, result);
    else this.done(caller, result);
  }
}

function resultsInOrder(outcome: unknown, count: number): readonly unknown[] {
  if (Array.isArray(outcome) && outcome.length === count) return outcome;
  const received = Array.isArray(outcome) ? `an array of ${outcome.length}` : preview(outcome);
  throw new AggregateResultError(
    `aggregate: the function must return an array of one result per argument (${count}), returned ${received}`,
  );
}

function resultsByKey(
  outcome: unknown,
  by: 'key' | ((result: unknown) => unknown),
  sent: readonly unknown[],
): ReadonlyMap<unknown, unknown> {
  const results = by === 'key' ? asMap(outcome) : mapOf(outcome, by);
  let asked = 0;
  for (const argument of sent) if (results.has(argument)) asked++;
  // Mostly it is a key of another type: '1' for 1. Its caller would be told that there is no result.
  if (asked < results.size) {
    const known = new Set(sent);
    const stranger = [...results.keys()].find((key) => !known.has(key));
    throw new AggregateResultError(
      `aggregate: a result has the key ${preview(stranger)} (${typeof stranger}), which is none of the arguments`,
    );
  }
  return results;
}

function asMap(outcome: unknown): ReadonlyMap<unknown, unknown> {
  if (outcome instanceof Map) return outcome;
  throw new AggregateResultError(
    `aggregate: with by: 'key' the function must return a Map, returned ${preview(outcome)}`,
  );
}

function mapOf(outcome: unknown, by: (result: unknown) => unknown): ReadonlyMap<unknown, unknown> {
  if (!Array.isArray(outcome)) {
    throw new AggregateResultError(
      `aggregate: the function must return an array of results, returned ${preview(outcome)}`,
    );
  }
  const results = new Map<unknown, unknown>();
  for (const result of outcome) {
    const key = by(result);
    const before = results.size;
    if (results.set(key, result).size === before) {
      throw new AggregateResultError(`aggregate: two results have the key ${preview(key)}`);
    }
  }
  return results;
}
