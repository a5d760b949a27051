import { getEventListeners } from 'node:events';
import { currentSignal, OptionsError, remainingMs, withDeadline } from 'bosun';
import {
  backoff,
  bulkhead,
  circuitBreaker,
  type Policy,
  type PolicyOptions,
  pipe,
  policyStatistics,
  retry,
  shield,
  timeout,
} from 'bosun/policy';
import { FakeClock, settle } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { caught, never } from './support.ts';

/** Every kind, as it passes a call on. */
const kinds: Readonly<Record<string, (options: PolicyOptions) => Policy>> = {
  timeout: (options) => timeout(1_000, options),
  backoff: (options) => backoff({ attemptTimeoutMs: 1_000, deadlineMs: 2_000, ...options }),
  'backoff without limits': (options) => backoff(options),
  retry: (options) => retry({ maxTries: 1, ...options }),
  circuitBreaker: (options) => circuitBreaker(options),
  bulkhead: (options) => bulkhead({ maxConcurrent: 2, ...options }),
  shield: (options) => shield(options),
  pipe: (options) => pipe(timeout(1_000, options), retry({ maxTries: 1 }), circuitBreaker()),
};

describe.each(Object.entries(kinds))('%s', (kind, make) => {
  test('passes on this, arguments and the result', async () => {
    const clock = new FakeClock();
    const policy = make({ clock });
    const counter = {
      base: 40,
      add: policy(async function (this: { base: number }, one: number, two?: string) {
        return [this.base + one, two];
      }),
    };
    expect(await counter.add(2, 'x')).toEqual([42, 'x']);
    expect(await policy(() => 'sync')()).toBe('sync');
    expect(await policy(() => undefined)()).toBe(undefined);
    expect(clock.pending).toBe(0);
  });

  test('passes on the error that is thrown or rejected with', async () => {
    const clock = new FakeClock();
    const policy = make({ clock });
    const error = new SyntaxError('mine');
    const rejecting = policy(() => Promise.reject(error));
    const throwing = policy(() => {
      throw error;
    });
    expect(await caught(rejecting())).toBe(error);
    expect(await caught(throwing())).toBe(error);
    expect(await caught(policy(() => Promise.reject('no error'))())).toBe('no error');
    expect(clock.pending).toBe(0);
  });

  test('lets go a caller whose signal aborts, with its reason, whatever the function does', async () => {
    const clock = new FakeClock();
    const controller = new AbortController();
    let inner: AbortSignal | undefined;
    const hang = make({ clock })((_x: number, signal: AbortSignal) => {
      inner = signal;
      return never();
    });
    const outcome = caught(hang(1, controller.signal));
    await settle();
    expect(inner).toBeInstanceOf(AbortSignal);
    expect(inner).not.toBe(controller.signal);
    controller.abort('enough');
    expect(await outcome).toBe('enough');
    expect(inner?.aborted).toBe(kind !== 'shield');
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    expect(clock.pending).toBe(0);
  });

  test('calls nothing for a caller that has given up already', async () => {
    let calls = 0;
    const count = make({})((_signal: AbortSignal) => ++calls);
    const reason = new Error('before');
    expect(await caught(count(AbortSignal.abort(reason)))).toBe(reason);
    expect(calls).toBe(0);
  });

  test('leaves no listener on a signal that does not abort', async () => {
    const { signal } = new AbortController();
    const clock = new FakeClock();
    const policy = make({ clock });
    await policy(async (_signal: AbortSignal) => 1)(signal);
    await caught(policy(async (_signal: AbortSignal) => Promise.reject(new Error('x')))(signal));
    await policy.run(async () => 1, { signal });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    expect(clock.pending).toBe(0);
  });

  test('follows the deadline around it', async () => {
    const clock = new FakeClock();
    const hang = make({ clock })(never);
    // The caller is inside, so that it is let go by the policy and not only by the deadline.
    let inside: unknown;
    const outside = caught(
      withDeadline(
        50,
        async () => {
          inside = await caught(hang());
        },
        { clock },
      ),
    );
    await clock.advance(50);
    expect(await outside).toMatchObject({ code: 'ERR_DEADLINE' });
    expect(inside).toBe(await outside);
    expect(clock.pending).toBe(0);
  });

  test('hands run the signal of the attempt', async () => {
    const controller = new AbortController();
    const policy = make({});
    const seen: AbortSignal[] = [];
    const outcome = caught(
      policy.run(
        (signal) => {
          seen.push(signal);
          return never();
        },
        { signal: controller.signal },
      ),
    );
    await settle();
    controller.abort('run');
    expect(await outcome).toBe('run');
    expect(seen.map(({ aborted }) => aborted)).toEqual([kind !== 'shield']);
    expect(await policy.run((signal) => signal.aborted)).toBe(false);
  });

  test('keeps the name of the function, and refuses what is none', () => {
    const policy = make({});
    expect(policy(async function fetchPrice() {}).name).toBe('fetchPrice');
    expect(() => policy('fetchPrice' as unknown as () => void)).toThrow(
      'a policy wraps a function, received "fetchPrice"',
    );
    const getter = { kind: 'getter' } as unknown as ClassMethodDecoratorContext;
    expect(() => policy(() => 1, getter)).toThrow('a policy decorates a method, not a getter');
  });

  test('decorates a method', async () => {
    const policy = make({});
    class Shop {
      readonly #prices = new Map([['tea', 3]]);

      @policy
      async price(article: string): Promise<number | undefined> {
        return this.#prices.get(article);
      }
    }
    expect(await new Shop().price('tea')).toBe(3);
    expect(new Shop().price.name).toBe('price');
  });
});

