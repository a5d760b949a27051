import { withDeadline } from 'bosun';
import {
  backoff,
  type CircuitBreaker,
  type CircuitBreakerOptions,
  CircuitBrokenError,
  type CircuitTransition,
  circuitBreaker,
  pipe,
  timeout,
} from 'bosun/policy';
import { FakeClock, settle } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { caught, never } from './support.ts';

const ill = new Error('ill');

function setUp(options: CircuitBreakerOptions = {}) {
  const clock = new FakeClock();
  const breaker = circuitBreaker({
    minimumCalls: 4,
    windowMs: 1_000,
    brokenMs: 500,
    recoveryCalls: 3,
    clock,
    ...options,
  });
  return { clock, breaker, ...callsOf(breaker) };
}

function callsOf(breaker: CircuitBreaker) {
  const succeed = () => breaker.run(() => 'well');
  const fail = () => caught(breaker.run(() => Promise.reject(ill)));
  const breakIt = async () => {
    for (let i = 0; i < 4; i++) await fail();
  };
  /** A call that ends when it is told to. */
  const open = () => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const outcome = breaker.run(() => promise);
    return { outcome, resolve, reject };
  };
  return { succeed, fail, breakIt, open };
}

describe('a passing circuit', () => {
  test('breaks when the ratio of failures is reached, with enough calls', async () => {
    const { breaker, succeed, fail } = setUp();
    await succeed();
    await succeed();
    await fail();
    expect(breaker.state.status).toBe('passing');
    await fail();
    expect(breaker.state).toEqual({ status: 'broken', since: 0, until: 500, lastError: ill });
  });

  test('is not broken by failures among too few calls', async () => {
    const { breaker, fail } = setUp();
    for (let i = 0; i < 3; i++) await fail();
    expect(breaker.state.status).toBe('passing');
  });

  test('forgets what is older than its window', async () => {
    const { clock, breaker, fail } = setUp();
    for (let i = 0; i < 3; i++) await fail();
    await clock.advance(1_000);
    for (let i = 0; i < 3; i++) await fail();
    expect(breaker.state.status).toBe('passing');
    await fail();
    expect(breaker.state.status).toBe('broken');
  });

  test('is not broken by errors that count as none', async () => {
    const { breaker, fail } = setUp({ countsAsFailure: (error) => error !== ill });
    for (let i = 0; i < 20; i++) expect(await fail()).toBe(ill);
    expect(breaker.state.status).toBe('passing');
  });

  test('is not broken by callers that give up, or whose deadline passes', async () => {
    const { clock, breaker } = setUp();
    for (let i = 0; i < 20; i++) {
      const controller = new AbortController();
      const outcome = caught(breaker.run(never, { signal: controller.signal }));
      await settle();
      controller.abort();
      await outcome;
    }
    const late = Array.from({ length: 20 }, () =>
      caught(withDeadline(10, () => breaker.run(never), { clock })),
    );
    await clock.advance(10);
    await Promise.all(late);
    expect(breaker.state.status).toBe('passing');
  });

  test('is broken by what hangs, when a policy around it or below it has a time limit', async () => {
    for (const around of [
      (breaker: CircuitBreaker, clock: FakeClock) => pipe(timeout(10, { clock }), breaker),
      (breaker: CircuitBreaker, clock: FakeClock) => pipe(breaker, timeout(10, { clock })),
      (breaker: CircuitBreaker, clock: FakeClock) =>
        pipe(backoff({ attemptTimeoutMs: 10, maxTries: 1, clock }), breaker),
    ]) {
      const { clock, breaker } = setUp();
      const hang = around(breaker, clock)(never);
      const outcomes = Array.from({ length: 4 }, () => caught(hang()));
      await clock.advance(10);
      expect((await Promise.all(outcomes)).map((error) => (error as { code: string }).code)).toEqual(
        Array(4).fill('ERR_TIMEOUT'),
      );
      expect(breaker.state.status).toBe('broken');
      expect(clock.pending).toBe(0);
    }
  });
});

describe('a broken circuit', () => {
  test('calls nothing, and says why and until when', async () => {
    const { clock, breaker, breakIt } = setUp({ name: 'prices' });
    await breakIt();
    await clock.advance(200);
    let calls = 0;
    const error = await caught(breaker(() => ++calls)());
    expect(error).toBeInstanceOf(CircuitBrokenError);
    expect(error).toMatchObject({
      code: 'ERR_CIRCUIT_BROKEN',
      message: 'circuit "prices" is broken; the last failure: ill',
      breaker: 'prices',
      lastError: ill,
      cause: ill,
      retryAfterMs: 300,
    });
    expect(calls).toBe(0);
  });

  test('takes no notice of calls that were under way when it broke', async () => {
    const { clock, breaker, breakIt, succeed, open } = setUp();
    const [early, other] = [open(), open()];
    await breakIt();
    early.resolve('late');
    expect(await early.outcome).toBe('late');
    expect(breaker.state.status).toBe('broken');
    await clock.advance(500);
    await succeed();
    other.reject(ill);
    await caught(other.outcome);
    expect(breaker.state).toMatchObject({ status: 'recovering', succeeded: 1 });
  });

  test('leaves no timer behind', async () => {
    const { clock, breakIt } = setUp();
    await breakIt();
    expect(clock.pending).toBe(0);
  });
});

