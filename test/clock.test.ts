import { getEventListeners } from 'node:events';
import { systemClock } from 'bosun';
import { FakeClock, settle } from 'bosun/testing';
import { afterEach, describe, expect, test, vi } from 'vitest';

afterEach(() => {
  vi.restoreAllMocks();
});

/** Puts a setTimeout in place whose timers the test fires. */
function stubSetTimeout() {
  const set: { callback: () => void; delayMs: number; unref: () => void; unrefs: number }[] = [];
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((callback: () => void, delayMs: number) => {
    const timer = {
      callback,
      delayMs,
      unrefs: 0,
      unref: () => {
        timer.unrefs += 1;
      },
    };
    set.push(timer);
    return timer;
  }) as never);
  let now = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  return {
    set,
    fire(afterMs: number) {
      now += afterMs;
      set.at(-1)?.callback();
    },
  };
}

const MAX = 2 ** 31 - 1;

describe('the system clock', () => {
  test('tells the time since the epoch and never goes back', () => {
    expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1_000);
    const times = Array.from({ length: 100 }, () => systemClock.now());
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });

  test('waits longer than 2^31-1 ms in several timers, and calls once', () => {
    const stub = stubSetTimeout();
    let calls = 0;
    systemClock.setTimer(
      () => {
        calls += 1;
      },
      2 * MAX + 5,
    );
    stub.fire(MAX);
    stub.fire(MAX);
    expect(calls).toBe(0);
    expect(stub.set.map(({ delayMs }) => delayMs)).toEqual([MAX, MAX, 5]);
    stub.fire(5);
    expect(calls).toBe(1);
    expect(stub.set).toHaveLength(3);
  });

  test('does not call early when setTimeout does', () => {
    const stub = stubSetTimeout();
    let calls = 0;
    systemClock.setTimer(() => {
      calls += 1;
    }, 10);
    stub.fire(9.4);
    expect(calls).toBe(0);
    expect(stub.set[1]?.delayMs).toBe(1);
    stub.fire(0.6);
    expect(calls).toBe(1);
  });

  test('keeps a timer unreferenced across its parts', () => {
    const stub = stubSetTimeout();
    systemClock.setTimer(() => {}, 2 * MAX).unref();
    stub.fire(MAX);
    expect(stub.set.map(({ unrefs }) => unrefs)).toEqual([1, 1]);
  });

  test('Infinity never calls, and sets no timer', () => {
    const stub = stubSetTimeout();
    systemClock
      .setTimer(() => {}, Number.POSITIVE_INFINITY)
      .unref()
      .cancel();
    expect(stub.set).toEqual([]);
  });

  test('what is overdue counts as 0, of which Node does not warn', () => {
    const { set } = stubSetTimeout();
    systemClock.setTimer(() => {}, -250);
    expect(set.map(({ delayMs }) => delayMs)).toEqual([0]);
  });

  test('0 calls in a later turn, and a cancelled timer never', async () => {
    const calls: string[] = [];
    systemClock.setTimer(() => calls.push('zero'), 0);
    const cancelled = systemClock.setTimer(() => calls.push('cancelled'), 0);
    cancelled.cancel();
    cancelled.cancel();
    {
      using _disposed = systemClock.setTimer(() => calls.push('disposed'), 0);
    }
    expect(calls).toEqual([]);
    await systemClock.sleep(5);
    expect(calls).toEqual(['zero']);
  });
});

describe.each([
  ['the system clock', systemClock],
  ['the fake clock', new FakeClock()],
])('sleep on %s', (_, clock) => {
  test('rejects promptly with the reason of the signal, and removes its listener', async () => {
    const controller = new AbortController();
    const sleeping = clock.sleep(1_000_000, { signal: controller.signal });
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(sleeping).rejects.toBe(reason);
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    await expect(clock.sleep(1, { signal: AbortSignal.abort('before') })).rejects.toBe('before');
  });
});

test('a thousand sleeps with one long-lived signal leave no listener', async () => {
  const { signal } = new AbortController();
  await Promise.all(Array.from({ length: 1_000 }, () => systemClock.sleep(1, { signal })));
  expect(getEventListeners(signal, 'abort')).toEqual([]);
  const clock = new FakeClock();
  const sleeps = Promise.all(Array.from({ length: 1_000 }, (_, i) => clock.sleep(i, { signal })));
  expect(getEventListeners(signal, 'abort')).toHaveLength(1_000);
  await clock.advance(1_000);
  await sleeps;
  expect(getEventListeners(signal, 'abort')).toEqual([]);
  expect(clock.pending).toBe(0);
});

describe('the fake clock', () => {
  test('stands still until it is advanced, and starts where it is told', async () => {
    const clock = new FakeClock(1_000);
    expect(clock.now()).toBe(1_000);
    await clock.advance(5);
    expect(clock.now()).toBe(1_005);
  });

  test('fires in the order of time, then of setting, at their time, also those set on the way', async () => {
    const clock = new FakeClock();
    const calls: string[] = [];
    const note = (name: string) => () => void calls.push(`${name}@${clock.now()}`);
    clock.setTimer(note('late'), 20);
    clock.setTimer(() => {
      note('first')();
      clock.setTimer(note('on the way'), 5);
    }, 10);
    clock.setTimer(note('second'), 10);
    clock.setTimer(note('never'), 31);
    await clock.advance(30);
    expect(calls).toEqual(['first@10', 'second@10', 'on the way@15', 'late@20']);
    expect([clock.now(), clock.pending, clock.untilNext]).toEqual([30, 1, 1]);
  });

  test('lets promises run between timers', async () => {
    const clock = new FakeClock();
    const calls: number[] = [];
    const work = (async () => {
      for (let i = 0; i < 3; i++) {
        await clock.sleep(10);
        calls.push(clock.now());
      }
    })();
    await clock.advance(30);
    await work;
    expect(calls).toEqual([10, 20, 30]);
  });

  test('a cancelled timer and one of Infinity never fire', async () => {
    const clock = new FakeClock();
    const calls: string[] = [];
    clock.setTimer(() => calls.push('cancelled'), 1).cancel();
    const endless = clock.setTimer(() => calls.push('endless'), Number.POSITIVE_INFINITY).unref();
    await clock.advance(1_000_000);
    expect(calls).toEqual([]);
    expect(clock.untilNext).toBeUndefined();
    endless.cancel();
    expect(clock.pending).toBe(0);
  });

  test('settle lets what is under way run, but no timer', async () => {
    let ran = false;
    void (async () => {
      for (let i = 0; i < 50; i++) await null;
      await new Promise((resolve) => setImmediate(resolve));
      ran = true;
    })();
    await settle();
    expect(ran).toBe(true);
  });
});
