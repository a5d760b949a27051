import { setImmediate as turn } from 'node:timers/promises';
import type { Transferable } from 'node:worker_threads';
import { Call, surroundings } from '../call.ts';
import { toError } from '../errors.ts';
import { carrying } from './carry.ts';
import { NoSuchTaskError, TaskDataError, WorkerInitError } from './errors.ts';
import { taskLogs } from './task-log.ts';
import { pack, unpack } from './thrown.ts';
import { transferredWith } from './transfer.ts';
import type { FromWorker, LogLine, Request, ToWorker } from './wire.ts';

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
type AnyGenerator = Generator<unknown, unknown, undefined> | AsyncGenerator<unknown, unknown, undefined>;

/** Runs tasks, in a worker thread or process. @internal */
export class Runner {
  readonly #link: Link;
  readonly #modules = new Map<string, Module | Promise<Module>>();
  readonly #calls = new Map<number, Call>();
  readonly #demands = new Map<number, Demand>();

  constructor(link: Link) {
    this.#link = link;
  }

  /** What the function gives; rejects with a `Thrown`. What a generator gives is posted. */
  async run([id, url, name, args, logger, level, baggage]: Request): Promise<unknown> {
    const call = new Call({ limitMs: baggage?.remainingMs ?? Number.POSITIVE_INFINITY });
    this.#calls.set(id, call);
    const work = async () => {
      const task = await this.#find(url, name);
      const result = await (baggage?.carried === undefined
        ? task(...args)
        : carrying(baggage.carried, () => task(...args)));
      if (!isGenerator(result)) return result;
      return await this.#produce(id, name, result, call);
    };
    const log = { link: this.#link, logger, level };
    try {
      return await surroundings.run({ call, fields: baggage?.fields }, () => taskLogs.run(log, work));
    } catch (error) {
      throw pack(error);
    } finally {
      call.end();
      this.#calls.delete(id);
    }
  }

  receive(message: ToWorker): void {
    const demand = this.#demands.get(message.task);
    if (message.kind === 'pull') demand?.add(message.count);
    else demand?.return();
    if (message.kind === 'abort') this.#calls.get(message.task)?.abort(unpack(message.reason));
  }

  async #find(url: string, name: string): Promise<(...args: readonly unknown[]) => unknown> {
    const loaded = this.#modules.get(url);
    const module = loaded === undefined || loaded instanceof Promise ? await this.#load(url, loaded) : loaded;
    const task = module[name];
    if (typeof task !== 'function') throw new NoSuchTaskError(url, name);
    return task as (...args: readonly unknown[]) => unknown;
  }

  /** An import or `init` that has failed is tried anew by the next task. */
  async #load(url: string, loading = initialised(url)): Promise<Module> {
    this.#modules.set(url, loading);
    try {
      const module = await loading;
      this.#modules.set(url, module);
      return module;
    } catch (error) {
      this.#modules.delete(url);
      throw error;
    }
  }

  async #produce(id: number, name: string, generator: AnyGenerator, call: Call): Promise<void> {
    const demand = new Demand();
    this.#demands.set(id, demand);
    if (call.aborted) demand.return();
    this.#link.post({ kind: 'open', task: id });
    try {
      await this.#pump(id, name, generator, demand);
      this.#link.post({ kind: 'end', task: id });
    } catch (error) {
      this.#link.post({ kind: 'throw', task: id, error: pack(error) });
      throw error;
    } finally {
      this.#demands.delete(id);
    }
  }

  async #pump(id: number, name: string, generator: AnyGenerator, demand: Demand): Promise<void> {
    try {
      for (;;) {
        await demand.next();
        if (demand.returned) return;
        const { done, value } = await generator.next();
        if (done) return;
        try {
          this.#link.post({ kind: 'item', task: id, value }, transferredWith(value));
        } catch (error) {
          throw new TaskDataError(name, toError(error));
        }
        // A generator that never waits would not let the consumer's word through.
        await turn();
      }
    } finally {
      await generator.return(undefined);
    }
  }
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

function isGenerator(value: unknown): value is AnyGenerator {
  if (typeof value !== 'object' || value === null) return false;
  if (!(Symbol.asyncIterator in value || Symbol.iterator in value)) return false;
  return 'next' in value && 'return' in value;
}
