import { getEventListeners } from 'node:events';
import { currentSignal, OptionsError, remainingMs, withDeadline, withLogFields } from 'bosun';
import { AggregateResultError, aggregate, policyStatistics } from 'bosun/policy';
import { FakeClock, settle } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { logFields } from '../../src/logging/fields.ts';

interface Row {
  readonly id: number;
  readonly text: string;
}
const rowOf = (id: number): Row => ({ id, text: `row ${id}` });

const outcome = (promise: Promise<unknown>) =>
  promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );

/** A function whose batches end when the test says so. */
function stage() {
  const batches: { args: number[]; signal: AbortSignal; end: () => void; fail: (error: Error) => void }[] =
    [];
  const fn = (args: number[], signal: AbortSignal) => {
    const { promise, resolve, reject } = Promise.withResolvers<string[]>();
    const end = () => resolve(args.map((arg) => `result ${arg}`));
    batches.push({ args, signal, end, fail: reject });
    return promise;
  };
  return { batches, fn, sent: () => batches.map(({ args }) => args) };
}

describe('calls', () => {
  test('that come within the leeway after the first go out as one', async () => {
    const clock = new FakeClock();
    const { batches, fn, sent } = stage();
    const get = aggregate({ leewayMs: 10, clock })(fn);
    const first = get(1);
    await clock.advance(9);
    const second = get(2);
    await settle();
    expect(sent()).toEqual([]);
    await clock.advance(1);
    expect(sent()).toEqual([[1, 2]]);
    const third = get(3);
    await clock.advance(10);
    expect(sent()).toEqual([[1, 2], [3]]);
    for (const batch of batches) batch.end();
    expect(await Promise.all([first, second, third])).toEqual(['result 1', 'result 2', 'result 3']);
    expect(clock.pending).toBe(0);
  });

  test('go out at once when the batch is full, and the next ones have a leeway of their own', async () => {
    const clock = new FakeClock();
    const { fn, sent } = stage();
    const get = aggregate({ leewayMs: 10, maxCount: 2, clock })(fn);
    void get(1);
    await clock.advance(5);
    for (const arg of [2, 3, 4, 5]) void get(arg);
    await settle();
    expect(sent()).toEqual([
      [1, 2],
      [3, 4],
    ]);
    await clock.advance(9);
    expect(sent()).toHaveLength(2);
    await clock.advance(1);
    expect(sent()[2]).toEqual([5]);
    expect(clock.pending).toBe(0);
  });

  test('of one turn of the event loop go out together where there is no leeway', async () => {
    const double = aggregate()(async (numbers: readonly number[]) =>
      numbers.map((number) => ({ number, batch: numbers.length })),
    );
    const first = double(1);
    await null;
    expect(await Promise.all([first, double(2)])).toEqual([
      { number: 1, batch: 2 },
      { number: 2, batch: 2 },
    ]);
  });

  test('gather while maxInFlight batches are out, also beyond their leeway', async () => {
    const { batches, fn, sent } = stage();
    const get = aggregate({ maxInFlight: 1, maxCount: 3 })(fn);
    void get(1);
    await settle();
    for (const arg of [2, 3]) void get(arg);
    await settle();
    for (const arg of [4, 5]) void get(arg);
    await settle();
    expect(sent()).toEqual([[1]]);
    batches[0]?.end();
    await settle();
    expect(sent()).toEqual([[1], [2, 3, 4]]);
    void get(6);
    batches[1]?.end();
    await settle();
    expect(sent()).toEqual([[1], [2, 3, 4], [5, 6]]);
  });

  test('that gathered beside a smaller batch go out in two, in their order', async () => {
    const { batches, fn, sent } = stage();
    const get = aggregate({ maxInFlight: 1 })(fn);
    const first = [1, 2].map((arg) => get(arg));
    await settle();
    const gathered = [3, 4, 5, 6, 7, 8, 9].map((arg) => get(arg));
    batches[0]?.end();
    expect(await Promise.all(first)).toEqual(['result 1', 'result 2']);
    await settle();
    expect(sent().slice(1)).toEqual([[3, 4, 5, 6, 7]]);
    const late = get(10);
    batches[1]?.end();
    await settle();
    expect(sent().slice(2)).toEqual([[8, 9, 10]]);
    batches[2]?.end();
    expect(await Promise.all([...gathered, late])).toEqual(
      [3, 4, 5, 6, 7, 8, 9, 10].map((arg) => `result ${arg}`),
    );
    for (const arg of [11, 12, 13, 14, 15, 16, 17]) void get(arg);
    await settle();
    expect(sent().slice(3)).toEqual([[11, 12, 13, 14, 15, 16, 17]]);
  });

  test('go out at once, whole, while more batches may be out', async () => {
    const { batches, fn, sent } = stage();
    const get = aggregate({ maxInFlight: 2 })(fn);
    void get(1);
    await settle();
    void get(2);
    await settle();
    for (const arg of [3, 4, 5]) void get(arg);
    batches[0]?.end();
    batches[1]?.end();
    await settle();
    expect(sent()).toEqual([[1], [2], [3, 4, 5]]);
  });

  test('that are left to the second of two keep their signals and deadlines, and share their arguments', async () => {
    const clock = new FakeClock();
    const { batches, fn, sent } = stage();
    const get = aggregate({ maxInFlight: 1, by: 'key' })(async (args: number[], signal) => {
      const results = await fn(args, signal);
      return new Map(args.map((arg, index) => [arg, results[index]]));
    });
    const first = get(1);
    await settle();
    const within = (arg: number, ms: number, signal?: AbortSignal) =>
      outcome(withDeadline(ms, () => get(arg, signal), { clock }));
    const controller = new AbortController();
    const gathered = [
      within(2, 50),
      within(3, 50),
      within(2, 50),
      within(2, 50, controller.signal),
      within(4, 10),
      within(3, 40),
    ];
    batches[0]?.end();
    await first;
    await settle();
    expect(sent()).toEqual([[1], [2, 3]]);
    await clock.advance(10);
    controller.abort('left');
    expect(await gathered[4]).toMatchObject({ error: { code: 'ERR_DEADLINE' } });
    expect(await gathered[3]).toEqual({ error: 'left' });
    batches[1]?.end();
    await settle();
    expect(sent()).toEqual([[1], [2, 3], [3]]);
    batches[2]?.end();
    const [two, three, twoAgain, , , threeAgain] = await Promise.all(gathered);
    expect([two, twoAgain]).toEqual([{ value: 'result 2' }, { value: 'result 2' }]);
    expect([three, threeAgain]).toEqual([{ value: 'result 3' }, { value: 'result 3' }]);
    expect(clock.pending).toBe(0);
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  });

  test('from within the function go out as a batch of their own, of one turn too', async () => {
    const sent: number[][] = [];
    const get = aggregate()(async (ids: readonly number[]): Promise<readonly number[]> => {
      sent.push([...ids]);
      if (ids.includes(1)) {
        const two = get(2);
        await null;
        await Promise.all([two, get(3)]);
      }
      return ids;
    });
    await get(1);
    expect(sent).toEqual([[1], [2, 3]]);
  });
});

