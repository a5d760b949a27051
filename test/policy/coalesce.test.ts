import { AsyncLocalStorage } from 'node:async_hooks';
import { getEventListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { currentSignal, DeadlineError, OptionsError, remainingMs, withDeadline, withLogFields } from 'bosun';
import { coalesce, policyStatistics } from 'bosun/policy';
import { FakeClock, settle } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { Call, inCall } from '../../src/call.ts';
import { logFields } from '../../src/logging/fields.ts';

const turn = () => new Promise<void>((resolve) => void setImmediate(resolve));

/** A function whose executions end when the test says so. */
function stage() {
  const executions: {
    args: unknown[];
    signal: AbortSignal;
    end: (result: unknown) => void;
    fail: (error: Error) => void;
  }[] = [];
  const fn = (...args: (string | number | AbortSignal)[]) => {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    executions.push({ args, signal: currentSignal(), end: resolve, fail: reject });
    return promise;
  };
  return { executions, fn };
}

const hangs = (_key: string, _signal?: AbortSignal) => new Promise<never>(() => {});

const outcome = (promise: Promise<unknown>) =>
  promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );

describe('calls of the same key', () => {
  test('in one turn of the event loop share one execution, and get the very same object', async () => {
    let executions = 0;
    const get = coalesce()(async () => ({ execution: ++executions }));
    const first = get();
    await null;
    const results = await Promise.all([first, get(), get()]);
    expect(executions).toBe(1);
    expect(new Set(results).size).toBe(1);
  });

  test('gather for the next execution while one is in flight, which begins when that has settled', async () => {
    const { executions, fn } = stage();
    const get = coalesce()(fn);
    const first = get('k');
    await settle();
    const later = [get('k'), get('k')];
    await settle();
    expect(executions).toHaveLength(1);
    executions[0]?.end('old');
    expect(await first).toBe('old');
    await settle();
    expect(executions).toHaveLength(2);
    executions[1]?.end('new');
    expect(await Promise.all(later)).toEqual(['new', 'new']);
  });

  test('do not wait for those of another key', async () => {
    const { executions, fn } = stage();
    const get = coalesce()(fn);
    void get('a');
    const b = get('b');
    await settle();
    expect(executions.map(({ args }) => args)).toEqual([['a'], ['b']]);
    executions[1]?.end('b');
    expect(await b).toBe('b');
  });

  test('may have as many executions in flight as maxInFlight says', async () => {
    const { executions, fn } = stage();
    const get = coalesce({ maxInFlight: 2 })(fn);
    for (let call = 0; call < 4; call++) {
      void get('k');
      await settle();
    }
    expect(executions).toHaveLength(2);
    executions[0]?.end('done');
    await settle();
    expect(executions).toHaveLength(3);
  });

  test('that fail reject who shares the execution, and nobody after them', async () => {
    const { executions, fn } = stage();
    const get = coalesce()(fn);
    const failed = [outcome(get('k')), outcome(get('k'))];
    await settle();
    const next = get('k');
    const error = new Error('down');
    executions[0]?.fail(error);
    expect(await Promise.all(failed)).toEqual([{ error }, { error }]);
    await settle();
    executions[1]?.end('up');
    expect(await next).toBe('up');
  });

  test('reject with what the function throws at once', async () => {
    const error = new Error('at once');
    const get = coalesce()(() => {
      throw error;
    });
    expect(await Promise.all([outcome(get()), outcome(get())])).toEqual([{ error }, { error }]);
    expect(await outcome(get())).toEqual({ error });
  });

  test('keep nothing of a key that nobody waits for', async () => {
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc') as () => void;
    const keys: WeakRef<symbol>[] = [];
    const get = coalesce({
      key: (_n: number) => {
        const key = Symbol('key');
        keys.push(new WeakRef(key));
        return key;
      },
    })(async (n: number) => {
      if (n === 2) throw new Error('two');
    });
    const left = new AbortController();
    const calls = [get(1), get(2), withLeave(() => get(3), left)];
    // An error that is kept keeps what its stack passed through.
    const ended = calls.map((call) => call.catch(() => {}));
    calls.length = 0;
    left.abort();
    await Promise.all(ended);
    await settle();
    for (let i = 0; i < 10 && keys.some((key) => key.deref() !== undefined); i++) {
      await turn();
      gc();
    }
    expect(keys.map((key) => key.deref())).toEqual([undefined, undefined, undefined]);
  });
});

