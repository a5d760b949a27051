import { setImmediate as turn } from 'node:timers/promises';
import type { Transferable } from 'node:worker_threads';
import { Call, surroundings } from '../call.ts';
import { toError } from '../errors.ts';
import { carrying } from './carry.ts';
import { NoSuchTaskError, TaskDataError, WorkerInitError } from './errors.ts';
import { type TaskLog, taskLogs } from './task-log.ts';
import { pack, unpack } from './thrown.ts';
import { transferredWith } from './transfer.ts';
import type { Baggage, FromWorker, LogLine, Request, ToWorker } from './wire.ts';

/** The worker's way to the main thread. @internal */
export interface Link {
  post(message: FromWorker, transfer?: readonly Transferable[]): void;
  /** Posts a log line, unless too many of them wait to be read: then gives false. */
  log(line: LogLine): boolean;
}

/** How many items the consumer of a generator has asked for. */
class Demand {
  returned = false;
  #count = 0;
  #wake: (() => void) | undefined;

  add(count: number): void {
    this.#count += count;
    this.#wake?.();
  }

  /** The consumer wants no more. */
  return(): void {
    this.returned = true;
    this.#wake?.();
  }

  async next(): Promise<void> {
    while (this.#count === 0 && !this.returned) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#count -= 1;
  }
}

type Module = Readonly<Record<string, unknown>>;
type TaskFunction = (...args: readonly unknown[]) => unknown;
type AnyGenerator = Generator<unknown, unknown, undefined> | AsyncGenerator<unknown, unknown, undefined>;

/** Runs tasks, in a worker thread or process. @internal */
export class Runner {
  readonly #link: Link;
  readonly #modules = new Map<string, Promise<Module>>();
  readonly #functions = new Map<string, TaskFunction>();
  readonly #calls = new Map<number, Call>();
  #log: TaskLog | undefined;
  readonly #demands = new Map<number, Demand>();

  constructor(link: Link) {
    this.#link = link;
  }

  /**
   * What the function gives, or a promise; throws, or rejects with, a `Thrown`. The items of a generator are
   * posted. Synchronous where it can be: the main thread is kept waiting by each turn of this one.
   */
  run(request: Request): unknown {
    const known = this.#functions.get(request[1]);
    if (known !== undefined) return this.#call(known, request);
    return this.#find(request[1]).then(
      (found) => this.#call(found, request),
      (error) => {
        throw pack(error);
      },
    );
  }

  receive(message: ToWorker): void {
    const demand = this.#demands.get(message.task);
    if (message.kind === 'pull') demand?.add(message.count);
    else demand?.return();
    if (message.kind === 'abort') this.#calls.get(message.task)?.abort(unpack(message.reason));
  }

  #call(task: TaskFunction, request: Request): unknown {
    const [id, what, logger, level, baggage] = request;
    this.#enterLog(logger, level);
    const call = baggage?.remainingMs === undefined ? undefined : new Call({ limitMs: baggage.remainingMs });
    try {
      if (baggage === undefined) return this.#given(id, what, task(...request.slice(5)), call);
      return surrounded(baggage, call, () => this.#given(id, what, task(...request.slice(5)), call));
    } catch (error) {
      call?.end();
      throw pack(error);
    }
  }

  #given(id: number, what: string, result: unknown, call: Call | undefined): unknown {
    if (isGenerator(result) || isThenable(result)) return this.#settled(id, what, result, call);
    call?.end();
    return result;
  }

  /**
   * Tasks log where theirs says. Nothing takes that back: the next task enters its own, mostly the same, and a
   * `run` would copy the whole context twice for each.
   */
  #enterLog(logger: number, level: number): void {
    if (this.#log?.logger !== logger || this.#log.level !== level)
      this.#log = { link: this.#link, logger, level };
    if (taskLogs.getStore() !== this.#log) taskLogs.enterWith(this.#log);
  }

  async #settled(id: number, what: string, given: unknown, call: Call | undefined): Promise<unknown> {
    if (call !== undefined) this.#calls.set(id, call);
    try {
      const result = await given;
      return isGenerator(result) ? await this.#produce(id, what, result, call) : result;
    } catch (error) {
      throw pack(error);
    } finally {
      call?.end();
      this.#calls.delete(id);
    }
  }

  async #find(what: string): Promise<TaskFunction> {
    const at = what.lastIndexOf('#');
    const url = what.slice(0, at);
    const name = what.slice(at + 1);
    const module = await this.#load(url);
    const task = module[name];
    if (typeof task !== 'function') throw new NoSuchTaskError(url, name);
    this.#functions.set(what, task as TaskFunction);
    return task as TaskFunction;
  }

  /**
   * An import or `init` that has failed is tried anew by the next task. They are no service's, also when they come
   * after a task of one.
   */
  async #load(url: string): Promise<Module> {
    const loading = this.#modules.get(url) ?? taskLogs.exit(() => initialised(url));
    this.#modules.set(url, loading);
    try {
      return await loading;
    } catch (error) {
      this.#modules.delete(url);
      throw error;
    }
  }

  async #produce(id: number, what: string, generator: AnyGenerator, call: Call | undefined): Promise<void> {
    const demand = new Demand();
    this.#demands.set(id, demand);
    if (call?.aborted) demand.return();
    this.#link.post({ kind: 'open', task: id });
    try {
      await this.#pump(id, what, generator, demand);
      this.#link.post({ kind: 'end', task: id });
    } catch (error) {
      this.#link.post({ kind: 'throw', task: id, error: pack(error) });
      throw error;
    } finally {
      this.#demands.delete(id);
    }
  }

  async #pump(id: number, what: string, generator: AnyGenerator, demand: Demand): Promise<void> {
    try {
      for (;;) {
        await demand.next();
        if (demand.returned) return;
        const { done, value } = await generator.next();
        if (done) return;
        try {
          this.#link.post({ kind: 'item', task: id, value }, transferredWith(value));
        } catch (error) {
          throw new TaskDataError(what, toError(error));
        }
        // A generator that never waits would not let the consumer's word through.
        await turn();
      }
    } finally {
      await generator.return(undefined);
    }
  }
}

function surrounded<Result>(baggage: Baggage, call: Call | undefined, fn: () => Result): Result {
  return surroundings.run({ call, fields: baggage.fields }, () =>
    baggage.carried === undefined ? fn() : carrying(baggage.carried, fn),
  );
}

async function initialised(url: string): Promise<Module> {
  const module = (await import(url)) as Module;
  if (typeof module.init !== 'function') return module;
  try {
    await module.init();
  } catch (error) {
    throw new WorkerInitError(url, toError(error));
  }
  return module;
}

const isThenable = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';

function isGenerator(value: unknown): value is AnyGenerator {
  if (typeof value !== 'object' || value === null) return false;
  if (!(Symbol.asyncIterator in value || Symbol.iterator in value)) return false;
  return 'next' in value && 'return' in value;
}
