import { getEventListeners } from 'node:events';
import { withDeadline } from 'bosun';
import {
  backoff,
  bulkhead,
  circuitBreaker,
  type RetryInfo,
  retry,
  TimeoutError,
  timeout,
} from 'bosun/policy';
import { FakeClock, settle } from 'bosun/testing';
import { AbortError } from 'p-retry';
import { describe, expect, test } from 'vitest';
import { caught, never } from './support.ts';

class Flaky extends Error {}
const exact = { jitter: 'none', strategy: 'fixed' } as const;

/** Fails with the errors, one after the other, then succeeds. */
function failing(...errors: unknown[]) {
  const fn = async () => {
    const error = errors[fn.calls++];
    if (fn.calls <= errors.length) throw error;
    return 'done';
  };
  fn.calls = 0;
  return fn;
}

/** Hangs until its signal aborts; counts. */
function hanging() {
  const fn = (..._args: unknown[]) => {
    fn.calls++;
    return never();
  };
  fn.calls = 0;
  return fn;
}

describe('tries', () => {
  test('again after listed errors, and throws any other at once', async () => {
    const policy = backoff({ retryOn: [Flaky], pauseMs: 0 });
    const work = failing(new Flaky(), new Flaky());
    expect(await policy(work)()).toBe('done');
    expect(work.calls).toBe(3);
    const other = new Error('other');
    const mixed = failing(new Flaky(), other);
    expect(await caught(policy(mixed)())).toBe(other);
    expect(mixed.calls).toBe(2);
  });

  test('again after subclasses of a listed error, and after what a predicate accepts', async () => {
    const work = failing(new Flaky(), new Flaky());
    expect(await backoff({ retryOn: [Error], pauseMs: 0 })(work)()).toBe('done');
    const coded = failing({ code: 'EAGAIN' }, { code: 'EAGAIN' }, { code: 'EPIPE' });
    const policy = backoff({ retryOn: (error) => (error as { code: string }).code === 'EAGAIN', pauseMs: 0 });
    expect(await caught(policy(coded)())).toEqual({ code: 'EPIPE' });
    expect(coded.calls).toBe(3);
  });

  test('again after a TypeError and an AbortError of p-retry, like after any other', async () => {
    const abort = new AbortError('stop');
    const work = failing(new TypeError('x is not a function'), abort, abort);
    expect(await retry({ maxTries: 4, pauseMs: 0 })(work)()).toBe('done');
    expect(await caught(retry({ maxTries: 1 })(failing(abort))())).toBe(abort);
  });

  test('exactly maxTries times, and throws the last error', async () => {
    const errors = Array.from({ length: 9 }, (_, i) => new Flaky(String(i)));
    const work = failing(...errors);
    expect(await caught(backoff({ retryOn: [Flaky], maxTries: 5, pauseMs: 0 })(work)())).toBe(errors[4]);
    expect(work.calls).toBe(5);
    const once = failing(...errors);
    expect(await caught(retry({ maxTries: 1, pauseMs: 0 })(once)())).toBe(errors[0]);
    expect(once.calls).toBe(1);
  });

  test('on and on where nothing bounds it', async () => {
    const errors = Array.from({ length: 200 }, () => new Flaky());
    expect(await backoff({ retryOn: [Flaky], pauseMs: 0 })(failing(...errors))()).toBe('done');
  });

  test('do not go on when giveUp says so, which is asked after maxTries only', async () => {
    const asked: unknown[] = [];
    const giveUp = (error: unknown) => {
      asked.push(error);
      return (error as NodeJS.ErrnoException).code === 'ENOENT';
    };
    const gone = Object.assign(new Flaky(), { code: 'ENOENT' });
    const first = new Flaky();
    const policy = backoff({ retryOn: [Flaky], maxTries: 3, pauseMs: 0, giveUp });
    expect(await caught(policy(failing(first, gone))())).toBe(gone);
    expect(asked).toEqual([first, gone]);
    asked.length = 0;
    await caught(policy(failing(first, first, first))());
    expect(asked).toEqual([first, first]);
    asked.length = 0;
    await caught(policy(failing(new Error('unlisted')))());
    expect(asked).toEqual([]);
  });

  test('are told of before each pause', async () => {
    const clock = new FakeClock();
    const told: RetryInfo[] = [];
    const errors = [new Flaky('1'), new Flaky('2')];
    const outcome = backoff({
      retryOn: [Flaky],
      pauseMs: 10,
      jitter: 'none',
      clock,
      onRetry: (info) => told.push(info),
    })(failing(...errors))();
    await clock.advance(30);
    expect(await outcome).toBe('done');
    expect(told).toEqual([
      { error: errors[0], tries: 1, pauseMs: 10 },
      { error: errors[1], tries: 2, pauseMs: 20 },
    ]);
  });

  test('end with what onRetry or giveUp throws', async () => {
    const broken = new RangeError('in the callback');
    const fail = () => {
      throw broken;
    };
    const work = failing(new Flaky(), new Flaky());
    expect(await caught(retry({ maxTries: 3, pauseMs: 0, onRetry: fail })(work)())).toBe(broken);
    expect(await caught(retry({ maxTries: 3, pauseMs: 0, giveUp: fail })(failing(new Flaky()))())).toBe(
      broken,
    );
    expect(work.calls).toBe(1);
  });

  test('of retry follow every Error, but nothing else that is thrown', async () => {
    const work = failing('a string');
    expect(await caught(retry({ maxTries: 3, pauseMs: 0 })(work)())).toBe('a string');
    expect(work.calls).toBe(1);
  });
});

