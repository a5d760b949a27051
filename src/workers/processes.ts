import { type ChildProcess, fork } from 'node:child_process';
import { toError } from '../errors.ts';
import { workerEntry } from '../package-files.ts';
import { TaskDataError, WorkerDiedError } from './errors.ts';
import type { Backend, BackendListener } from './lane.ts';
import type { Task } from './task.ts';
import { type Thrown, unpack } from './thrown.ts';
import type { FromWorker, Request, ToWorker } from './wire.ts';

const BYTES_PER_MIB = 2 ** 20;

/** @internal */
export type ToChild = { readonly kind: 'run'; readonly request: Request } | ToWorker;

/** @internal */
export type FromChild =
  | FromWorker
  | { readonly kind: 'done'; readonly task: number; readonly value: unknown }
  | { readonly kind: 'failed'; readonly task: number; readonly error: Thrown }
  | { readonly kind: 'died'; readonly error: Thrown };

/** @internal */
export interface ProcessesOptions {
  readonly processes: number;
  readonly maxHeapBytes: number | undefined;
  readonly listener: BackendListener;
}

interface Work {
  readonly task: Task;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** A worker process. */
class Worker {
  readonly child: ChildProcess;
  readonly exited: Promise<void>;
  work: Work | undefined;

  constructor({ maxHeapBytes, listener }: ProcessesOptions, onIdle: () => void) {
    const heap =
      maxHeapBytes === undefined ? [] : [`--max-old-space-size=${Math.ceil(maxHeapBytes / BYTES_PER_MIB)}`];
    this.child = fork(workerEntry('workers/child'), [], {
      serialization: 'advanced',
      // The daemon's debugger has its port.
      execArgv: [...process.execArgv.filter((flag) => !flag.startsWith('--inspect')), ...heap],
    });
    const exited = Promise.withResolvers<void>();
    this.exited = exited.promise;
    let uncaught: unknown;
    this.child.on('message', (message: FromChild) => {
      if (message.kind === 'died') uncaught = unpack(message.error);
      else if (message.kind === 'done' || message.kind === 'failed') {
        const { work } = this;
        this.work = undefined;
        onIdle();
        if (message.kind === 'done') work?.resolve(message.value);
        else work?.reject(message.error);
      } else listener.onMessage(message);
    });
    const onEnd = (reason: string, cause?: unknown) => {
      this.work?.reject(new WorkerDiedError(reason, { cause }));
      this.work = undefined;
      exited.resolve();
    };
    this.child.on('error', (error) => onEnd(error.message, error));
    this.child.on('exit', (code, signal) => {
      const reason =
        uncaught === undefined
          ? (signal ?? `exit code ${code}`)
          : `an uncaught error: ${toError(uncaught).message}`;
      if (this.child.connected) this.child.once('disconnect', () => onEnd(reason, uncaught));
      else onEnd(reason, uncaught);
    });
  }

  /** Whether it keeps the daemon's process alive: only while it works. */
  hold(held: boolean): void {
    this.child[held ? 'ref' : 'unref']();
    this.child.channel?.[held ? 'ref' : 'unref']();
  }
}

/** Worker processes, forked when they are needed. @internal */
export class Processes implements Backend {
  deaths = 0;
  readonly #options: ProcessesOptions;
  readonly #workers = new Set<Worker>();
  readonly #idle = new Set<Worker>();
  readonly #waiting = new Map<Task, Work>();

  constructor(options: ProcessesOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#workers.size;
  }

  run(task: Task): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(task, { task, resolve, reject });
      this.#next();
    });
  }

  drop(task: Task): void {
    this.#waiting.delete(task);
  }

  explain(error: Error): Error {
    return error;
  }

  tell(task: Task, message: ToWorker): void {
    this.#workerOf(task)?.child.send(message);
  }

  kill(task: Task): void {
    this.#workerOf(task)?.child.kill('SIGKILL');
  }

  async close(): Promise<void> {
    const workers = [...this.#workers];
    for (const { child } of workers) child.kill('SIGKILL');
    await Promise.all(workers.map(({ exited }) => exited));
  }

  #next(): void {
    const [first] = this.#waiting;
    if (first === undefined) return;
    const [task, work] = first;
    const [idle] = this.#idle;
    if (idle === undefined && this.#workers.size >= this.#options.processes) return;
    this.#waiting.delete(task);
    const worker = idle ?? this.#add();
    this.#idle.delete(worker);
    worker.work = work;
    worker.hold(true);
    this.#options.listener.onBegin(task);
    try {
      worker.child.send({ kind: 'run', request: task.request } satisfies ToChild);
    } catch (error) {
      worker.work = undefined;
      work.reject(new TaskDataError(task.what, toError(error)));
      this.#onIdle(worker);
    }
  }

  #workerOf(task: Task): Worker | undefined {
    return [...this.#workers].find(({ work }) => work?.task === task);
  }

  #add(): Worker {
    const worker = new Worker(this.#options, () => this.#onIdle(worker));
    this.#workers.add(worker);
    void worker.exited.then(() => {
      if (!worker.child.killed) this.deaths += 1;
      this.#workers.delete(worker);
      this.#idle.delete(worker);
      this.#next();
    });
    return worker;
  }

  #onIdle(worker: Worker): void {
    worker.hold(false);
    this.#idle.add(worker);
    this.#next();
  }
}