describe('within a policy', () => {
  test('currentSignal is that of the attempt, and remainingMs its time', async () => {
    const clock = new FakeClock();
    const seen: unknown[] = [];
    await timeout(100, { clock })(async () => {
      seen.push(remainingMs());
      await timeout(40, { clock })(() => seen.push(remainingMs()))();
      await timeout(400, { clock })(() => seen.push(remainingMs()))();
    })();
    expect(seen).toEqual([100, 40, 100]);
    let signal: AbortSignal | undefined;
    const outcome = caught(
      timeout(100, { clock })(() => {
        signal = currentSignal();
        return never();
      })(),
    );
    await clock.advance(100);
    expect(signal?.reason).toBe(await outcome);
  });

  test('the signal of a call that is done never aborts', async () => {
    const clock = new FakeClock();
    let signal: AbortSignal | undefined;
    await timeout(100, { clock }).run((given) => {
      signal = given;
    });
    await clock.advance(1_000);
    expect(signal?.aborted).toBe(false);
  });

  test('a limit of another clock holds, too', async () => {
    const [fast, slow] = [new FakeClock(), new FakeClock()];
    const outcome = caught(timeout(10, { clock: fast })(timeout(10, { clock: slow })(never))());
    await fast.advance(10);
    expect(await outcome).toMatchObject({ code: 'ERR_TIMEOUT' });
    expect([fast.pending, slow.pending]).toEqual([0, 0]);
  });

  test('the end of the call around it gives back its time to what still runs', async () => {
    const clock = new FakeClock();
    let inner: Promise<unknown> | undefined;
    await timeout(50, { clock })(() => {
      inner = caught(timeout(200, { clock })(never)());
    })();
    await clock.advance(100);
    expect(clock.pending).toBe(1);
    await clock.advance(100);
    expect(await inner).toMatchObject({ code: 'ERR_TIMEOUT', limitMs: 200 });
    expect(clock.pending).toBe(0);
  });
});

