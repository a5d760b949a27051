import { getEventListeners } from 'node:events';
import { currentSignal, DeadlineError, remainingMs, withDeadline, withLogFields } from 'bosun';
import { FakeClock, settle } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { logFields } from '../src/logging/fields.ts';

const never = () => new Promise<never>(() => {});

describe('a deadline', () => {
  test('lets work that is done in time pass, and leaves no timer behind', async () => {
    const clock = new FakeClock();
    expect(await withDeadline(100, async () => remainingMs(), { clock })).toBe(100);
    await expect(
      withDeadline(
        100,
        () => {
          throw new RangeError('mine');
        },
        { clock },
      ),
    ).rejects.toThrow('mine');
    expect(clock.pending).toBe(0);
  });

  test('ends work that is not done in time, and aborts the signal below it with the same error', async () => {
    const clock = new FakeClock();
    let signal: AbortSignal | undefined;
    const late = withDeadline(
      100,
      () => {
        signal = currentSignal();
        return never();
      },
      { clock },
    ).catch((error: unknown) => error);
    await clock.advance(99);
    expect(signal?.aborted).toBe(false);
    await clock.advance(1);
    const error = await late;
    expect(error).toBeInstanceOf(DeadlineError);
    expect(error).toMatchObject({ code: 'ERR_DEADLINE', limitMs: 100 });
    expect(signal?.reason).toBe(error);
    expect(clock.pending).toBe(0);
  });

  test('is never extended by one below it, and can be shortened by it', async () => {
    const clock = new FakeClock();
    const left: number[] = [];
    await withDeadline(
      100,
      async () => {
        await withDeadline(500, () => left.push(remainingMs()), { clock });
        await withDeadline(10, () => left.push(remainingMs()), { clock });
        left.push(remainingMs());
      },
      { clock },
    );
    expect(left).toEqual([100, 10, 100]);
    const inner = withDeadline(100, () => withDeadline(500, never, { clock }), { clock });
    const caught = inner.catch((error: unknown) => error);
    await clock.advance(100);
    expect(await caught).toMatchObject({ limitMs: 100 });
    expect(clock.pending).toBe(0);
  });

  test('of 0 rejects without a call; Infinity is none; less than 0 and NaN are refused', async () => {
    let calls = 0;
    const count = () => ++calls;
    await expect(withDeadline(0, count)).rejects.toBeInstanceOf(DeadlineError);
    expect(calls).toBe(0);
    expect(await withDeadline(Number.POSITIVE_INFINITY, () => remainingMs())).toBe(Number.POSITIVE_INFINITY);
    await expect(withDeadline(-1, count)).rejects.toThrow('at least 0');
    await expect(withDeadline(Number.NaN, count)).rejects.toThrow('received NaN');
  });

  test('is kept although its timer is late: overdue work begins nothing', async () => {
    const clock = new FakeClock();
    let now = 0;
    clock.now = () => now;
    await expect(
      withDeadline(
        10,
        async () => {
          now = 11;
          expect(remainingMs()).toBe(0);
          await withDeadline(50, () => 'begun', { clock });
        },
        { clock },
      ),
    ).rejects.toMatchObject({ limitMs: 10 });
  });

  test('ends with a signal, with its reason, and leaves no listener on it', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const ended = withDeadline(Number.POSITIVE_INFINITY, never, { signal: controller.signal });
    const caught = ended.catch((error: unknown) => error);
    await settle();
    controller.abort(reason);
    expect(await caught).toBe(reason);
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    await expect(withDeadline(10, never, { signal: controller.signal })).rejects.toBe(reason);
  });

  test('no longer holds for what its work has left running', async () => {
    const clock = new FakeClock();
    const left = Promise.withResolvers<void>();
    let after: number | undefined;
    let signal: AbortSignal | undefined;
    let background: Promise<void> | undefined;
    await withDeadline(
      100,
      () => {
        signal = currentSignal();
        background = left.promise.then(() => {
          after = remainingMs();
        });
      },
      { clock },
    );
    await clock.advance(200);
    left.resolve();
    await background;
    expect(after).toBe(Number.POSITIVE_INFINITY);
    expect(signal?.aborted).toBe(false);
  });

  test('and log fields go side by side', async () => {
    const seen = await withLogFields({ reqId: 'r1' }, () =>
      withDeadline(1_000, () =>
        withLogFields({ step: 2 }, async () => [logFields(), remainingMs() <= 1_000]),
      ),
    );
    expect(seen).toEqual([{ reqId: 'r1', step: 2 }, true]);
  });
});

test('outside of every deadline the signal never aborts, and no time is set', () => {
  expect(currentSignal().aborted).toBe(false);
  expect(remainingMs()).toBe(Number.POSITIVE_INFINITY);
});
