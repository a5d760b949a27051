import { surroundings } from '../call.ts';
import type { Clock } from '../clock.ts';
import { logFields } from '../logging/fields.ts';
import type { Logger } from '../service.ts';
import { runOf } from '../supervisor/run.ts';
import { carried } from './carry.ts';
import { tasksOf } from './module.ts';
import { Processes } from './processes.ts';
import { TaskQueue } from './queue.ts';
import { Threads } from './threads.ts';
import { unpack } from './thrown.ts';
import type { FromWorker, LogLine, StreamStep } from './wire.ts';
import type { Isolation, ModuleOptions, TaskOptions, Tasks, WorkerStatistics, Workers } from './workers.ts';

/** @internal */
export interface WorkerPoolOptions {
  readonly threads: number;
  readonly processes: number;
  readonly maxQueued: number;
  readonly maxHeapBytes?: number | undefined;
  readonly clock: Clock;
}

/** The entrypoint's worker threads and processes. @internal */
export class WorkerPool implements Workers {
  readonly #queues: Readonly<Record<Isolation, TaskQueue>>;
  /** Of the services that have called tasks: workers name them by their place. */
  readonly #loggers: Logger[] = [];
  readonly #loggerNumbers = new Map<string, number>();

  constructor({ threads, processes, maxQueued, maxHeapBytes, clock }: WorkerPoolOptions) {
    const listener = (onStep: (step: StreamStep) => void) => (message: FromWorker) =>
      message.kind === 'log' ? this.#log(message) : onStep(message);
    this.#queues = {
      thread: new TaskQueue(
        { limit: threads, maxQueued, clock },
        (onStep) => new Threads({ threads, maxHeapBytes, onMessage: listener(onStep) }),
      ),
      process: new TaskQueue(
        { limit: processes, maxQueued, clock },
        (onStep) => new Processes({ maxHeapBytes, onMessage: listener(onStep) }),
      ),
    };
  }

  module<Module extends object>(
    url: URL | string,
    { isolation = 'thread' }: ModuleOptions = {},
  ): Tasks<Module> {
    return tasksOf<Module>(url, (href, name, args, options) =>
      this.call(isolation, href, name, args, options),
    );
  }

  get statistics(): Readonly<Record<Isolation, WorkerStatistics>> {
    return { thread: this.#queues.thread.statistics, process: this.#queues.process.statistics };
  }

  call(
    isolation: Isolation,
    url: string,
    name: string,
    args: readonly unknown[],
    { signal }: TaskOptions,
  ): Promise<unknown> {
    const run = runOf();
    return this.#queues[isolation].submit({
      url,
      name,
      args,
      signal,
      logger: run === undefined ? -1 : this.#numberOf(run.service.name, run.log),
      logLevel: run?.log.levelVal ?? Number.POSITIVE_INFINITY,
      fields: logFields(),
      carried: carried(),
    });
  }

  /** Refuses tasks from now on, and ends the workers: when their tasks have ended, or when `force` aborts. */
  async close(force: AbortSignal): Promise<void> {
    await Promise.all(Object.values(this.#queues).map((queue) => queue.close(force)));
  }

  #numberOf(service: string, log: Logger): number {
    const number = this.#loggerNumbers.get(service) ?? this.#loggers.length;
    if (this.#loggers[number] === log) return number;
    // A restarted service has a new one.
    this.#loggers[number] = log;
    this.#loggerNumbers.set(service, number);
    return number;
  }

  #log({ logger, level, fields, object, error, message }: LogLine): void {
    const line = error === undefined ? object : { ...object, err: unpack(error) };
    surroundings.run({ call: undefined, fields }, () => {
      this.#loggers[logger]?.[level](line, ...(message as [string]));
    });
  }
}
