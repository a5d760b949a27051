import { surroundings } from '../call.ts';
import type { Clock } from '../clock.ts';
import { logFields } from '../logging/fields.ts';
import type { Logger } from '../service.ts';
import { runOf } from '../supervisor/run.ts';
import { carried } from './carry.ts';
import { Lane } from './lane.ts';
import { tasksOf } from './module.ts';
import { Processes } from './processes.ts';
import { Threads } from './threads.ts';
import { unpack } from './thrown.ts';
import type { LogLine } from './wire.ts';
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
  readonly #lanes: Readonly<Record<Isolation, Lane>>;
  /** Of the services that have called tasks: workers name them by their place. */
  readonly #loggers: Logger[] = [];
  readonly #loggerNumbers = new Map<string, number>();

  constructor({ threads, processes, maxQueued, maxHeapBytes, clock }: WorkerPoolOptions) {
    const onLine = (line: LogLine) => this.#log(line);
    this.#lanes = {
      thread: new Lane(
        { limit: threads, maxQueued, clock, onLine },
        (listener) => new Threads({ threads, maxHeapBytes, listener }),
      ),
      process: new Lane(
        { limit: processes, maxQueued, clock, onLine },
        (listener) => new Processes({ processes, maxHeapBytes, listener }),
      ),
    };
  }

  module<Module extends object>(
    url: URL | string,
    { isolation = 'thread' }: ModuleOptions = {},
  ): Tasks<Module> {
    return tasksOf<Module>(url, (what, args, options) => this.call(isolation, what, args, options));
  }

  get statistics(): Readonly<Record<Isolation, WorkerStatistics>> {
    return { thread: this.#lanes.thread.statistics, process: this.#lanes.process.statistics };
  }

  call(
    isolation: Isolation,
    what: string,
    args: readonly unknown[],
    { signal }: TaskOptions,
  ): Promise<unknown> {
    const run = runOf();
    return this.#lanes[isolation].submit({
      what,
      args,
      signal,
      logger: run === undefined ? -1 : this.#numberOf(run.service.name, run.log),
      logLevel: run?.log.levelVal ?? 0,
      fields: logFields(),
      carried: carried(),
    });
  }

  /** Refuses tasks from now on, and ends the workers: when their tasks have ended, or when `force` aborts. */
  async close(force: AbortSignal): Promise<void> {
    await Promise.all(Object.values(this.#lanes).map((lane) => lane.close(force)));
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
