import {
  DeadlineError,
  type Isolation,
  WorkerQueueFullError,
  WorkersStoppedError,
  withDeadline,
} from 'bosun';
import { FakeClock } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { drained, Gate, TestPool, tasksFile } from './support.ts';

type Fixture = typeof import('./fixtures/tasks.ts');

const threads = (pool: TestPool) => pool.module<Fixture>(tasksFile);

describe('an aborted task', () => {
  test('that waits is dropped: it never begins, and no thread ends', async () => {
    await using pool = new TestPool({ threads: 1 });
    const gate = new Gate();
    const running = threads(pool).block(gate.words);
    await gate.reached(1);
    const controller = new AbortController();
    const waiting = threads(pool).with({ signal: controller.signal }).block(gate.words);
    expect(pool.statistics.thread).toMatchObject({ busy: 1, queued: 1 });
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    expect(pool.statistics.thread).toMatchObject({ busy: 1, queued: 0, aborted: 1 });
    gate.open();
    const thread = await running;
    expect((await threads(pool).where()).threadId).toBe(thread);
    expect(gate.words[1]).toBe(1);
  });

  test('that waits for the first thread is dropped as well', async () => {
    await using pool = new TestPool({ threads: 1 });
    const gate = new Gate();
    const controller = new AbortController();
    const waiting = threads(pool).with({ signal: controller.signal }).block(gate.words);
    controller.abort();
    await expect(waiting).rejects.toBe(controller.signal.reason);
    gate.open();
    await threads(pool).nothing();
    expect(gate.words[1]).toBe(0);
    expect(pool.statistics.thread).toMatchObject({ aborted: 1, done: 1, queued: 0, busy: 0 });
  });

  test('that blocks its thread is left at once; the thread is ended and replaced, the others go on', async () => {
    await using pool = new TestPool({ threads: 2 });
    const gate = new Gate();
    const other = threads(pool).block(gate.words);
    const controller = new AbortController();
    const spinning = threads(pool).with({ signal: controller.signal }).spin(gate.words);
    await gate.reached(2);
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(spinning).rejects.toBe(reason);
    // Waits for the thread that takes its place.
    expect(await threads(pool).add(1, 2)).toBe(3);
    gate.open();
    expect(await other).toBeGreaterThan(0);
    expect(pool.statistics.thread).toMatchObject({ aborted: 1, deaths: 0, done: 2, failed: 0, workers: 2 });
  });

  test('can end by itself: its signal aborts with the reason, and its thread stays', async () => {
    await using pool = new TestPool({ threads: 1 });
    const gate = new Gate();
    const { threadId } = await threads(pool).where();
    const controller = new AbortController();
    const heeding = threads(pool).with({ signal: controller.signal }).heed(gate.words);
    await gate.reached(1);
    controller.abort(new Error('enough'));
    await expect(heeding).rejects.toThrow('enough');
    expect((await threads(pool).where()).threadId).toBe(threadId);
    expect(gate.words[2]).toBe('enough'.length);
  });

  test('leaves no listener on the signal, nor does one that is done', async () => {
    await using pool = new TestPool();
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners += 1;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners -= 1;
      remove(...args);
    };
    const tasks = threads(pool).with({ signal });
    await tasks.add(1, 2);
    await tasks.fail().catch(() => {});
    expect(listeners).toBe(0);
    const spinning = tasks.spin();
    controller.abort();
    await expect(spinning).rejects.toBe(signal.reason);
    expect(listeners).toBe(0);
  });
});

describe('an aborted task in a process', () => {
  test('that blocks it is left at once; the process is killed, and replaced', async () => {
    await using pool = new TestPool({ processes: 1 });
    const tasks = pool.module<Fixture>(tasksFile, { isolation: 'process' });
    const { pid } = await tasks.where();
    const controller = new AbortController();
    const spinning = tasks.with({ signal: controller.signal }).spin();
    controller.abort(new Error('enough'));
    await expect(spinning).rejects.toThrow('enough');
    expect((await tasks.where()).pid).not.toBe(pid);
    expect(pool.statistics.process).toMatchObject({ aborted: 1, deaths: 0 });
  });
});