describe('the attempt timeout', () => {
  test('cuts an attempt, aborts its signal, and is always tried again', async () => {
    const clock = new FakeClock();
    const signals: AbortSignal[] = [];
    const outcome = backoff({
      attemptTimeoutMs: 100,
      pauseMs: 10,
      ...exact,
      clock,
      retryOn: () => false,
    }).run((signal) => {
      signals.push(signal);
      return signals.length < 3 ? never() : 'third';
    });
    await clock.advance(100);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    expect(signals[0]?.reason).toBeInstanceOf(TimeoutError);
    await clock.advance(9);
    expect(signals).toHaveLength(1);
    await clock.advance(1 + 100 + 10);
    expect(await outcome).toBe('third');
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true, false]);
    expect(clock.pending).toBe(0);
  });

  test('is what is thrown when it was the last error', async () => {
    const clock = new FakeClock();
    const outcome = caught(backoff({ attemptTimeoutMs: 100, maxTries: 2, pauseMs: 0, clock })(never)());
    await clock.advance(200);
    expect(await outcome).toMatchObject({
      code: 'ERR_TIMEOUT',
      limitMs: 100,
      message: 'the attempt was not done within 100 ms',
    });
  });

  test('of a timeout below is tried again as well', async () => {
    const clock = new FakeClock();
    let calls = 0;
    const outcome = backoff({ pauseMs: 0, clock })(
      timeout(10, { clock })(() => (++calls < 3 ? never() : 'done')),
    )();
    await clock.advance(20);
    expect(await outcome).toBe('done');
  });

  test('of 0, like a deadline of 0, rejects without a call', async () => {
    for (const policy of [
      backoff({ attemptTimeoutMs: 0, maxTries: 3 }),
      backoff({ deadlineMs: 0, retryOn: [Error] }),
      timeout(0),
    ]) {
      const work = hanging();
      expect(await caught(policy(work)())).toMatchObject({ code: 'ERR_TIMEOUT', limitMs: 0 });
      expect(work.calls).toBe(0);
    }
  });
});

