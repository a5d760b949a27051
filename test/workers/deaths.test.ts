import { fileURLToPath } from 'node:url';
import { type Tasks, WorkerDiedError } from 'bosun';
import { describe, expect, test, vi } from 'vitest';
import { workerEntry } from '../../src/package-files.ts';
import { drained, Gate, TestPool, tasksFile } from './support.ts';

vi.mock('../../src/package-files.ts', { spy: true });

type Fixture = typeof import('./fixtures/tasks.ts');
type FixtureTasks = Tasks<Fixture>;

describe('a thread that dies', () => {
  const opened = (options = {}) => {
    const pool = new TestPool({ threads: 2, ...options });
    return { pool, tasks: pool.module<Fixture>(tasksFile) };
  };

  test.each([
    ['exits', (tasks: FixtureTasks) => tasks.exit(7), 'exit code 7'],
    ['has an uncaught error', (tasks: FixtureTasks) => tasks.uncaught(), 'an uncaught error: out of a timer'],
  ] as const)(
    'because it %s rejects its own task alone, is counted and replaced',
    async (_why, dies, reason) => {
      const { pool, tasks } = opened();
      await using _pool = pool;
      const gate = new Gate();
      const other = tasks.block(gate.words);
      await gate.reached(1);
      const error = await dies(tasks).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(WorkerDiedError);
      expect(error).toMatchObject({ code: 'ERR_WORKER_DIED', reason });
      expect(await tasks.add(1, 2)).toBe(3);
      gate.open();
      expect(await other).toBeGreaterThan(0);
      expect(pool.statistics.thread).toMatchObject({ deaths: 1, failed: 1, workers: 2, busy: 0 });
    },
  );

  test('is replaced for the tasks that wait', async () => {
    const { pool, tasks } = opened({ threads: 1 });
    await using _pool = pool;
    const [died, ...sums] = await Promise.allSettled([tasks.exit(7), tasks.add(1, 2), tasks.add(1, 3)]);
    expect(died?.status).toBe('rejected');
    expect(sums).toMatchObject([{ value: 3 }, { value: 4 }]);
  });

  test('because its heap is full says so', async () => {
    const { pool, tasks } = opened({ maxHeapBytes: 32 * 2 ** 20 });
    await using _pool = pool;
    await expect(tasks.outOfMemory()).rejects.toMatchObject({
      code: 'ERR_WORKER_DIED',
      reason: 'out of memory',
    });
    expect(await tasks.add(1, 2)).toBe(3);
  });

  test('before its first task rejects that, and does not keep the next from a new one', async () => {
    const { pool, tasks } = opened();
    await using _pool = pool;
    vi.mocked(workerEntry).mockReturnValueOnce(
      fileURLToPath(new URL('./fixtures/broken.mjs', import.meta.url)),
    );
    await expect(tasks.nothing()).rejects.toMatchObject({
      code: 'ERR_WORKER_DIED',
      reason: 'an uncaught error: broken from the start',
    });
    expect(pool.statistics.thread).toMatchObject({ deaths: 1, busy: 0, queued: 0 });
    expect(await tasks.add(1, 2)).toBe(3);
  });

  test('ends the stream that it feeds', async () => {
    const { pool, tasks } = opened();
    await using _pool = pool;
    const items = tasks.dies()[Symbol.asyncIterator]();
    await items.next();
    await expect(items.next()).rejects.toThrow(WorkerDiedError);
  });
});

describe('a process that dies', () => {
  test.each([
    ['SIGSEGV', (tasks: FixtureTasks) => tasks.killed('SIGSEGV'), 'SIGSEGV'],
    ['SIGKILL', (tasks: FixtureTasks) => tasks.killed('SIGKILL'), 'SIGKILL'],
    ['process.exit()', (tasks: FixtureTasks) => tasks.exit(7), 'exit code 7'],
    ['an uncaught error', (tasks: FixtureTasks) => tasks.uncaught(), 'an uncaught error: out of a timer'],
  ] as const)('of %s rejects its own task alone, is counted and replaced', async (_why, dies, reason) => {
    await using pool = new TestPool({ processes: 2 });
    const tasks = pool.module<Fixture>(tasksFile, { isolation: 'process' });
    const items = tasks.count(100)[Symbol.asyncIterator]();
    await items.next();
    const error = await dies(tasks).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(WorkerDiedError);
    expect(error).toMatchObject({ reason });
    expect(await tasks.add(1, 2)).toBe(3);
    expect(await items.next()).toEqual({ done: false, value: 2 });
    await items.return?.();
    await drained(pool);
    expect(pool.statistics.process).toMatchObject({ deaths: 1, failed: 1, busy: 0 });
  });

  test('while it is idle is replaced', async () => {
    await using pool = new TestPool({ processes: 1 });
    const tasks = pool.module<Fixture>(tasksFile, { isolation: 'process' });
    const { pid } = await tasks.where();
    process.kill(pid, 'SIGKILL');
    // The next task may still be sent to it.
    await tasks.nothing().catch(() => {});
    expect((await tasks.where()).pid).not.toBe(pid);
    expect(pool.statistics.process.deaths).toBe(1);
  });

  test('takes no signal that is meant for the daemon', async () => {
    await using pool = new TestPool({ processes: 1 });
    const tasks = pool.module<Fixture>(tasksFile, { isolation: 'process' });
    const { pid } = await tasks.where();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(pid, signal);
    expect((await tasks.where()).pid).toBe(pid);
  });
});