describe('results by order', () => {
  test('belong to the arguments in their order, each call being sent, also twice the same', async () => {
    const inserted: number[] = [];
    const insert = aggregate()(async (values: readonly number[]) =>
      values.map((value) => `${inserted.push(value)}: ${value}`),
    );
    expect(await Promise.all([insert(7), insert(7), insert(8)])).toEqual(['1: 7', '2: 7', '3: 8']);
  });

  test('that are Errors reject their callers alone', async () => {
    const error = new RangeError('odd');
    const get = aggregate()(async (ids: readonly number[]) => ids.map((id) => (id % 2 === 0 ? id : error)));
    expect(await Promise.all([2, 3, 4].map((id) => outcome(get(id))))).toEqual([
      { value: 2 },
      { error },
      { value: 4 },
    ]);
  });

  test('of another number, or of another kind, reject all', async () => {
    for (const [returned, received] of [
      [[1], 'an array of 1'],
      [[1, 2, 3], 'an array of 3'],
      [undefined, 'undefined'],
      ['ab', '"ab"'],
      [new Map(), 'an instance of Map'],
    ] as const) {
      const get = aggregate()(async (_ids: number[]) => returned as unknown as number[]);
      const outcomes = await Promise.all([outcome(get(1)), outcome(get(2))]);
      const message = `aggregate: the function must return an array of one result per argument (2), returned ${received}`;
      const error = { code: 'ERR_AGGREGATE_RESULT', message };
      expect(outcomes).toMatchObject([{ error }, { error }]);
    }
  });
});

