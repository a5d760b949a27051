import type { Isolation } from 'bosun';
import { describe, expect, test } from 'vitest';
import { TestPool, tasksFile } from './support.ts';

describe.each<Isolation>(['thread', 'process'])('tasks on a %s', (isolation) => {
  const open = (options = {}) => {
    const pool = new TestPool(options);
    const tasks = pool.module<typeof import('./fixtures/tasks.ts')>(tasksFile, { isolation });
    return { pool, tasks, [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose]() };
  };

  test('are called with any number of arguments, and give their results', async () => {
    await using opened = open();
    const { tasks } = opened;
    expect(await tasks.add(1, 2)).toBe(3);
    expect(await tasks.add(1, 2, 3, 4)).toBe(10);
    expect(await tasks.nothing()).toBeUndefined();
  });
  test('stream', async () => {
    await using opened = open();
    const { tasks } = opened;
    const items = [];
    for await (const item of tasks.count(100)) items.push(item);
    expect(items.length).toBe(100);
  });
  test('fail', async () => {
    await using opened = open();
    const { tasks } = opened;
    await expect(tasks.fail()).rejects.toMatchObject({
      name: 'Refused',
      code: 'ERR_REFUSED',
      detail: { limit: 3 },
    });
  });
});
