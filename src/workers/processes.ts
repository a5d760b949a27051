import { type ChildProcess, fork } from 'node:child_process';
import { toError } from '../errors.ts';
import { workerEntry } from './entry.ts';
import { TaskDataError, WorkerDiedError } from './errors.ts';
import type { Backend } from './queue.ts';
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
  readonly maxHeapBytes: number | undefined;
  readonly onMessage: (message: FromWorker) => void;
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

  constructor({ maxHeapBytes, onMessage }: ProcessesOptions, onIdle: (worker: Worker) => void) {
    const heap =
      maxHeapBytes === undefined ? [] : [`--max-old-space-size=${Math.ceil(maxHeapBytes / BYTES_PER_MIB)}`];
    this.child = fork(workerEntry('child'), [], {
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
        onIdle(this);
        if (message.kind === 'done') work?.resolve(message.value);
        else work?.reject(message.error);
      } else onMessage(message);
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
  readonly #idle: Worker[] = [];

  constructor(options: ProcessesOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#workers.size;
  }

  run(task: Task): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const worker = this.#idle.pop() ?? this.#add();
      worker.work = { task, resolve, reject };
      worker.hold(true);
      try {
        worker.child.send({ kind: 'run', request: task.request() } satisfies ToChild);
      } catch (error) {
        worker.work = undefined;
        this.#onIdle(worker);
        reject(new TaskDataError(task.name, toError(error)));
      }
    });
  }

  tell(message: ToWorker): void {
    this.#workerOf(message.task)?.child.send(message);
  }

  kill(task: Task): void {
    this.#workerOf(task.id)?.child.kill('SIGKILL');
  }

  async close(): Promise<void> {
    const workers = [...this.#workers];
    for (const { child } of workers) child.kill('SIGKILL');
    await Promise.all(workers.map(({ exited }) => exited));
  }

  #workerOf(task: number): Worker | undefined {
    return [...this.#workers].find(({ work }) => work?.task.id === task);
  }

  #add(): Worker {
    const worker = new Worker(this.#options, (idle) => this.#onIdle(idle));
    this.#workers.add(worker);
    void worker.exited.then(() => {
      this.#workers.delete(worker);
      if (!worker.child.killed) this.deaths += 1;
      const at = this.#idle.indexOf(worker);
      if (at !== -1) this.#idle.splice(at, 1);
    });
    return worker;
  }

  #onIdle(worker: Worker): void {
    worker.hold(false);
    this.#idle.push(worker);
  }
}
