import { describe, expect, test } from 'vitest';
import { WorkerPool } from '../../src/workers/pool.ts';
import { Bench, Probe } from '../support/probe.ts';

const module = new URL('./tasks.mjs', import.meta.url);
const never = new AbortController().signal;

describe('the worker threads', () => {
  test('call a function of a module by name and give its result; what it throws is thrown', async () => {
    const pool = new WorkerPool(1);
    expect(await pool.run(module, 'add', { a: 1, b: 2 })).toBe(3);
    await expect(pool.run(module, 'fail')).rejects.toThrow('from the worker');
    await pool.close(never);
  });

  test('end a task that is aborted, with the reason of the signal; an aborted one never begins', async () => {
    const pool = new WorkerPool(1);
    await pool.run(module, 'add', { a: 1, b: 2 });
    const controller = new AbortController();
    const running = pool.run(module, 'spin', undefined, { signal: controller.signal });
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(running).rejects.toBe(reason);
    await expect(pool.run(module, 'spin', undefined, { signal: controller.signal })).rejects.toBe(reason);
    await pool.close(never);
  });

  test('a close waits for what runs, and refuses what comes after; unused it does nothing', async () => {
    const pool = new WorkerPool(1);
    const running = pool.run(module, 'later', 'done');
    await pool.run(module, 'add', { a: 1, b: 2 });
    await pool.close(never);
    expect(await running).toBe('done');
    await expect(pool.run(module, 'add', {})).rejects.toThrow('the worker threads have been stopped');
    await new WorkerPool(1).close(never);
  });

  test('a forced close ends what runs', async () => {
    const pool = new WorkerPool(2);
    const force = new AbortController();
    const running = pool.run(module, 'spin').catch((error) => error);
    await pool.run(module, 'add', { a: 1, b: 2 });
    const closed = pool.close(force.signal);
    force.abort();
    await closed;
    expect(await running).toBeInstanceOf(Error);
  });

  test("are a service's by its scope, and end with the entrypoint", async () => {
    let sum: unknown;
    const a = new Probe(
      'a',
      {},
      {
        start: async ({ workers }) => {
          sum = await workers.run(module, 'add', { a: 2, b: 3 });
        },
      },
    );
    const bench = new Bench([a]);
    await bench.daemon.start();
    expect(sum).toBe(5);
    const { workers } = a.scope;
    await bench.daemon.stop();
    await expect(workers.run(module, 'add', {})).rejects.toThrow('stopped');
  });
});
