import type { Isolation } from 'bosun';
import { describe, expect, test } from 'vitest';
import { WINDOW } from '../../src/workers/stream.ts';
import { drained, Gate, TestPool, tasksFile } from './support.ts';

type Fixture = typeof import('./fixtures/tasks.ts');

async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe.each<Isolation>(['thread', 'process'])('a generator on a %s', (isolation) => {
  const tasksOf = (pool: TestPool) => pool.module<Fixture>(tasksFile, { isolation });
  const toHundred = Array.from({ length: 100 }, (_, i) => i + 1);

  test('gives its items in order: synchronous, asynchronous, or promised', async () => {
    await using pool = new TestPool({ threads: 1, processes: 1 });
    const tasks = tasksOf(pool);
    expect(await collect(tasks.count(100))).toEqual(toHundred);
    expect(await collect(tasks.countAsync(100))).toEqual(toHundred);
    expect(await collect(await tasks.counter(100))).toEqual(toHundred);
    expect(await collect(tasks.count(0))).toEqual([]);
  });

  test('gives as many items as are asked for at once', async () => {
    await using pool = new TestPool();
    const items = tasksOf(pool).count(40)[Symbol.asyncIterator]();
    const results = await Promise.all(Array.from({ length: 42 }, () => items.next()));
    expect(results.map(({ value }) => value)).toEqual([...toHundred.slice(0, 40), undefined, undefined]);
  });

  test('throws what it throws, after its items, once', async () => {
    await using pool = new TestPool();
    const items = tasksOf(pool).breaks()[Symbol.asyncIterator]();
    expect(await items.next()).toEqual({ done: false, value: 1 });
    expect(await items.next()).toEqual({ done: false, value: 2 });
    await expect(items.next()).rejects.toMatchObject({ name: 'Refused', message: 'broke' });
    expect(await items.next()).toEqual({ done: true, value: undefined });
    await drained(pool);
    expect(pool.statistics[isolation]).toMatchObject({ failed: 1, done: 0 });
  });

  test('throws what its finally throws to who leaves it', async () => {
    await using pool = new TestPool();
    const leave = async () => {
      for await (const _ of tasksOf(pool).breaksAtTheEnd()) break;
    };
    await expect(leave()).rejects.toThrow('in finally');
  });

  test('ends with the abort of its caller', async () => {
    await using pool = new TestPool({ threads: 1, processes: 1 });
    const controller = new AbortController();
    const items = tasksOf(pool).with({ signal: controller.signal }).endless()[Symbol.asyncIterator]();
    expect(await items.next()).toEqual({ done: false, value: 1 });
    const pending = items.next();
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(pending).rejects.toBe(reason);
    expect(await tasksOf(pool).add(1, 2)).toBe(3);
    expect(pool.statistics[isolation]).toMatchObject({ aborted: 1, busy: 0, deaths: 0 });
  });

  test('that nobody has begun to read can be left', async () => {
    await using pool = new TestPool({ threads: 1, processes: 1 });
    const items = tasksOf(pool).count(3)[Symbol.asyncIterator]();
    expect(await items.return?.()).toEqual({ done: true, value: undefined });
    expect(await items.next()).toEqual({ done: true, value: undefined });
    expect(await tasksOf(pool).add(1, 2)).toBe(3);
  });

  test('is what for await takes; a function is not', async () => {
    await using pool = new TestPool();
    const tasks = tasksOf(pool);
    const wrong = tasks.add(1, 2) as unknown as AsyncIterable<number>;
    await expect(collect(wrong)).rejects.toThrow('the task is no generator: it gave 3');
  });

  test('is awaited by a close', async () => {
    await using pool = new TestPool();
    const items = tasksOf(pool).count(50)[Symbol.asyncIterator]();
    await items.next();
    const closed = drained(pool);
    const rest: number[] = [];
    for (let step = await items.next(); !step.done; step = await items.next()) rest.push(step.value);
    await closed;
    expect(rest).toEqual(toHundred.slice(1, 50));
  });
});

test('a generator on a thread is no further ahead than the window, and is ended when its reader leaves', async () => {
  await using pool = new TestPool({ threads: 1 });
  const tasks = pool.module<Fixture>(tasksFile);
  const { words: progress } = new Gate();
  let read = 0;
  for await (const item of tasks.count(10_000, progress)) {
    read += 1;
    expect(item).toBe(read);
    expect(Atomics.load(progress, 0)).toBeLessThanOrEqual(read + WINDOW);
    if (read === 100) break;
  }
  // Its finally has run, and its thread is free.
  expect(Atomics.load(progress, 1)).toBe(1);
  expect(await tasks.add(1, 2)).toBe(3);
});
