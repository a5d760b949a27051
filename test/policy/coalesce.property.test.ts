import { getEventListeners } from 'node:events';
import { currentSignal, withDeadline } from 'bosun';
import { coalesce } from 'bosun/policy';
import { settle } from 'bosun/testing';
import fc from 'fast-check';
import { expect, test } from 'vitest';

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ type: fc.constant('call' as const), key: fc.nat(2), bySignal: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('abort' as const), at: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('end' as const), at: fc.nat(), fails: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('turn' as const) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('microtask' as const) }) },
);

interface Execution {
  readonly key: number;
  readonly begun: number;
  readonly signal: AbortSignal;
  /** How many of its key ran when it had begun. */
  beside: number;
  ended?: number;
  end(fails: boolean): void;
}

interface Call {
  readonly key: number;
  readonly called: number;
  readonly controller: AbortController;
  aborted?: number;
  readonly outcomes: unknown[];
}

/** Callers and executions of one coalesced function, with what happened when. */
class World {
  readonly executions: Execution[] = [];
  readonly calls: Call[] = [];
  readonly #get: (key: number, signal?: AbortSignal) => Promise<number>;
  #time = 0;

  constructor(maxInFlight: number) {
    this.#get = coalesce({ maxInFlight })((key: number, _signal?: AbortSignal) => this.#execute(key));
  }

  get open(): Execution[] {
    return this.executions.filter(({ ended }) => ended === undefined);
  }

  get waiting(): Call[] {
    return this.calls.filter(({ outcomes }) => outcomes.length === 0);
  }

  call(key: number, bySignal: boolean): void {
    const controller = new AbortController();
    const { signal } = controller;
    const call: Call = { key, called: ++this.#time, controller, outcomes: [] };
    this.calls.push(call);
    const result = bySignal
      ? this.#get(key, signal)
      : withDeadline(Number.POSITIVE_INFINITY, () => this.#get(key), { signal });
    const onOutcome = (outcome: unknown) => void call.outcomes.push(outcome);
    void result.then(onOutcome, onOutcome);
  }

  abort(call: Call): void {
    call.aborted ??= ++this.#time;
    call.controller.abort(call);
  }

  #execute(key: number): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const id = this.executions.length;
    const execution: Execution = {
      key,
      begun: ++this.#time,
      signal: currentSignal(),
      beside: 0,
      end: (fails) => {
        execution.ended = ++this.#time;
        if (fails) reject(new Error(String(id)));
        else resolve(id);
      },
    };
    this.executions.push(execution);
    execution.beside = this.open.filter((other) => other.key === key && !other.signal.aborted).length;
    return promise;
  }
}

test('whatever comes when, every caller gets one outcome, of an execution that began after it called', async () => {
  const property = fc.asyncProperty(
    fc.array(step, { maxLength: 80 }),
    fc.integer({ min: 1, max: 3 }),
    async (steps, maxInFlight) => {
      const world = new World(maxInFlight);
      for (const next of steps) {
        if (next.type === 'call') world.call(next.key, next.bySignal);
        if (next.type === 'turn') await new Promise<void>((resolve) => void setImmediate(resolve));
        if (next.type === 'microtask') await null;
        const execution = next.type === 'end' ? world.open[next.at % world.open.length] : undefined;
        if (next.type === 'end') execution?.end(next.fails);
        const call = next.type === 'abort' ? world.waiting[next.at % world.waiting.length] : undefined;
        if (call !== undefined) world.abort(call);
      }
      for (await settle(); world.open.length > 0; await settle()) {
        for (const execution of world.open) execution.end(false);
      }
      for (const { beside } of world.executions) expect(beside).toBeLessThanOrEqual(maxInFlight);
      for (const { key, called, controller, aborted, outcomes } of world.calls) {
        expect(outcomes).toHaveLength(1);
        expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
        const [outcome] = outcomes;
        if (outcome === controller.signal.reason) continue;
        const id = outcome instanceof Error ? Number(outcome.message) : Number(outcome);
        const { begun, ended = 0, ...execution } = world.executions[id] ?? fail(outcome);
        expect(execution.key).toBe(key);
        expect(begun).toBeGreaterThan(called);
        // Nobody was disturbed by an abort, and who aborted first got the reason of that.
        expect(execution.signal.aborted && aborted === undefined).toBe(false);
        if (aborted !== undefined) expect(ended).toBeLessThan(aborted);
      }
    },
  );
  await fc.assert(property, { numRuns: 200 });
});

function fail(outcome: unknown): never {
  throw new Error('an outcome of no execution', { cause: outcome });
}