describe('a recovering circuit', () => {
  test('lets one more through at a time for each call that succeeds, and then all', async () => {
    const { clock, breaker, breakIt, open } = setUp();
    await breakIt();
    await clock.advance(500);
    expect(breaker.state.status).toBe('broken');
    const first = open();
    expect(breaker.state).toEqual({ status: 'recovering', since: 500, succeeded: 0, lastError: ill });
    expect(await caught(open().outcome)).toMatchObject({
      message: 'the circuit is recovering; the last failure: ill',
      retryAfterMs: 500,
    });
    first.resolve('1');
    await first.outcome;
    const [second, third] = [open(), open()];
    expect(await caught(open().outcome)).toBeInstanceOf(CircuitBrokenError);
    second.resolve('2');
    await second.outcome;
    third.resolve('3');
    await third.outcome;
    expect(breaker.state).toEqual({ status: 'passing', since: 500 });
    expect(await Promise.all(Array.from({ length: 20 }, () => breaker.run(() => 1)))).toHaveLength(20);
  });

  test('breaks again at a failure, for as long', async () => {
    const { clock, breaker, breakIt, succeed } = setUp();
    await breakIt();
    await clock.advance(600);
    await succeed();
    const again = new Error('again');
    await caught(breaker.run(() => Promise.reject(again)));
    expect(breaker.state).toEqual({ status: 'broken', since: 600, until: 1_100, lastError: again });
  });

  test('has begun anew when it passes: one failure does not break it', async () => {
    const { clock, breaker, breakIt, succeed, fail } = setUp();
    await breakIt();
    await clock.advance(500);
    for (let i = 0; i < 3; i++) await succeed();
    await fail();
    expect(breaker.state.status).toBe('passing');
  });

  test('gives back the place of a caller that gives up', async () => {
    const { clock, breaker, breakIt, succeed } = setUp();
    await breakIt();
    await clock.advance(500);
    const controller = new AbortController();
    const outcome = caught(breaker.run(never, { signal: controller.signal }));
    expect(await caught(succeed())).toBeInstanceOf(CircuitBrokenError);
    controller.abort('gone');
    expect(await outcome).toBe('gone');
    expect(await succeed()).toBe('well');
  });

  test('is not held up for ever by a call that hangs', async () => {
    const { clock, breaker, breakIt, succeed } = setUp();
    await breakIt();
    await clock.advance(500);
    void breaker.run(never);
    await clock.advance(499);
    expect(await caught(succeed())).toMatchObject({ retryAfterMs: 1 });
    await clock.advance(1);
    expect(await succeed()).toBe('well');
  });
});

describe('by hand', () => {
  test('a circuit is isolated until it is reset', async () => {
    const { clock, breaker, succeed } = setUp();
    breaker.isolate();
    expect(breaker.state).toEqual({
      status: 'broken',
      since: 0,
      until: Number.POSITIVE_INFINITY,
      lastError: undefined,
    });
    await clock.advance(1e9);
    expect(await caught(succeed())).toMatchObject({ message: 'the circuit is isolated', retryAfterMs: 500 });
    breaker.reset();
    expect(await succeed()).toBe('well');
  });

  test('a broken circuit is made to pass, with nothing counted', async () => {
    const { breaker, breakIt, fail } = setUp();
    await breakIt();
    breaker.reset();
    for (let i = 0; i < 3; i++) await fail();
    expect(breaker.state.status).toBe('passing');
  });
});

describe('listeners', () => {
  test('are told of each transition until they leave', async () => {
    const { clock, breaker, breakIt, succeed } = setUp({ recoveryCalls: 1 });
    const seen: CircuitTransition[] = [];
    const off = breaker.on((transition) => seen.push(transition));
    await breakIt();
    await clock.advance(500);
    await succeed();
    expect(seen.map(({ from, to }) => `${from.status} -> ${to.status} at ${to.since}`)).toEqual([
      'passing -> broken at 0',
      'broken -> recovering at 500',
      'recovering -> passing at 500',
    ]);
    off();
    off();
    await breakIt();
    expect(seen).toHaveLength(3);
  });

  test('that throw disturb neither the breaker nor the others, and are stray errors', async () => {
    const strays: unknown[] = [];
    const listeners = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    process.on('unhandledRejection', (error) => strays.push(error));
    try {
      const { breaker } = setUp();
      const seen: string[] = [];
      breaker.on(() => {
        throw ill;
      });
      breaker.on(({ to }) => seen.push(to.status));
      breaker.isolate();
      await settle();
      expect(seen).toEqual(['broken']);
      expect(strays).toEqual([ill]);
    } finally {
      process.removeAllListeners('unhandledRejection');
      for (const listener of listeners) process.on('unhandledRejection', listener);
    }
  });
});

test('a listener that resets the circuit at once has the last word', async () => {
  const { breaker, breakIt, succeed } = setUp();
  breaker.on(({ to }) => {
    if (to.status === 'broken') breaker.reset();
  });
  await breakIt();
  expect(breaker.state.status).toBe('passing');
  expect(await succeed()).toBe('well');
});