describe('results by key', () => {
  test('find their callers in any order; who has none is rejected alone', async () => {
    const get = aggregate({ by: (row: Row) => row.id })(async (ids: readonly number[]) =>
      ids
        .filter((id) => id < 10)
        .map(rowOf)
        .reverse(),
    );
    expect(await Promise.all([1, 12, 3].map((id) => outcome(get(id))))).toMatchObject([
      { value: rowOf(1) },
      { error: { code: 'ERR_AGGREGATE_MISSING', argument: 12 } },
      { value: rowOf(3) },
    ]);
  });

  test('are shared by callers of one argument, which is sent once and counts once', async () => {
    const sent: number[][] = [];
    const get = aggregate({ maxCount: 2, by: (row: Row) => row.id })(async (ids: number[]) => {
      sent.push([...ids]);
      return ids.splice(0).map(rowOf);
    });
    const rows = await Promise.all([get(1), get(1), get(1), get(2), get(1)]);
    expect(sent).toEqual([[1, 2], [1]]);
    expect(rows[0]).toBe(rows[2]);
    expect(rows.map((row) => row?.id)).toEqual([1, 1, 1, 2, 1]);
  });

  test('may come as a Map, in which an Error rejects the callers of its argument', async () => {
    const error = new Error('no');
    const get = aggregate({ by: 'key' })(
      async (ids: readonly string[]) =>
        new Map<string, number | Error>(ids.slice(1).map((id) => [id, id === 'bad' ? error : id.length])),
    );
    expect(await Promise.all(['none', 'bad', 'four', 'bad'].map((id) => outcome(get(id))))).toMatchObject([
      { error: { code: 'ERR_AGGREGATE_MISSING', argument: 'none' } },
      { error },
      { value: 4 },
      { error },
    ]);
  });

  test('reject all when they match no argument, or one twice, or are no list', async () => {
    const returning = (rows: unknown) =>
      outcome(aggregate({ by: (row: Row) => row.id })(async () => rows as Row[])(1));
    const returningMap = (map: unknown) =>
      outcome(aggregate({ by: 'key' })(async (_ids: number[]) => map as Map<number, Row>)(1));
    const message = (text: string) => ({
      error: { code: 'ERR_AGGREGATE_RESULT', message: `aggregate: ${text}` },
    });
    expect(await returning([{ id: '1' }])).toMatchObject(
      message('a result has the key "1" (string), which is none of the arguments'),
    );
    expect(await returning([rowOf(1), rowOf(1)])).toMatchObject(message('two results have the key 1'));
    expect(await returning(rowOf(1))).toMatchObject(
      message('the function must return an array of results, returned {"id":1,"text":"row 1"}'),
    );
    expect(await returningMap([rowOf(1)])).toMatchObject({ error: expect.any(AggregateResultError) });
    expect(await returningMap(new Map([[2, rowOf(2)]]))).toMatchObject({
      error: expect.any(AggregateResultError),
    });
    expect(await returning([null])).toMatchObject({ error: expect.any(TypeError) });
  });
});

