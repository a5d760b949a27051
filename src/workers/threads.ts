import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { Piscina } from 'piscina';
import { toError } from '../errors.ts';
import { workerEntry } from './entry.ts';
import { TaskDataError, WorkerDiedError } from './errors.ts';
import type { Backend } from './queue.ts';
import type { Task } from './task.ts';
import type { FromWorker, ToWorker } from './wire.ts';

const BYTES_PER_MIB = 2 ** 20;
/** How long a thread that has nothing to do is kept. */
const IDLE_MS = 30_000;

/** What piscina needs of an AbortSignal: a real one costs each task more. */
class Kill {
  aborted = false;
  readonly reason = undefined;
  #listener: (() => void) | undefined;

  addEventListener(_type: 'abort', listener: () => void): void {
    this.#listener = listener;
  }

  removeEventListener(): void {
    this.#listener = undefined;
  }

  abort(): void {
    this.aborted = true;
    this.#listener?.();
  }
}

/** @internal */
export interface ThreadsOptions {
  readonly threads: number;
  readonly maxHeapBytes: number | undefined;
  readonly onMessage: (message: FromWorker) => void;
}

/** Worker threads, on piscina, which is loaded with the first task. @internal */
export class Threads implements Backend {
  deaths = 0;
  readonly #options: ThreadsOptions;
  readonly #ports = new Map<MessagePort, Int32Array>();
  readonly #kills = new Map<Task, Kill>();
  #opening: Promise<Piscina> | undefined;
  #pool: Piscina | undefined;
  #idleDeath: Error | undefined;

  constructor(options: ThreadsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#pool?.threads.length ?? 0;
  }

  async run(task: Task): Promise<unknown> {
    const pool = this.#pool ?? (await this.#open());
    const kill = task.call === undefined ? undefined : new Kill();
    if (kill !== undefined) this.#kills.set(task, kill);
    try {
      return await pool.run(task.request(), {
        transferList: task.transferList() as never,
        ...(kill !== undefined && { signal: kill }),
      });
    } catch (error) {
      // What a task throws is packed, and no Error.
      throw error instanceof Error ? this.#deathOf(error, task) : error;
    } finally {
      if (kill !== undefined) this.#kills.delete(task);
    }
  }

  tell(message: ToWorker): void {
    // Which thread runs a task is not known here: the others do not know the task.
    for (const port of this.#ports.keys()) port.postMessage(message);
  }

  kill(task: Task): void {
    this.#kills.get(task)?.abort();
  }

  async close(): Promise<void> {
    await this.#pool?.destroy();
    for (const [port, read] of this.#ports) {
      for (;;) {
        const left = receiveMessageOnPort(port);
        if (left === undefined) break;
        this.#receive(left.message, read);
      }
      port.close();
    }
  }

  async #open(): Promise<Piscina> {
    this.#opening ??= import('piscina').then(({ Piscina }) => {
      const { threads, maxHeapBytes } = this.#options;
      const pool = new Piscina({
        filename: workerEntry('thread'),
        name: 'run',
        minThreads: 0,
        maxThreads: threads,
        idleTimeout: IDLE_MS,
        recordTiming: false,
        ...(maxHeapBytes !== undefined && {
          resourceLimits: { maxOldGenerationSizeMb: maxHeapBytes / BYTES_PER_MIB },
        }),
      });
      pool.on('message', ({ port, read }) => this.#connect(port, read));
      pool.on('error', (error: Error) => this.#onIdleDeath(pool, error));
      this.#pool = pool;
      return pool;
    });
    return await this.#opening;
  }

  #connect(port: MessagePort, read: Int32Array): void {
    this.#ports.set(port, read);
    port.on('message', (message: FromWorker) => this.#receive(message, read));
    port.on('close', () => this.#ports.delete(port));
    port.unref();
  }

  #receive(message: FromWorker, read: Int32Array): void {
    if (message.kind === 'log') Atomics.add(read, 0, 1);
    this.#options.onMessage(message);
  }

  #deathOf(error: Error, task: Task): Error {
    if (error.name === 'DataCloneError') return new TaskDataError(task.name, error);
    if (error.message === 'Terminating worker thread') return diedOf(this.#idleDeath ?? error);
    if (!task.aborted) this.deaths += 1;
    const code = /^worker exited with code: (\d+)$/.exec(error.message)?.[1];
    if (code !== undefined) return new WorkerDiedError(`exit code ${code}`);
    return diedOf(error);
  }

  /** A thread died without a task, or before its first: piscina would let that wait for ever. */
  #onIdleDeath(pool: Piscina, error: Error): void {
    this.deaths += 1;
    this.#idleDeath = error;
    if (pool.threads.length > 0) return;
    this.#pool = undefined;
    this.#opening = undefined;
    void pool.destroy();
  }
}

const diedOf = (error: Error) =>
  'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY'
    ? new WorkerDiedError('out of memory', { cause: error })
    : new WorkerDiedError(`an uncaught error: ${toError(error).message}`, { cause: error });
