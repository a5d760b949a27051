import { getEventListeners } from 'node:events';
import { currentSignal, remainingMs, withDeadline } from 'bosun';
import { select, shield } from 'bosun/policy';
import { FakeClock, settle } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { caught, never } from './support.ts';

describe('shield', () => {
  test('lets the work go on when its caller gives up, which then knows nothing of a deadline', async () => {
    const clock = new FakeClock();
    const go = Promise.withResolvers<void>();
    const done = Promise.withResolvers<unknown>();
    const save = shield()(async () => {
      const signal = currentSignal();
      await go.promise;
      done.resolve([signal.aborted, currentSignal().aborted, remainingMs()]);
    });
    const outcome = caught(withDeadline(50, () => save(), { clock }));
    await clock.advance(50);
    expect(await outcome).toMatchObject({ code: 'ERR_DEADLINE' });
    go.resolve();
    expect(await done.promise).toEqual([false, false, Number.POSITIVE_INFINITY]);
    expect(clock.pending).toBe(0);
  });

  test('ignores what the work fails with after its caller has gone, but for onLateError', async () => {
    const late: unknown[] = [];
    for (const policy of [shield(), shield({ onLateError: (error) => late.push(error) })]) {
      const controller = new AbortController();
      const work = Promise.withResolvers<never>();
      const outcome = caught(policy.run(() => work.promise, { signal: controller.signal }));
      await settle();
      controller.abort('gone');
      expect(await outcome).toBe('gone');
      // Vitest fails the run if this is not handled.
      work.reject('late');
      await settle();
    }
    expect(late).toEqual(['late']);
  });

  test('tells its caller, and nobody else, of a failure in time', async () => {
    const late: unknown[] = [];
    const policy = shield({ onLateError: (error) => late.push(error) });
    const { signal } = new AbortController();
    expect(await caught(policy.run(() => Promise.reject('in time'), { signal }))).toBe('in time');
    expect(late).toEqual([]);
  });
});

describe('select', () => {
  test('gives the first that settles, and aborts the others', async () => {
    const clock = new FakeClock();
    const signals = new Map<string, AbortSignal>();
    const hang = (name: string) => (signal: AbortSignal) => {
      signals.set(name, signal);
      return clock.sleep(1_000, { signal });
    };
    const outcome = select({
      slow: hang('slow'),
      quick: async (signal) => {
        signals.set('quick', signal);
        await clock.sleep(10, { signal });
        return 'first';
      },
      slower: hang('slower'),
    });
    await clock.advance(10);
    expect(await outcome).toEqual({ key: 'quick', value: 'first' });
    expect([...signals].map(([name, { aborted }]) => [name, aborted])).toEqual([
      ['slow', true],
      ['quick', false],
      ['slower', true],
    ]);
    expect(signals.get('slow')?.reason).toMatchObject({ name: 'AbortError' });
    await settle();
    expect(clock.pending).toBe(0);
  });

  test('rejects when the first to settle does, and ignores what the others come to', async () => {
    const late = Promise.withResolvers<never>();
    const error = new Error('first');
    const outcome = select({ late: () => late.promise, first: () => Promise.reject(error) });
    expect(await caught(outcome)).toBe(error);
    late.reject(new Error('late'));
    await settle();
    const thrown = select({
      never,
      throws: () => {
        throw error;
      },
    });
    expect(await caught(thrown)).toBe(error);
  });

  test('takes works that do not wait', async () => {
    expect(await select({ never, now: () => 7 })).toEqual({ key: 'now', value: 7 });
  });

  test('ends, and aborts all, when its caller gives up', async () => {
    const clock = new FakeClock();
    const controller = new AbortController();
    const signals: AbortSignal[] = [];
    const hang = (signal: AbortSignal) => {
      signals.push(signal);
      return never();
    };
    const first = caught(select({ a: hang, b: hang }, { signal: controller.signal }));
    await settle();
    controller.abort('gone');
    expect(await first).toBe('gone');
    const second = caught(withDeadline(10, () => select({ a: hang, b: hang }), { clock }));
    await clock.advance(10);
    expect(await second).toMatchObject({ code: 'ERR_DEADLINE' });
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true, true, true]);
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    expect(clock.pending).toBe(0);
    signals.length = 0;
    expect(await caught(select({ a: hang }, { signal: controller.signal }))).toBe('gone');
    expect(signals).toEqual([]);
  });

  test('lets what its works await follow them', async () => {
    let inner: AbortSignal | undefined;
    await select({
      loser: () => {
        inner = currentSignal();
        return never();
      },
      winner: async () => 1,
    });
    expect(inner?.aborted).toBe(true);
  });

  test('refuses to choose among nothing', async () => {
    expect(await caught(select({}))).toMatchObject({
      code: 'ERR_OPTIONS',
      message: 'select: options must hold a function at least, received {}',
    });
  });
});
