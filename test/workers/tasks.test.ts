import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Isolation, TaskDataError, WorkerInitError } from 'bosun';
import { describe, expect, onTestFinished, test } from 'vitest';
import { tenant } from './fixtures/tenant.ts';
import { TestPool, tasksFile } from './support.ts';

type Fixture = typeof import('./fixtures/tasks.ts');

describe.each<Isolation>(['thread', 'process'])('tasks on a %s', (isolation) => {
  const tasksOf = (pool: TestPool) => pool.module<Fixture>(tasksFile, { isolation });

  test('are called with any number of arguments, and give their results', async () => {
    await using pool = new TestPool();
    const tasks = tasksOf(pool);
    expect(await tasks.add(1, 2)).toBe(3);
    expect(await tasks.add(1, 2, 3, 4)).toBe(10);
    expect(await tasks.nothing()).toBeUndefined();
    const value = { date: new Date(0), map: new Map([['a', 1n]]), bytes: new Uint8Array([1, 2]) };
    expect(await tasks.anything(value)).toEqual(value);
    expect(value.bytes.byteLength).toBe(2);
  });

  test('run outside of the main thread', async () => {
    await using pool = new TestPool();
    const { pid, threadId } = await tasksOf(pool).where();
    if (isolation === 'thread') expect(threadId).not.toBe(0);
    else expect(pid).not.toBe(process.pid);
  });

  test('throw what the function throws: name, message, stack, code, fields and causes', async () => {
    await using pool = new TestPool();
    const error = (await tasksOf(pool)
      .fail()
      .catch((thrown) => thrown)) as Error & { detail: unknown };
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({
      name: 'Refused',
      message: 'from the worker',
      code: 'ERR_REFUSED',
      detail: { limit: 3 },
    });
    expect(error).not.toHaveProperty('notCloneable');
    expect(error.stack).toContain('tasks.ts');
    expect(error.cause).toBeInstanceOf(TypeError);
    expect(error.cause).toMatchObject({ message: 'below', cause: 'the bottom' });
  });

  test.each([
    ['text', 'a text', 'a text'],
    ['nothing', undefined, undefined],
    ['an object', { a: 1 }, { a: 1 }],
  ])('throw %s', async (_what, thrown, expected) => {
    await using pool = new TestPool();
    const given = await tasksOf(pool)
      .failWith(thrown)
      .then(
        () => expect.unreachable(),
        (error) => error,
      );
    if (typeof expected === 'object') expect(given).toMatchObject(expected);
    else expect(given).toBe(expected);
  });

  test('may give what is awaited like a promise', async () => {
    await using pool = new TestPool();
    expect(await tasksOf(pool).lazy(false)).toBe('late');
    await expect(tasksOf(pool).lazy(true)).rejects.toMatchObject({ name: 'Refused', message: 'late' });
  });

  test('throw several errors together', async () => {
    await using pool = new TestPool();
    const error = (await tasksOf(pool)
      .failTogether()
      .catch((given) => given)) as AggregateError;
    expect(error).toBeInstanceOf(AggregateError);
    expect(error.errors).toEqual([expect.any(RangeError)]);
  });

  test('survive an error that is its own cause', async () => {
    await using pool = new TestPool();
    await expect(tasksOf(pool).failInACircle()).rejects.toThrow('round');
  });

  test('refuse what cannot be copied: arguments, results and items', async () => {
    await using pool = new TestPool();
    const tasks = tasksOf(pool);
    await expect(tasks.anything(() => {})).rejects.toThrow(TaskDataError);
    await expect(tasks.uncloneable()).rejects.toMatchObject({ code: 'ERR_TASK_DATA' });
    const items = tasks.givesAFunction()[Symbol.asyncIterator]();
    await expect(items.next()).rejects.toMatchObject({ code: 'ERR_TASK_DATA' });
    expect(await tasks.add(1, 2)).toBe(3);
  });

  test('that do not exist are errors that say so', async () => {
    await using pool = new TestPool();
    const tasks = tasksOf(pool) as unknown as Record<string, () => Promise<void>>;
    await expect(tasks.version?.()).rejects.toMatchObject({ code: 'ERR_NO_SUCH_TASK', message: /"version"/ });
    await expect(tasks.nowhere?.()).rejects.toMatchObject({ code: 'ERR_NO_SUCH_TASK' });
    const missing = pool.module<Fixture>(new URL('./missing.ts', import.meta.url), { isolation });
    await expect(missing.nothing()).rejects.toMatchObject({ code: 'ERR_MODULE_NOT_FOUND' });
    expect(() => pool.module('./tasks.ts')).toThrow(TypeError);
  });

  test('see the values that are carried, and no others', async () => {
    await using pool = new TestPool();
    const tasks = tasksOf(pool);
    expect(await tenant.run({ id: 'acme' }, () => tasks.tenantOf())).toEqual({ id: 'acme' });
    expect(await tasks.tenantOf()).toBeUndefined();
  });

  test('wait for the init of their module; one that fails is named, and tried by the next task', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'bosun-workers-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    process.env.INIT_FILE = join(folder, 'left');
    await writeFile(process.env.INIT_FILE, '2');
    await using pool = new TestPool({ threads: 1, processes: 1 });
    const tasks = pool.module<typeof import('./fixtures/with-init.ts')>(
      new URL('./fixtures/with-init.ts', import.meta.url),
      { isolation },
    );
    const error = await tasks.initialisations().catch((thrown) => thrown);
    expect(error).toBeInstanceOf(WorkerInitError);
    expect(error).toMatchObject({ code: 'ERR_WORKER_INIT', cause: { message: '2 to go' } });
    await expect(tasks.initialisations()).rejects.toThrow('1 to go');
    expect(await Promise.all([tasks.initialisations(), tasks.initialisations()])).toEqual([1, 1]);
    expect(await tasks.initialisations()).toBe(1);
  });

  test('are counted', async () => {
    await using pool = new TestPool();
    const tasks = tasksOf(pool);
    await tasks.add(1, 2);
    await tasks.fail().catch(() => {});
    const aborted = tasks.with({ signal: AbortSignal.abort() }).nothing();
    await expect(aborted).rejects.toThrow('aborted');
    expect(pool.statistics[isolation]).toMatchObject({
      workers: 1,
      busy: 0,
      queued: 0,
      done: 1,
      failed: 1,
      aborted: 1,
      deaths: 0,
      waitMs: expect.any(Number),
      runMs: expect.any(Number),
    });
    expect(pool.statistics[isolation].waitMs).toBeGreaterThan(0);
  });
});

test('a proxy of tasks is no promise', async () => {
  await using pool = new TestPool();
  const tasks = pool.module<Fixture>(tasksFile);
  expect(await Promise.resolve(tasks)).toBe(tasks);
  expect(pool.statistics.thread.workers).toBe(0);
});
