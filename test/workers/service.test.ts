import { Entrypoint, entrypoint, OptionsError, type Scope, Service, threaded } from 'bosun';
import { expect, test } from 'vitest';
import { Gate, tasksFile } from './support.ts';

type Fixture = typeof import('./fixtures/tasks.ts');

const tasks = threaded<Fixture>(tasksFile);
const inProcesses = threaded<Fixture>(tasksFile, { isolation: 'process' });

/** A service that does something when it is started. */
class Doer extends Service {
  readonly #work: (scope: Scope) => Promise<unknown>;

  constructor(name: string, work: (scope: Scope) => Promise<unknown>) {
    super({ name });
    this.#work = work;
  }

  override async start(scope: Scope): Promise<void> {
    await this.#work(scope);
  }
}

const options = {
  log: { level: 'silent' },
  ownsProcess: false,
  workers: { threads: 2, processes: 1 },
} as const;

test("a service calls tasks by its scope, or by a module's threaded functions; both end with the entrypoint", async () => {
  let scope: Scope | undefined;
  let results: unknown[] = [];
  const doer = new Doer('doer', async (given) => {
    scope = given;
    const { add } = given.workers.module<Fixture>(tasksFile);
    results = await Promise.all([add(1, 2), tasks.add(3, 4), inProcesses.add(5, 6)]);
  });
  const daemon = await entrypoint([doer], options);
  expect(results).toEqual([3, 7, 11]);
  const statistics = () => scope?.workers.statistics;
  expect(statistics()).toMatchObject({ thread: { done: 2 }, process: { done: 1, workers: 1 } });
  await daemon.stop();
  expect(statistics()).toMatchObject({ thread: { workers: 0 }, process: { workers: 0 } });
  await expect(scope?.workers.module<Fixture>(tasksFile).nothing()).rejects.toMatchObject({
    code: 'ERR_WORKERS_STOPPED',
  });
});

test('a threaded function needs a service around it', async () => {
  await expect(tasks.add(1, 2)).rejects.toMatchObject({ code: 'ERR_NO_WORKERS' });
});

test('two functions that block run at the same time, and the main thread stays free', async () => {
  const gate = new Gate();
  const doer = new Doer('doer', async () => {
    const both = [tasks.block(gate.words), tasks.block(gate.words)];
    await gate.reached(2);
    gate.open();
    const [one, other] = await Promise.all(both);
    expect(one).not.toBe(other);
  });
  await using _daemon = await entrypoint([doer], options);
});

test('a long computation on a worker does not hold up the event loop', async () => {
  const to = 10_000_000;
  const turns = { here: 0 };
  const doer = new Doer('doer', async () => {
    await tasks.nothing();
    let over = false;
    const sum = tasks.sumOfSquares(to).finally(() => {
      over = true;
    });
    while (!over) {
      turns.here += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await sum).toBeCloseTo((to * (to - 1) * (2 * to - 1)) / 6, -12);
  });
  await using _daemon = await entrypoint([doer], options);
  // While it is computed the loop turns on.
  expect(turns.here).toBeGreaterThan(10);
});

test('a stop waits for the tasks, and the budget of the shutdown ends them', async () => {
  const gate = new Gate();
  let blocked: Promise<unknown> | undefined;
  let spinning: Promise<unknown> | undefined;
  const doer = new Doer('doer', async () => {
    blocked = tasks.block(gate.words);
    spinning = tasks.spin(gate.words);
    spinning.catch(() => {});
    await gate.reached(2);
  });
  const daemon = await entrypoint([doer], options);
  const stopped = daemon.stop().catch((error) => error);
  gate.open();
  expect(await blocked).toBeGreaterThan(0);
  void daemon.abort('enough').catch(() => {});
  await expect(spinning).rejects.toMatchObject({ code: 'ERR_WORKERS_STOPPED' });
  await stopped;
  expect((await daemon.closed).exitCode).toBe(70);
});

test('their settings are checked', () => {
  const make = (workers: object) => () => new Entrypoint([], { workers });
  expect(make({ threads: 1, processes: 1, maxQueued: 0, maxHeapBytes: 2 ** 24 })).not.toThrow();
  expect(make({ processes: 0 })).toThrow('option "workers.processes" must be at least 1, received 0');
  expect(make({ maxQueued: -1 })).toThrow(OptionsError);
  expect(make({ maxHeapBytes: 2 ** 20 })).toThrow('must be at least 16 MiB');
});
