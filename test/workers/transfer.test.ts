import { transfer } from 'bosun';
import { expect, test } from 'vitest';
import { TestPool, tasksFile } from './support.ts';

type Fixture = typeof import('./fixtures/tasks.ts');

test('a buffer that is transferred leaves its place: an argument, a result, an item', async () => {
  await using pool = new TestPool({ threads: 1 });
  const tasks = pool.module<Fixture>(tasksFile);
  const bytes = new Uint8Array([1, 2, 3]);
  expect(await tasks.double(transfer(bytes))).toEqual(new Uint8Array([2, 4, 6]));
  expect(bytes.byteLength).toBe(0);

  expect((await tasks.giveAway()).byteLength).toBe(8);
  expect(await tasks.leftHere()).toBe(0);

  const sums: number[] = [];
  for await (const chunk of tasks.chunks()) sums.push(chunk.reduce((sum, byte) => sum + byte, 0));
  expect(sums).toEqual([0, 1_000, 2_000]);
});

test('only what is listed moves; without a word all is copied', async () => {
  await using pool = new TestPool();
  const tasks = pool.module<Fixture>(tasksFile);
  const [moved, copied] = [new ArrayBuffer(8), new ArrayBuffer(8)];
  await tasks.anything(transfer({ moved, copied }, [moved]));
  expect([moved.byteLength, copied.byteLength]).toEqual([0, 8]);
  await tasks.anything({ copied });
  expect(copied.byteLength).toBe(8);
  const { a, b } = await tasks.nested(16);
  expect([a.byteLength, b.byteLength]).toEqual([16, 16]);
});

test('what cannot move is refused, and its task does not begin', async () => {
  await using pool = new TestPool();
  const tasks = pool.module<Fixture>(tasksFile);
  await expect(tasks.anything(transfer({ not: 'transferable' }))).rejects.toMatchObject({
    code: 'ERR_TASK_DATA',
  });
  expect(await tasks.add(1, 2)).toBe(3);
});

test('between processes a transfer is a copy', async () => {
  await using pool = new TestPool();
  const tasks = pool.module<Fixture>(tasksFile, { isolation: 'process' });
  const bytes = new Uint8Array([1, 2, 3]);
  expect(await tasks.double(transfer(bytes))).toEqual(new Uint8Array([2, 4, 6]));
  expect(bytes.byteLength).toBe(3);
});