const withLeave = <Result>(fn: () => Promise<Result>, { signal }: AbortController) =>
  withDeadline(Number.POSITIVE_INFINITY, fn, { signal });

describe('keys', () => {
  test('tell primitive arguments apart exactly', async () => {
    const seen: unknown[][] = [];
    const get = coalesce()(async (...args: (string | number | bigint | boolean | null | undefined)[]) => {
      seen.push(args);
      return args;
    });
    const calls = [
      [],
      [undefined],
      [null],
      [1],
      ['1'],
      [1n],
      [true],
      ['true'],
      ['a', 'b'],
      ['a,b'],
      ['a', 'b', undefined],
      ['a b', ''],
      ['a', ' b'],
      ['\0string 1 a'],
      ['\0'],
      [''],
      [Number.NaN],
    ] as const;
    const results = await Promise.all([...calls, ...calls].map((args) => get(...args)));
    expect(seen).toEqual(calls.map((args) => [...args]));
    expect(results).toEqual([...calls, ...calls].map((args) => [...args]));
  });

  test('are compared for a symbol by its identity', async () => {
    let executions = 0;
    const get = coalesce()(async (_key: symbol) => ++executions);
    const key = Symbol('s');
    expect(await Promise.all([get(key), get(key), get(Symbol('s'))])).toEqual([1, 1, 2]);
  });

  test('come from the option key, which is called once per call, without the signal', async () => {
    const asked: unknown[][] = [];
    const get = coalesce({
      key: (...args: [{ id: number }]) => {
        asked.push(args);
        return args[0].id;
      },
    })(async (query: { id: number }, _signal?: AbortSignal) => query.id);
    const { signal } = new AbortController();
    expect(await Promise.all([get({ id: 1 }), get({ id: 1 }, signal), get({ id: 2 })])).toEqual([1, 1, 2]);
    expect(asked).toEqual([[{ id: 1 }], [{ id: 1 }], [{ id: 2 }]]);
  });

  test('are asked for where arguments do not identify the call', async () => {
    const loose = coalesce()((..._args: never[]) => 'called') as (...args: unknown[]) => Promise<string>;
    await expect(loose({ id: 1 })).rejects.toMatchObject({
      code: 'ERR_COALESCE_KEY',
      message:
        'coalesce: argument 1 does not identify the call by itself: give the option "key", received {"id":1}',
    });
    await expect(loose(1, new Date())).rejects.toThrow('argument 2');
    await expect(loose(1, Symbol('s'))).rejects.toThrow('Symbol(s)');
    await expect(loose(() => 1)).rejects.toThrow('a function');
    const list = coalesce({ key: (() => ['a']) as unknown as () => string })(() => 'called');
    await expect(list()).rejects.toThrow(
      'must return a string, a number or another primitive, returned ["a"]',
    );
    const error = new Error('no key');
    const throwing = coalesce({
      key: () => {
        throw error;
      },
    })(() => 'called');
    expect(await outcome(throwing())).toEqual({ error });
  });
});