describe('the deadline', () => {
  test('cuts an attempt, and throws the last error that the function has thrown', async () => {
    const clock = new FakeClock();
    const real = new Flaky('the last word');
    let calls = 0;
    const outcome = caught(
      backoff({ deadlineMs: 100, pauseMs: 10, ...exact, retryOn: [Flaky], clock })(() => {
        if (++calls === 1) throw real;
        return never();
      })(),
    );
    await clock.advance(100);
    expect(await outcome).toBe(real);
    expect(calls).toBe(2);
    expect(clock.pending).toBe(0);
  });

  test('throws the last real error although attempts have timed out since', async () => {
    const clock = new FakeClock();
    const real = new Flaky();
    let calls = 0;
    const outcome = caught(
      backoff({ attemptTimeoutMs: 20, deadlineMs: 100, pauseMs: 10, ...exact, retryOn: [Flaky], clock })(
        () => {
          if (++calls === 1) throw real;
          return never();
        },
      )(),
    );
    await clock.advance(100);
    expect(await outcome).toBe(real);
    expect(calls).toBe(4);
  });

  test('is the error where there was none but timeouts', async () => {
    const clock = new FakeClock();
    const outcome = caught(backoff({ deadlineMs: 100, clock })(never)());
    await clock.advance(100);
    expect(await outcome).toMatchObject({ code: 'ERR_TIMEOUT', limitMs: 100 });
  });

  test('ends the call at once instead of a pause that would pass it', async () => {
    const clock = new FakeClock();
    const real = new Flaky();
    const policy = backoff({ deadlineMs: 100, pauseMs: 100, ...exact, retryOn: [Flaky], clock });
    expect(await caught(policy(failing(real))())).toBe(real);
    expect(clock.now()).toBe(0);
    expect(clock.pending).toBe(0);
  });

  test('of the caller ends the call at once, too, instead of a pause that would pass it', async () => {
    const clock = new FakeClock();
    const real = new Flaky();
    const policy = retry({ maxTries: 3, pauseMs: 100, ...exact, clock });
    expect(await caught(withDeadline(100, () => policy(failing(real))(), { clock }))).toBe(real);
    expect(clock.pending).toBe(0);
  });

  test('of the caller that has passed is never tried again', async () => {
    const clock = new FakeClock();
    const work = hanging();
    const policy = retry({ maxTries: 3, pauseMs: 0, clock });
    const outer = caught(withDeadline(50, () => policy(work)(), { clock }));
    await clock.advance(50);
    expect(await outer).toMatchObject({ code: 'ERR_DEADLINE' });
    const inner = caught(policy(() => withDeadline(50, work, { clock }))());
    await clock.advance(50);
    expect(await inner).toMatchObject({ code: 'ERR_DEADLINE' });
    expect(work.calls).toBe(2);
    expect(clock.pending).toBe(0);
  });

  test('lets go of the caller of an attempt that ends although it ignores its signal', async () => {
    const clock = new FakeClock();
    const late = Promise.withResolvers<never>();
    const outcome = caught(backoff({ deadlineMs: 100, clock })(() => late.promise)());
    await clock.advance(100);
    expect(await outcome).toMatchObject({ code: 'ERR_TIMEOUT' });
    // Vitest fails the run if this is not handled.
    late.reject(new Error('too late'));
    await settle();
  });
});

describe('a cancellation', () => {
  const pausing = (clock: FakeClock) =>
    backoff({ deadlineMs: 60_000, retryOn: [Error], pauseMs: 1_000, ...exact, clock });

  test('interrupts a pause at once, and nothing is called any more', async () => {
    const clock = new FakeClock();
    const controller = new AbortController();
    const work = failing(new Flaky(), new Flaky());
    const outcome = caught(pausing(clock)((_signal: AbortSignal) => work())(controller.signal));
    await settle();
    expect(work.calls).toBe(1);
    controller.abort('enough');
    expect(await outcome).toBe('enough');
    await clock.advance(10_000);
    expect(work.calls).toBe(1);
    expect(clock.pending).toBe(0);
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  });

  test('is never tried again, whatever the function makes of it', async () => {
    const clock = new FakeClock();
    const controller = new AbortController();
    let calls = 0;
    const outcome = caught(
      pausing(clock)(async (signal: AbortSignal) => {
        calls++;
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        throw new Flaky('disguised');
      })(controller.signal),
    );
    await settle();
    controller.abort('enough');
    expect(await outcome).toBe('enough');
    await clock.advance(10_000);
    expect(calls).toBe(1);
  });

  test('is told from the errors that only look like one', async () => {
    const looksLike = () => new DOMException('aborted', 'AbortError');
    const work = failing(looksLike(), new TimeoutError('something else', 1));
    expect(await retry({ maxTries: 3, pauseMs: 0 })(work)()).toBe('done');
  });

  test('may come from a signal of the policy, for all of its calls', async () => {
    const clock = new FakeClock();
    const controller = new AbortController();
    const policy = backoff({ retryOn: [Error], pauseMs: 1_000, clock, signal: controller.signal });
    const outcomes = [policy(failing(new Flaky())), policy(never)].map((wrapped) => caught(wrapped()));
    expect(await policy(failing())()).toBe('done');
    await settle();
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(2);
    controller.abort('service stops');
    expect(await Promise.all(outcomes)).toEqual(['service stops', 'service stops']);
    expect(await caught(policy(failing())())).toBe('service stops');
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    expect(clock.pending).toBe(0);
  });
});

