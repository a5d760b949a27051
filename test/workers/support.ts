import { systemClock, type Tasks } from 'bosun';
import { WorkerPool, type WorkerPoolOptions } from '../../src/workers/pool.ts';

const never = new AbortController().signal;

/** Workers of a test, ended at the end of the block. */
export class TestPool extends WorkerPool implements AsyncDisposable {
  constructor(options: Partial<WorkerPoolOptions> = {}) {
    super({ threads: 2, processes: 2, maxQueued: 100, clock: systemClock, ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close(AbortSignal.abort());
  }
}

export const tasksFile = new URL('./fixtures/tasks.ts', import.meta.url);
export type TestTasks = Tasks<typeof import('./fixtures/tasks.ts')>;

/** Ends a pool gracefully. */
export const drained = (pool: WorkerPool) => pool.close(never);

/** A gate that blocks tasks on threads; see `block`. */
export class Gate {
  readonly words = new Int32Array(new SharedArrayBuffer(3 * Int32Array.BYTES_PER_ELEMENT));

  /** Resolves when `tasks` tasks have come to it. */
  async reached(tasks: number): Promise<void> {
    for (let there = Atomics.load(this.words, 1); there < tasks; there = Atomics.load(this.words, 1)) {
      await Atomics.waitAsync(this.words, 1, there).value;
    }
  }

  open(): void {
    Atomics.store(this.words, 0, 1);
    Atomics.notify(this.words, 0);
  }
}