describe('a caller that leaves', () => {
  test('by its signal is let go at once with the reason, and nobody else notices', async () => {
    const { executions, fn } = stage();
    const get = coalesce()(fn);
    const leaver = new AbortController();
    const left = outcome(get('k', leaver.signal));
    const stays = get('k', new AbortController().signal);
    await settle();
    const error = new Error('left');
    leaver.abort(error);
    expect(await left).toEqual({ error });
    expect(executions[0]?.signal.aborted).toBe(false);
    executions[0]?.end('result');
    expect(await stays).toBe('result');
    expect(getEventListeners(leaver.signal, 'abort')).toEqual([]);
  });

  test('by its deadline does so too, and leaves no timer', async () => {
    const clock = new FakeClock();
    const { executions, fn } = stage();
    const get = coalesce()(fn);
    const late = outcome(withDeadline(10, () => get('k'), { clock }));
    const stays = withDeadline(100, () => get('k'), { clock });
    await clock.advance(10);
    expect(await late).toMatchObject({ error: { code: 'ERR_DEADLINE', limitMs: 10 } });
    expect(executions[0]?.signal.aborted).toBe(false);
    executions[0]?.end('result');
    expect(await stays).toBe('result');
    expect(clock.pending).toBe(0);
  });

  test('by deadlines of any order, among others who leave before, does so when each is due', async () => {
    const clock = new FakeClock();
    const get = coalesce()(hangs);
    const leaver = new AbortController();
    const leavers: Promise<unknown>[] = [];
    const left: [dueAt: number, at: number][] = [];
    const ended = Array.from({ length: 500 }, (_, i) => {
      const dueAt = 1 + ((i * 7_919) % 499);
      for (let k = 0; k < 3; k++) {
        const call = new Call({ limitMs: 1 + ((i * 104_729 + k) % 997), clock });
        leavers.push(inCall(call, () => outcome(get('k', leaver.signal))));
      }
      if (i === 250) leaver.abort(new Error('left'));
      const call = new Call({ limitMs: dueAt, clock });
      return inCall(call, () => outcome(get('k'))).then(() => left.push([dueAt, clock.now()]));
    });
    await clock.advance(1_000);
    await Promise.all([...ended, ...leavers]);
    expect(left).toHaveLength(500);
    expect(left.filter(([dueAt, at]) => at !== dueAt)).toEqual([]);
    expect(clock.pending).toBe(0);
  });

  test('one after the other costs each of them a few looks at the clock, however many there are', async () => {
    const clock = new FakeClock();
    let looks = 0;
    const now = clock.now.bind(clock);
    clock.now = () => {
      looks += 1;
      return now();
    };
    const get = coalesce()(hangs);
    const ended = Array.from({ length: 1_000 }, (_, i) => {
      const call = new Call({ limitMs: 1 + (i % 200), clock });
      return inCall(call, () => outcome(get('k')));
    });
    await clock.advance(200);
    await Promise.all(ended);
    expect(looks).toBeLessThan(10_000);
  });

  test('not at all leaves nothing on the call around it, which goes on', async () => {
    const clock = new FakeClock();
    const call = new Call({ limitMs: 100, clock });
    expect(await inCall(call, () => coalesce()(async () => clock.pending)())).toBe(1);
    expect(clock.pending).toBe(0);
  });

  test('as the last one aborts the execution with its reason, and the next may begin at once', async () => {
    const { executions, fn } = stage();
    const get = coalesce()(fn);
    const leavers = [new AbortController(), new AbortController()];
    const left = leavers.map(({ signal }) => outcome(get('k', signal)));
    await settle();
    leavers[0]?.abort(new Error('first'));
    const next = get('k');
    await settle();
    expect(executions).toHaveLength(1);
    leavers[1]?.abort(new Error('last'));
    await Promise.all(left);
    expect(executions[0]?.signal.reason).toEqual(new Error('last'));
    await settle();
    expect(executions).toHaveLength(2);
    // What the aborted one comes to is nobody's.
    executions[0]?.fail(new Error('aborted'));
    await settle();
    expect(executions[1]?.signal.aborted).toBe(false);
    executions[1]?.end('new');
    expect(await next).toBe('new');
  });

  test('before the execution has begun is not executed for', async () => {
    const { executions, fn } = stage();
    const get = coalesce()(fn);
    const gone = AbortSignal.abort(new Error('gone'));
    expect(await outcome(get('k', gone))).toEqual({ error: new Error('gone') });
    const leaver = new AbortController();
    const left = outcome(get('k', leaver.signal));
    leaver.abort(new Error('left'));
    expect(await left).toEqual({ error: new Error('left') });
    await settle();
    expect(executions).toEqual([]);
    void get('k');
    await settle();
    expect(executions).toHaveLength(1);
  });

  test('overdue, although its timer is late, is not executed for', async () => {
    const clock = new FakeClock();
    let now = 0;
    clock.now = () => now;
    const { executions, fn } = stage();
    const late = outcome(withDeadline(10, () => coalesce()(fn)(), { clock }));
    now = 11;
    expect(await late).toMatchObject({ error: new DeadlineError(10) });
    expect(executions).toEqual([]);
  });
});