describe('a pause asked for by the error', () => {
  const now = Date.UTC(2026, 0, 1);
  const date = (ms: number) => new Date(now + ms).toUTCString();
  const cases: readonly (readonly [string, unknown, number])[] = [
    ['retryAfterMs', { retryAfterMs: 700 }, 700],
    ['retryAfter in seconds', { retryAfter: 2 }, 2_000],
    ['retryAfter in seconds, as text', { retryAfter: '2' }, 2_000],
    ['retryAfter as a date', { retryAfter: date(3_000) }, 3_000],
    ['the header in seconds', { headers: { 'retry-after': '4' } }, 4_000],
    ['the header as a date', { headers: { 'retry-after': date(5_000) } }, 5_000],
    ['the header of a Headers object', { headers: new Headers({ 'Retry-After': '6' }) }, 6_000],
    ['a date that has passed', { retryAfter: date(-5_000) }, 100],
    ['less than the policy pauses', { retryAfterMs: 5 }, 100],
    ['nonsense', { retryAfter: 'soon', headers: { 'retry-after': '' } }, 100],
    ['a negative number', { retryAfterMs: -1 }, 100],
    ['no headers', { headers: null }, 100],
  ];

  test.each(cases)('%s', async (_name, fields, expected) => {
    const clock = new FakeClock(now);
    const error = Object.assign(new Flaky(), fields);
    let paused: number | undefined;
    const outcome = retry({
      maxTries: 2,
      pauseMs: 100,
      maxPauseMs: 200,
      ...exact,
      clock,
      onRetry: ({ pauseMs }) => {
        paused = pauseMs;
      },
    })(failing(error))();
    await clock.advance(expected);
    expect(await outcome).toBe('done');
    expect(paused).toBe(expected);
  });

  test('that passes the deadline ends the call at once', async () => {
    const clock = new FakeClock();
    const error = Object.assign(new Flaky(), { retryAfterMs: 1_000 });
    const policy = backoff({ deadlineMs: 1_000, retryOn: [Flaky], pauseMs: 1, clock });
    expect(await caught(policy(failing(error))())).toBe(error);
  });

  test('is what a broken circuit asks for', async () => {
    const clock = new FakeClock();
    const breaker = circuitBreaker({ minimumCalls: 1, brokenMs: 500, recoveryCalls: 1, clock });
    const outcome = retry({ maxTries: 3, pauseMs: 10, clock, ...exact })(breaker(failing(new Flaky())))();
    await clock.advance(10);
    expect(breaker.state.status).toBe('broken');
    await clock.advance(490);
    expect(await outcome).toBe('done');
  });

  test('is none of a full bulkhead', async () => {
    const clock = new FakeClock();
    const narrow = bulkhead({ maxConcurrent: 1 });
    const open = Promise.withResolvers<void>();
    const first = narrow(() => open.promise)();
    const second = retry({ maxTries: 3, pauseMs: 10, clock, ...exact })(narrow(async () => 'second'))();
    await clock.advance(5);
    open.resolve();
    await first;
    await clock.advance(5);
    expect(await second).toBe('second');
  });
});

describe('a retry budget', () => {
  test('throws at once when the retries of all calls together are too many', async () => {
    const clock = new FakeClock();
    const policy = retry({
      maxTries: 2,
      pauseMs: 0,
      clock,
      budget: { ratio: 0.1, minPerSecond: 0.2, windowMs: 10_000 },
    });
    let calls = 0;
    const fail = policy(async () => {
      calls++;
      throw new Flaky();
    });
    const run = async (times: number) => {
      calls = 0;
      const outcomes = Array.from({ length: times }, () => caught(fail()));
      await clock.advance(0);
      await Promise.all(outcomes);
      return calls - times;
    };
    // Two are allowed anyway, and one for every ten calls.
    expect(await run(100)).toBe(12);
    expect(await run(10)).toBe(1);
    expect(await run(1)).toBe(0);
    await clock.advance(20_000);
    expect(await run(1)).toBe(1);
  });
});

test('of a first try that succeeds nothing is left', async () => {
  const clock = new FakeClock();
  const policy = backoff({ attemptTimeoutMs: 10, deadlineMs: 100, clock, retryOn: [Error] });
  expect(await policy(failing())()).toBe('done');
  expect(await policy(() => 'sync')()).toBe('sync');
  expect(clock.pending).toBe(0);
});
