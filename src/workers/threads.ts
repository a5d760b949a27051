import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { Piscina } from 'piscina';
import { workerEntry } from '../package-files.ts';
import { TaskDataError, WorkerDiedError } from './errors.ts';
import type { Backend, BackendListener } from './lane.ts';
import { List, type Place } from './list.ts';
import type { Task } from './task.ts';
import type { FromWorker, Request, ToWorker } from './wire.ts';

const BYTES_PER_MIB = 2 ** 20;

/** piscina's name for what a task tells its queue and its balancer: here, the `Task` itself. */
const queueOptions = Symbol.for('Piscina.queueOptions');

/** A task, and a worker, as piscina shows them. */
interface Queued {
  [queueOptions]?: Task | null;
}
interface Candidate {
  readonly id: number;
  readonly currentUsage: number;
}

/** The tasks that wait, as piscina wants them kept. */
class Waiting {
  readonly #list = new List<Queued>();

  get size(): number {
    return this.#list.size;
  }

  push(queued: Queued): void {
    this.#keep(queued, this.#list.push(queued));
  }

  /** Gives back one that has been shifted, as no thread is free. */
  unshift(queued: Queued): void {
    this.#keep(queued, this.#list.unshift(queued));
  }

  shift(): Queued | null {
    return this.#list.shift() ?? null;
  }

  remove(queued: Queued): void {
    const task = queued[queueOptions];
    if (task) this.drop(task);
  }

  drop(task: Task): void {
    if (task.waiting !== undefined) this.#list.remove(task.waiting);
    task.waiting = undefined;
  }

  #keep(queued: Queued, place: Place<Queued>): void {
    const task = queued[queueOptions];
    if (task) task.waiting = place;
  }
}

/** The messages of one thread beside piscina's: `read` counts the log lines that have been read. */
interface Connection {
  readonly port: MessagePort;
  readonly read: Int32Array;
}

/** @internal */
export interface ThreadsOptions {
  readonly threads: number;
  readonly maxHeapBytes: number | undefined;
  readonly listener: BackendListener;
}

/** Worker threads, on piscina, which is loaded with the first task. @internal */
export class Threads implements Backend {
  deaths = 0;
  readonly #options: ThreadsOptions;
  readonly #waiting = new Waiting();
  readonly #connections = new Map<number, Connection>();
  #opening: Promise<Piscina> | undefined;
  #pool: Piscina | undefined;
  /** Why the last thread ended that had no task. */
  #idleDeath: Error | undefined;

  constructor(options: ThreadsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#pool?.threads.length ?? 0;
  }

  run(task: Task): Promise<unknown> {
    if (this.#pool !== undefined) return this.#run(this.#pool, task);
    // Dropped meanwhile, it is not to run.
    return this.#open().then((pool) => (task.aborted ? undefined : this.#run(pool, task)));
  }

  drop(task: Task): void {
    this.#waiting.drop(task);
  }

  explain(error: Error, task: Task): Error {
    if (error.name === 'DataCloneError') return new TaskDataError(task.what, error);
    // What piscina says of the tasks of a pool that is destroyed.
    if (error.message === 'Terminating worker thread') return diedOf(this.#idleDeath ?? error);
    this.deaths += 1;
    // What it has said before comes first.
    const connection = this.#connections.get(task.thread);
    if (connection !== undefined) this.#drain(connection);
    this.#replace();
    // piscina's thread does not survive a result that it cannot send.
    const unsent = error.stack?.startsWith('DataCloneError') === true;
    return unsent ? new TaskDataError(task.what, error) : diedOf(error);
  }

  tell(task: Task, message: ToWorker): void {
    this.#connections.get(task.thread)?.port.postMessage(message);
  }

  kill(task: Task): void {
    const worker = this.#pool?.threads.find(({ threadId }) => threadId === task.thread);
    void worker?.terminate().then(() => this.#replace());
  }

  async close(): Promise<void> {
    for (const connection of this.#connections.values()) this.#drain(connection);
    const pool = await this.#opening;
    await pool?.destroy();
  }

  async #open(): Promise<Piscina> {
    this.#opening ??= import('piscina').then(({ Piscina }) => {
      const { threads, maxHeapBytes } = this.#options;
      const pool = new Piscina({
        filename: workerEntry('workers/thread'),
        name: 'run',
        minThreads: 0,
        maxThreads: threads,
        // A timer for each task costs more than a thread that waits.
        idleTimeout: Number.POSITIVE_INFINITY,
        recordTiming: false,
        stricterFIFO: true,
        taskQueue: this.#waiting as never,
        loadBalancer: (task, workers) => this.#assign(task as Queued, workers) as never,
        ...(maxHeapBytes !== undefined && {
          resourceLimits: { maxOldGenerationSizeMb: maxHeapBytes / BYTES_PER_MIB },
        }),
      });
      pool.on('message', ({ thread, ...connection }) => this.#connect(thread, connection));
      pool.on('error', (error: Error) => this.#onIdleDeath(pool, error));
      this.#pool = pool;
      return pool;
    });
    return await this.#opening;
  }

  #run(pool: Piscina, task: Task): Promise<unknown> {
    const request: Request & Queued = task.request;
    request[queueOptions] = task;
    return pool.run(request, { transferList: task.transferList as never });
  }

  #assign(queued: Queued, workers: readonly Candidate[]): Candidate | null {
    for (const worker of workers) {
      if (worker.currentUsage > 0) continue;
      const task = queued[queueOptions];
      if (task) {
        task.thread = worker.id;
        this.#options.listener.onBegin(task);
      }
      return worker;
    }
    return null;
  }

  #connect(thread: number, connection: Connection): void {
    const { port, read } = connection;
    this.#connections.set(thread, connection);
    port.on('message', (message: FromWorker) => this.#receive(message, read));
    port.on('close', () => this.#connections.delete(thread));
    port.unref();
  }

  /** Takes what waits to be read. */
  #drain({ port, read }: Connection): void {
    for (;;) {
      const left = receiveMessageOnPort(port);
      if (left === undefined) return;
      this.#receive(left.message, read);
    }
  }

  #receive(message: FromWorker, read: Int32Array): void {
    if (message.kind === 'log') Atomics.add(read, 0, 1);
    this.#options.listener.onMessage(message);
  }

  /** piscina starts a thread for a task that comes, not for those that wait: an empty one comes. */
  #replace(): void {
    if (this.#waiting.size > 0) this.#pool?.run(undefined).catch(() => {});
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

function diedOf(error: Error): WorkerDiedError {
  const code = /^worker exited with code: (\d+)$/.exec(error.message)?.[1];
  if (code !== undefined) return new WorkerDiedError(`exit code ${code}`);
  return 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY'
    ? new WorkerDiedError('out of memory', { cause: error })
    : new WorkerDiedError(`an uncaught error: ${error.message}`, { cause: error });
}