describe('an execution', () => {
  test('is handed its own signal in place of its caller’s, and none where there was none', async () => {
    const { executions, fn } = stage();
    const get = coalesce()(fn);
    const { signal } = new AbortController();
    void get('k', signal);
    void get('other');
    await settle();
    expect(executions[0]?.args).toEqual(['k', executions[0]?.signal]);
    expect(executions[0]?.signal).not.toBe(signal);
    expect(executions[1]?.args).toEqual(['other']);
  });

  test('has the time of the caller with the latest deadline, or no limit', async () => {
    const clock = new FakeClock();
    const get = coalesce()(async (_key: string) => remainingMs());
    const within = (ms: number, key: string) => withDeadline(ms, () => get(key), { clock });
    expect(await Promise.all([within(10, 'a'), within(50, 'a'), within(20, 'a')])).toEqual([50, 50, 50]);
    expect(await Promise.all([within(10, 'b'), get('b')])).toEqual([Infinity, Infinity]);
  });

  test('carries nobody’s log fields, and runs where its first caller came from', async () => {
    const store = new AsyncLocalStorage<string>();
    const { promise, resolve } = Promise.withResolvers<void>();
    const seen: unknown[] = [];
    const get = coalesce()(async () => {
      seen.push([store.getStore(), logFields()]);
      await promise;
    });
    const from = (name: string) => store.run(name, () => withLogFields({ reqId: name }, get));
    const first = [from('a'), from('b')];
    await settle();
    const second = [from('c'), from('d')];
    resolve();
    await Promise.all([...first, ...second]);
    expect(seen).toEqual([
      ['a', undefined],
      ['c', undefined],
    ]);
  });
});

test('a decorated method keeps this, and shares per instance', async () => {
  let executions = 0;
  class Prices {
    readonly factor: number;
    constructor(factor: number) {
      this.factor = factor;
    }
    @coalesce()
    async get(id: number): Promise<number> {
      executions++;
      return this.factor * id;
    }
    @coalesce()
    static async count(): Promise<string> {
      executions++;
      return this.name;
    }
  }
  const [one, ten] = [new Prices(1), new Prices(10)];
  expect(await Promise.all([one.get(2), one.get(2), ten.get(2), ten.get(3)])).toEqual([2, 2, 20, 30]);
  expect(executions).toBe(3);
  expect(await Promise.all([Prices.count(), Prices.count()])).toEqual(['Prices', 'Prices']);
  expect(executions).toBe(4);
});

test('functions that one policy wraps share no executions', async () => {
  const policy = coalesce();
  expect(await Promise.all([policy(() => 'a')(), policy(() => 'b')()])).toEqual(['a', 'b']);
});

test('the statistics show how many calls shared an execution', async () => {
  const get = coalesce({ name: 'coalesce-statistics' })(async (n: number, _signal?: AbortSignal) => {
    if (n === 2) throw new Error('two');
  });
  const leaver = new AbortController();
  const calls = [get(1), get(1), get(1), get(2), get(1, leaver.signal)].map(outcome);
  leaver.abort();
  const statistics = () => policyStatistics().find(({ name }) => name === 'coalesce-statistics');
  expect(statistics()).toMatchObject({ kind: 'coalesce', calls: 5, cancels: 1, inFlight: 4 });
  await Promise.all(calls);
  expect(statistics()).toMatchObject({ attempts: 2, done: 3, errors: 1, cancels: 1, inFlight: 0 });
  expect(statistics()?.totalMs).toBeGreaterThan(0);
});

test('bad options are refused with option, rule and value', () => {
  const bad = (options: unknown) => () => coalesce(options as object);
  expect(bad({ maxInFlight: 0 })).toThrow(OptionsError);
  expect(bad({ maxInFlight: 1.5 })).toThrow(
    'coalesce: option "maxInFlight" must be an integer of at least 1 (or Infinity), received 1.5',
  );
  expect(bad({ key: 'id' })).toThrow('option "key" must be a function, received "id"');
  expect(bad({ maxInflight: 1 })).toThrow('did you mean "maxInFlight"?');
  expect(bad({ name: 1 })).toThrow('option "name" must be a string, received 1');
});
