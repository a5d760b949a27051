import { getEventListeners } from 'node:events';
import { aggregate } from 'bosun/policy';
import { FakeClock, settle } from 'bosun/testing';
import fc from 'fast-check';
import { expect, test } from 'vitest';

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ type: fc.constant('call' as const), key: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('abort' as const), at: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('end' as const), at: fc.nat(), fails: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('pass' as const), ms: fc.nat(4) }) },
);

const settings = fc.record({
  leewayMs: fc.nat(6),
  maxCount: fc.integer({ min: 1, max: 4 }),
  maxInFlight: fc.constantFrom(1, 2, Number.POSITIVE_INFINITY),
});
type Settings = typeof settings extends fc.Arbitrary<infer Value> ? Value : never;

interface Argument {
  readonly key: number;
}

interface Sent<Value> {
  readonly args: readonly Value[];
  readonly at: number;
  readonly signal: AbortSignal;
  /** How many were out when it went out. */
  out: number;
  ended: boolean;
  end(fails: boolean): void;
}

interface Call {
  readonly argument: Argument;
  readonly at: number;
  readonly controller: AbortController;
  aborted: boolean;
  readonly outcomes: unknown[];
}

/** The callers and batches of one aggregated function; `make` says how it is aggregated. */
class World<Value> {
  readonly clock = new FakeClock();
  readonly batches: Sent<Value>[] = [];
  readonly calls: Call[] = [];

  get open(): Sent<Value>[] {
    return this.batches.filter(({ ended }) => !ended);
  }

  get waiting(): Call[] {
    return this.calls.filter(({ outcomes }) => outcomes.length === 0);
  }

  call(key: number, get: (argument: Argument, signal: AbortSignal) => Promise<unknown>): void {
    const controller = new AbortController();
    const call: Call = { argument: { key }, at: this.clock.now(), controller, aborted: false, outcomes: [] };
    this.calls.push(call);
    const onOutcome = (outcome: unknown) => void call.outcomes.push(outcome);
    void get(call.argument, controller.signal).then(onOutcome, onOutcome);
  }

  abort(call: Call): void {
    call.aborted = true;
    call.controller.abort(call);
  }

  /** What the aggregated function does; `results` are what it comes to. */
  send<Results>(args: readonly Value[], signal: AbortSignal, results: Results): Promise<Results> {
    const { promise, resolve, reject } = Promise.withResolvers<Results>();
    const batch: Sent<Value> = {
      args,
      at: this.clock.now(),
      signal,
      out: 0,
      ended: false,
      end: (fails) => {
        batch.ended = true;
        if (fails) reject(batch);
        else resolve(results);
      },
    };
    this.batches.push(batch);
    batch.out = this.open.filter((other) => !other.signal.aborted).length;
    return promise;
  }

  async play(
    steps: readonly (typeof step extends fc.Arbitrary<infer Value> ? Value : never)[],
    { leewayMs, maxInFlight }: Settings,
    get: (argument: Argument, signal: AbortSignal) => Promise<unknown>,
    sentIn: (argument: Argument, batch: Sent<Value>) => boolean,
  ): Promise<void> {
    for (const next of steps) {
      if (next.type === 'call') this.call(next.key, get);
      if (next.type === 'pass') await this.clock.advance(next.ms);
      const batch = next.type === 'end' ? this.open[next.at % this.open.length] : undefined;
      if (next.type === 'end') batch?.end(next.fails);
      const call = next.type === 'abort' ? this.waiting[next.at % this.waiting.length] : undefined;
      if (call !== undefined) this.abort(call);
      if (next.type !== 'pass' || maxInFlight !== Number.POSITIVE_INFINITY) continue;
      for (const { argument, at } of this.waiting.filter(
        (other) => this.clock.now() >= other.at + leewayMs,
      )) {
        expect(this.batches.some((sent) => sent.at >= at && sentIn(argument, sent))).toBe(true);
      }
    }
    for (await this.clock.advance(leewayMs); this.open.length > 0; await settle()) {
      for (const batch of this.open) batch.end(false);
    }
    expect(this.clock.pending).toBe(0);
    for (const { controller, outcomes } of this.calls) {
      expect(outcomes).toHaveLength(1);
      expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    }
  }

  checkSizes({ maxCount, maxInFlight }: Settings): void {
    for (const { args, out } of this.batches) {
      expect(args.length).toBeGreaterThan(0);
      expect(args.length).toBeLessThanOrEqual(maxCount);
      expect(out).toBeLessThanOrEqual(maxInFlight);
    }
  }
}

test('by order, whatever comes when, each call is sent once at most and gets its own result', async () => {
  const property = fc.asyncProperty(fc.array(step, { maxLength: 80 }), settings, async (steps, options) => {
    const world = new World<Argument>();
    const get = aggregate({ ...options, clock: world.clock })((args: Argument[], signal) => {
      return world.send(
        args,
        signal,
        args.map((argument) => ({ argument })),
      );
    });
    await world.play(steps, options, get, (argument, { args }) => args.includes(argument));
    world.checkSizes(options);
    for (const { argument, aborted, controller, outcomes } of world.calls) {
      const sent = world.batches.filter(({ args }) => args.includes(argument));
      const [outcome] = outcomes;
      expect(sent.length).toBeLessThanOrEqual(1);
      if (aborted && outcome === controller.signal.reason) continue;
      const [batch] = sent;
      expect(batch?.signal.aborted).toBe(false);
      if (outcome !== batch) expect(outcome).toEqual({ argument });
    }
  });
  await fc.assert(property, { numRuns: 150 });
});

test('by key, whatever comes when, no argument is twice in a batch, and none is left out', async () => {
  const property = fc.asyncProperty(fc.array(step, { maxLength: 80 }), settings, async (steps, options) => {
    const world = new World<number>();
    const get = aggregate({ ...options, by: 'key', clock: world.clock })((keys: number[], signal) => {
      return world.send(keys, signal, new Map(keys.filter((key) => key > 0).map((key) => [key, { key }])));
    });
    const getOne = ({ key }: Argument, signal: AbortSignal) => get(key, signal);
    await world.play(steps, options, getOne, ({ key }, { args }) => args.includes(key));
    world.checkSizes(options);
    for (const { args } of world.batches) expect(new Set(args).size).toBe(args.length);
    for (const { argument, aborted, controller, outcomes } of world.calls) {
      const [outcome] = outcomes;
      if (aborted && outcome === controller.signal.reason) continue;
      const failed = world.batches.find((batch) => batch === outcome);
      if (failed !== undefined) expect(failed.args).toContain(argument.key);
      else if (argument.key > 0) expect(outcome).toEqual(argument);
      else expect(outcome).toMatchObject({ code: 'ERR_AGGREGATE_MISSING', argument: argument.key });
    }
  });
  await fc.assert(property, { numRuns: 150 });
});