describe('pipe', () => {
  test('puts the first policy outermost', async () => {
    const clock = new FakeClock();
    const log: string[] = [];
    let calls = 0;
    const once = pipe(
      retry({ maxTries: 2, clock, pauseMs: 0, onRetry: () => log.push('retry') }),
      timeout(10, { clock }),
    )(() => (++calls === 1 ? never() : 'done'));
    const outcome = once();
    await clock.advance(10);
    expect(await outcome).toBe('done');
    expect(log).toEqual(['retry']);

    calls = 0;
    const other = caught(
      pipe(timeout(10, { clock }), retry({ maxTries: 2, clock }))(() => (++calls === 1 ? never() : 'done'))(),
    );
    await clock.advance(10);
    expect(await other).toMatchObject({ code: 'ERR_TIMEOUT' });
    expect(calls).toBe(1);
  });

  test('is a policy, which can be piped', async () => {
    const inner = pipe(timeout(1_000), bulkhead({ maxConcurrent: 1 }));
    expect(await pipe(inner, retry({ maxTries: 2 }))(async () => 'x')()).toBe('x');
  });

  test('refuses what is no policy', () => {
    expect(() => pipe(timeout(1), timeout as unknown as Policy)).toThrow(
      'pipe: option "1" must be a policy, such as timeout(500), received function timeout',
    );
    expect(() => (pipe as (...policies: Policy[]) => Policy)()).toThrow(OptionsError);
  });
});

describe('statistics', () => {
  const of = (name: string) => policyStatistics().find((one) => one.name === name);

  test('count calls, attempts and how calls ended, and sum up their time', async () => {
    const clock = new FakeClock();
    const policy = retry({ name: 'stat-retry', maxTries: 2, pauseMs: 10, jitter: 'none', clock });
    await policy(async () => 1)();
    const failing = caught(policy(() => Promise.reject(new Error('x')))());
    await clock.advance(10);
    await failing;
    const controller = new AbortController();
    const cancelled = caught(policy((_signal: AbortSignal) => never())(controller.signal));
    await clock.advance(5);
    controller.abort();
    await cancelled;
    const open = new AbortController();
    const hanging = caught(policy((_signal: AbortSignal) => never())(open.signal));
    await settle();
    expect(of('stat-retry')).toEqual({
      name: 'stat-retry',
      kind: 'retry',
      calls: 4,
      attempts: 5,
      done: 1,
      errors: 1,
      cancels: 1,
      inFlight: 1,
      totalMs: 15,
    });
    open.abort();
    await hanging;
    expect(of('stat-retry')).toMatchObject({ cancels: 2, inFlight: 0 });
  });

  test('are shared by the policies of one kind and name, and refused to another kind', async () => {
    await timeout(10, { name: 'stat-shared' })(() => 1)();
    await timeout(20, { name: 'stat-shared' })(() => 1)();
    expect(of('stat-shared')).toMatchObject({ calls: 2, done: 2 });
    expect(() => retry({ maxTries: 1, name: 'stat-shared' })).toThrow(
      'retry: option "name" must be another one: there is a policy of kind timeout with it, received "stat-shared"',
    );
  });

  test('are kept of each policy in a pipe', async () => {
    let calls = 0;
    await pipe(
      timeout(1_000, { name: 'stat-outer' }),
      retry({ name: 'stat-inner', maxTries: 3, pauseMs: 0 }),
      bulkhead({ name: 'stat-innermost', maxConcurrent: 1 }),
    )(() => {
      if (++calls < 3) throw new Error('again');
    })();
    expect(of('stat-outer')).toMatchObject({ calls: 1, attempts: 1, done: 1 });
    expect(of('stat-inner')).toMatchObject({ calls: 1, attempts: 3, done: 1, errors: 0 });
    expect(of('stat-innermost')).toMatchObject({ calls: 3, attempts: 3, done: 1, errors: 2 });
  });
});