describe('a caller that leaves', () => {
  test('before its batch has gone out is not sent, and the batch not without callers', async () => {
    const clock = new FakeClock();
    const { fn, sent } = stage();
    const get = aggregate({ leewayMs: 10, clock })(fn);
    const controllers = [new AbortController(), new AbortController()];
    const left = controllers.map(({ signal }, index) => outcome(get(index, signal)));
    controllers[0]?.abort('first');
    expect(await left[0]).toEqual({ error: 'first' });
    expect(clock.pending).toBe(1);
    controllers[1]?.abort('second');
    expect(await left[1]).toEqual({ error: 'second' });
    expect(clock.pending).toBe(0);
    expect(await outcome(get(2, AbortSignal.abort('gone')))).toEqual({ error: 'gone' });
    expect(clock.pending).toBe(0);
    const late = outcome(withDeadline(5, () => get(3), { clock }));
    void get(4);
    await clock.advance(10);
    expect(await late).toMatchObject({ error: { code: 'ERR_DEADLINE' } });
    expect(sent()).toEqual([[4]]);
    for (const { signal } of controllers) expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  test('leaves an argument to others who have it', async () => {
    const sent: number[][] = [];
    const get = aggregate({ by: (row: Row) => row.id })(async (ids: readonly number[]) => {
      sent.push([...ids]);
      return ids.map(rowOf);
    });
    const controller = new AbortController();
    const left = [get(1, controller.signal), get(2, controller.signal)].map(outcome);
    const stays = get(1);
    controller.abort('left');
    expect(await Promise.all(left)).toEqual([{ error: 'left' }, { error: 'left' }]);
    expect(await stays).toEqual(rowOf(1));
    expect(sent).toEqual([[1]]);
  });

  test('disturbs nobody of a batch that is out; when it was the last one, the batch is aborted', async () => {
    const { batches, fn, sent } = stage();
    const get = aggregate({ maxInFlight: 1 })(fn);
    const controllers = [new AbortController(), new AbortController(), new AbortController()];
    const calls = controllers.map(({ signal }, index) => outcome(get(index, signal)));
    await settle();
    controllers[0]?.abort('first');
    expect(await calls[0]).toEqual({ error: 'first' });
    expect(batches[0]?.signal.aborted).toBe(false);
    const next = outcome(get(9));
    controllers[1]?.abort('second');
    controllers[2]?.abort('third');
    expect(batches[0]?.signal.reason).toBe('third');
    await settle();
    expect(sent()).toEqual([[0, 1, 2], [9]]);
    batches[0]?.fail(new Error('aborted'));
    batches[1]?.end();
    expect(await next).toEqual({ value: 'result 9' });
  });
});

describe('a batch', () => {
  test('that fails rejects all of its callers, and no others', async () => {
    const { batches, fn } = stage();
    const get = aggregate({ maxCount: 2 })(fn);
    const calls = [1, 2, 3].map((arg) => outcome(get(arg)));
    await settle();
    const error = new Error('down');
    batches[0]?.fail(error);
    batches[1]?.end();
    expect(await Promise.all(calls)).toEqual([{ error }, { error }, { value: 'result 3' }]);
    const thrown = aggregate()((_ids: number[]): number[] => {
      throw error;
    });
    expect(await outcome(thrown(1))).toEqual({ error });
  });

  test('has the time of its last caller, a signal of its own, and nobody’s log fields', async () => {
    const clock = new FakeClock();
    const get = aggregate()(async (ids: readonly number[], signal) => {
      const same = signal === currentSignal();
      return ids.map(() => ({ leftMs: remainingMs(), same, fields: logFields() }));
    });
    const within = (ms: number) =>
      withDeadline(ms, () => withLogFields({ reqId: ms }, () => get(ms)), { clock });
    const expected = { leftMs: 50, same: true, fields: undefined };
    expect(await Promise.all([within(10), within(50), within(20)])).toEqual([expected, expected, expected]);
    expect(clock.pending).toBe(0);
  });
});

describe('a decorated method', () => {
  class Rows {
    readonly sent: unknown[][] = [];
    readonly name: string;
    constructor(name: string) {
      this.name = name;
    }
    @aggregate()
    async inOrder(ids: readonly number[], _signal?: AbortSignal): Promise<string[]> {
      this.sent.push([...ids]);
      return ids.map((id) => this.name + id);
    }
    @aggregate({ by: (row: Row) => row.id })
    async byId(ids: readonly number[]): Promise<Row[]> {
      this.sent.push([...ids]);
      return ids.filter((id) => id < 10).map(rowOf);
    }
    @aggregate({ by: 'key' })
    async lengths(words: readonly string[]): Promise<Map<string, number>> {
      this.sent.push([...words]);
      return new Map(words.filter(Boolean).map((word) => [word, word.length]));
    }
  }

  test('gives each caller what it would have returned for its list, per instance', async () => {
    const [a, b] = [new Rows('a'), new Rows('b')];
    expect(await Promise.all([a.inOrder([1, 1]), a.inOrder([]), a.inOrder([2]), b.inOrder([3])])).toEqual([
      ['a1', 'a1'],
      [],
      ['a2'],
      ['b3'],
    ]);
    expect(a.sent).toEqual([[1, 1, 2]]);
    expect(b.sent).toEqual([[3]]);
    expect(await Promise.all([a.byId([2, 12, 2, 1]), a.byId([1])])).toEqual([
      [rowOf(2), rowOf(1)],
      [rowOf(1)],
    ]);
    expect(await Promise.all([a.lengths(['x', '']), a.lengths(['long'])])).toEqual([
      new Map([['x', 1]]),
      new Map([['long', 4]]),
    ]);
    expect(a.sent.slice(1)).toEqual([
      [2, 12, 1],
      ['x', '', 'long'],
    ]);
  });

  test('lets a caller leave with its whole list', async () => {
    const rows = new Rows('a');
    const controller = new AbortController();
    const left = outcome(rows.inOrder([1, 2], controller.signal));
    const stays = rows.inOrder([3]);
    controller.abort('left');
    expect(await left).toEqual({ error: 'left' });
    expect(await stays).toEqual(['a3']);
    expect(rows.sent).toEqual([[3]]);
  });
});

test('the statistics show how many calls went out together', async () => {
  const get = aggregate({ name: 'aggregate-statistics' })(async (ids: readonly number[]) =>
    ids.map((id) => (id === 3 ? new Error('three') : id)),
  );
  await Promise.all([get(1), get(2), outcome(get(3)), outcome(get(4, AbortSignal.abort()))]);
  expect(policyStatistics().find(({ name }) => name === 'aggregate-statistics')).toMatchObject({
    kind: 'aggregate',
    calls: 4,
    attempts: 1,
    done: 2,
    errors: 1,
    cancels: 1,
    inFlight: 0,
  });
});

test('bad options are refused with option, rule and value', () => {
  const bad = (options: unknown) => () => aggregate(options as object);
  expect(bad({ leewayMs: -1 })).toThrow(OptionsError);
  expect(bad({ leewayMs: -1 })).toThrow(
    'aggregate: option "leewayMs" must be a finite number of milliseconds of at least 0, received -1',
  );
  expect(bad({ leewayMs: Infinity })).toThrow(
    'must be a finite number of milliseconds of at least 0, received Infinity',
  );
  expect(bad({ maxCount: 0 })).toThrow('option "maxCount" must be an integer of at least 1 (or Infinity)');
  expect(bad({ maxInFlight: 0.5 })).toThrow('received 0.5');
  expect(bad({ by: 'id' })).toThrow(
    `option "by" must be 'order', 'key' or a function from a result to its argument, received "id"`,
  );
  expect(bad({ clock: {} })).toThrow('option "clock" must be a Clock, received {}');
  expect(bad({ leeway: 1 })).toThrow('did you mean "leewayMs"?');
});