describe.each<Isolation>(['thread', 'process'])('the deadline of a caller, on a %s', (isolation) => {
  test('goes along to the task, and ends it', async () => {
    await using pool = new TestPool();
    const tasks = pool.module<Fixture>(tasksFile, { isolation });
    expect(await tasks.timeLeft()).toEqual({ remaining: Number.POSITIVE_INFINITY, aborted: false });
    const { remaining } = await withDeadline(60_000, () => tasks.timeLeft());
    expect(remaining).toBeGreaterThan(0);
    expect(remaining).toBeLessThanOrEqual(60_000);

    const clock = new FakeClock();
    const late = withDeadline(50, () => tasks.spin(), { clock });
    const ended = expect(late).rejects.toThrow(DeadlineError);
    await clock.advance(50);
    await ended;
    expect(pool.statistics[isolation]).toMatchObject({ aborted: 1, failed: 0 });
  });

  test('is its own error in the task, too', async () => {
    await using pool = new TestPool();
    const error = await pool
      .module<Fixture>(tasksFile, { isolation })
      .withLess()
      .catch((thrown) => thrown);
    expect(error).toBeInstanceOf(DeadlineError);
    expect(error).toMatchObject({ limitMs: 5 });
  });

  test('that has passed lets no task begin', async () => {
    await using pool = new TestPool();
    const tasks = pool.module<Fixture>(tasksFile, { isolation });
    await expect(withDeadline(0, () => tasks.nothing())).rejects.toThrow(DeadlineError);
    expect(pool.statistics[isolation].workers).toBe(0);
  });
});

describe.each<Isolation>(['thread', 'process'])('the queue of the workers, %s', (isolation) => {
  test('is bounded: what comes on top is refused, and nothing else', async () => {
    await using pool = new TestPool({ threads: 1, processes: 1, maxQueued: 1 });
    const tasks = pool.module<Fixture>(tasksFile, { isolation });
    const [first, second, third] = await Promise.allSettled([
      tasks.add(1, 1),
      tasks.add(1, 2),
      tasks.add(1, 3),
    ]);
    expect([first, second]).toEqual([
      { status: 'fulfilled', value: 2 },
      { status: 'fulfilled', value: 3 },
    ]);
    expect(third?.status === 'rejected' && third.reason).toBeInstanceOf(WorkerQueueFullError);
    expect(await tasks.add(1, 2)).toBe(3);
  });

  test('may have no room at all', async () => {
    await using none = new TestPool({ threads: 1, processes: 1, maxQueued: 0 });
    const tight = none.module<Fixture>(tasksFile, { isolation });
    const one = tight.add(1, 2);
    await expect(tight.add(1, 2)).rejects.toMatchObject({ code: 'ERR_WORKER_QUEUE_FULL', maxQueued: 0 });
    expect(await one).toBe(3);
  });

  test('may be without limit', async () => {
    await using pool = new TestPool({ threads: 1, processes: 1, maxQueued: Number.POSITIVE_INFINITY });
    const tasks = pool.module<Fixture>(tasksFile, { isolation });
    const numbers = Array.from({ length: 300 }, (_, i) => i);
    expect(await Promise.all(numbers.map((i) => tasks.add(i, 1)))).toEqual(numbers.map((i) => i + 1));
  });

  test('is first come, first served, also where one of them is dropped', async () => {
    await using pool = new TestPool({ threads: 1, processes: 1 });
    const tasks = pool.module<Fixture>(tasksFile, { isolation });
    await tasks.nothing();
    const controller = new AbortController();
    const { add } = tasks.with({ signal: controller.signal });
    const ended: number[] = [];
    const all = Array.from({ length: 20 }, async (_, i) => {
      await (i % 4 === 2 ? add(i, 0) : tasks.add(i, 0));
      ended.push(i);
    });
    controller.abort();
    await Promise.allSettled(all);
    expect(ended).toEqual([0, 1, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17, 19]);
  });

  test('is drained by a close, which refuses what comes after', async () => {
    await using pool = new TestPool({ threads: 1, processes: 1 });
    const tasks = pool.module<Fixture>(tasksFile, { isolation });
    const all = Promise.all([tasks.add(1, 1), tasks.add(1, 2), tasks.add(1, 3)]);
    await drained(pool);
    expect(await all).toEqual([2, 3, 4]);
    await expect(tasks.add(1, 1)).rejects.toThrow(WorkersStoppedError);
    expect(pool.statistics[isolation].workers).toBe(0);
  });

  test('is emptied by a forced close, which ends what runs', async () => {
    await using pool = new TestPool({ threads: 1, processes: 1 });
    const tasks = pool.module<Fixture>(tasksFile, { isolation });
    await tasks.nothing();
    const force = new AbortController();
    const results = Promise.allSettled([tasks.spin(), tasks.add(1, 2)]);
    const closed = pool.close(force.signal);
    force.abort();
    await closed;
    for (const result of await results) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'ERR_WORKERS_STOPPED' } });
    }
  });
});