describe('bad arguments throw when the policy is made, with option, rule and value', () => {
  const made = [
    [
      () => timeout(-1),
      'timeout: option "ms" must be a number of milliseconds of at least 0 (or Infinity), received -1',
    ],
    [() => timeout(Number.NaN), 'timeout: option "ms" must be a number of milliseconds'],
    [() => timeout('5' as unknown as number), 'received "5"'],
    [
      () => timeout(1, { nam: 'x' } as PolicyOptions),
      'timeout: option "nam" does not exist, received "x" (did you mean "name"?)',
    ],
    [() => timeout(1, { clock: Date as never }), 'timeout: option "clock" must be a Clock'],
    [() => backoff({ deadlineMs: -1 }), 'backoff: option "deadlineMs" must be a number of milliseconds'],
    [
      () => backoff({ maxTries: 0 }),
      'backoff: option "maxTries" must be an integer of at least 1 (or Infinity), received 0',
    ],
    [() => backoff({ maxTries: 1.5 }), 'received 1.5'],
    [() => backoff({ factor: 0.5 }), 'backoff: option "factor" must be at least 1, received 0.5'],
    [
      () => backoff({ strategy: 'linear' as 'fixed' }),
      'backoff: option "strategy" must be one of "fixed", "exponential", "decorrelated"',
    ],
    [
      () => backoff({ strategy: 'fixed', factor: 2 }),
      'backoff: option "factor" has no meaning with strategy "fixed", received 2',
    ],
    [
      () => backoff({ strategy: 'decorrelated', jitter: 'none' }),
      'backoff: option "jitter" has no meaning with strategy "decorrelated"',
    ],
    [
      () => backoff({ retryOn: TypeError as never }),
      'backoff: option "retryOn" must be an array of classes of errors, or a predicate, received function TypeError',
    ],
    [
      () => backoff({ retryOn: ['ECONNRESET'] as never }),
      'backoff: option "retryOn" must be an array of classes of errors',
    ],
    [
      () => backoff({ retryOn: [Date] as never }),
      'backoff: option "retryOn" must be an array of classes of errors',
    ],
    [() => backoff({ giveUp: true as never }), 'backoff: option "giveUp" must be a function, received true'],
    [() => backoff({ onRetry: 'log' as never }), 'backoff: option "onRetry" must be a function'],
    [() => backoff({ signal: {} as never }), 'backoff: option "signal" must be an AbortSignal'],
    [
      () => backoff({ budget: { ratio: -1 } }),
      'backoff: option "budget.ratio" must be at least 0, received -1',
    ],
    [
      () => backoff({ budget: { windowMs: Number.POSITIVE_INFINITY } }),
      'backoff: option "budget.windowMs" must be finite',
    ],
    [() => retry({} as never), 'retry: option "maxTries" must be an integer of at least 1'],
    [() => retry({ maxTries: 1, deadlineMs: 5 } as never), 'retry: option "deadlineMs" does not exist'],
    [
      () => circuitBreaker({ errorRatio: 0 }),
      'circuitBreaker: option "errorRatio" must be greater than 0, received 0',
    ],
    [() => circuitBreaker({ errorRatio: 1.1 }), 'circuitBreaker: option "errorRatio" must be at most 1'],
    [() => circuitBreaker({ windowMs: 0 }), 'circuitBreaker: option "windowMs" must be greater than 0'],
    [() => circuitBreaker({ buckets: 0 }), 'circuitBreaker: option "buckets" must be at least 1'],
    [
      () => circuitBreaker({ minimumCalls: 0, brokenMs: -1 }),
      'circuitBreaker: option "minimumCalls" must be at least 1, received 0; option "brokenMs" must be',
    ],
    [() => bulkhead({ maxConcurrent: 0 }), 'bulkhead: option "maxConcurrent" must be at least 1, received 0'],
    [() => bulkhead({} as never), 'bulkhead: option "maxConcurrent" is required'],
    [
      () => bulkhead({ maxConcurrent: 1, maxQueued: -1 }),
      'bulkhead: option "maxQueued" must be an integer of at least 0 (or Infinity)',
    ],
    [() => shield({ onLateError: 1 as never }), 'shield: option "onLateError" must be a function'],
    [() => shield(null as never), 'shield: '],
  ] as const;

  test.each(made.map(([make, message]) => [message, make] as const))('%s', (message, make) => {
    expect(make).toThrow(message);
    expect(make).toThrow(OptionsError);
  });
});
