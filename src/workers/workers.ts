/** Where tasks run: threads share the process and its memory limits, processes survive each other's crashes. */
export type Isolation = 'thread' | 'process';

/** How a module of tasks is run. */
export interface ModuleOptions {
  /** Default: `thread`. */
  readonly isolation?: Isolation;
}

/** What a task is told beside its arguments. */
export interface TaskOptions {
  /** Aborts the task: one that waits is dropped, one that runs is told, and its worker ended if it goes on. */
  readonly signal?: AbortSignal;
}

type AnyFunction = (...args: never[]) => unknown;

type GivenBack<Value> = Value extends
  | Generator<infer Item, unknown, never>
  | AsyncGenerator<infer Item, unknown, never>
  ? AsyncIterable<Item>
  : Value;

/** What a call of a task gives: items for a generator, else a promise. */
type Answer<Result> = [Result] extends [never]
  ? Promise<never>
  : 0 extends 1 & Result
    ? Promise<Result>
    : [Result] extends [Generator<infer Item, unknown, never> | AsyncGenerator<infer Item, unknown, never>]
      ? AsyncIterable<Item>
      : Promise<GivenBack<Awaited<Result>>>;

/**
 * The functions that a module exports, to be called on a worker. `init` is not among them: each worker calls
 * and awaits it before its first task of the module.
 */
export type Tasks<Module> = {
  readonly [Name in keyof Module as Module[Name] extends AnyFunction
    ? Exclude<Name, 'init'>
    : never]: Module[Name] extends (...args: infer Args) => infer Result
    ? (...args: Args) => Answer<Result>
    : never;
} & {
  /** The same functions, with options for each call. */
  with(options: TaskOptions): Tasks<Module>;
};

/** What the workers of one kind have done since the entrypoint began. */
export interface WorkerStatistics {
  /** Threads or processes that there are at the moment. */
  readonly workers: number;
  /** Tasks that run, and tasks that wait for a worker. */
  readonly busy: number;
  readonly queued: number;
  /** Tasks that have ended: with a result, with an error, and given up by their caller. */
  readonly done: number;
  readonly failed: number;
  readonly aborted: number;
  /** Workers that ended by themselves. */
  readonly deaths: number;
  /** How long all tasks that have begun have waited for a worker, and those that have ended have run, in ms. */
  readonly waitMs: number;
  readonly runMs: number;
}

/** Worker threads and processes for blocking and CPU-bound work. They are started on first use. */
export interface Workers {
  /**
   * The functions that a module exports, to be called on a worker thread or, with `isolation: 'process'`, in a
   * process of its own:
   *
   * ```ts
   * const tasks = workers.module<typeof import('./tasks.ts')>(new URL('./tasks.ts', import.meta.url));
   * const sum = await tasks.sum(10_000_000);
   * for await (const prime of tasks.primes(1_000)) send(prime);
   * ```
   *
   * Arguments, results and items are copied by the structured-clone algorithm; see `transfer`. A call ends with
   * the caller's deadline (`withDeadline`, a policy, a request) or `with({ signal })`, with its reason.
   *
   * @throws {TypeError} when `url` is neither a `file:` URL nor an absolute path. Calls reject with:
   * {WorkerQueueFullError} `ERR_WORKER_QUEUE_FULL`; {WorkersStoppedError} `ERR_WORKERS_STOPPED`;
   * {WorkerDiedError} `ERR_WORKER_DIED`; {WorkerInitError} `ERR_WORKER_INIT`; {NoSuchTaskError}
   * `ERR_NO_SUCH_TASK`; {TaskDataError} `ERR_TASK_DATA`; the reason of an abort; whatever the function throws.
   */
  module<Module extends object>(url: URL | string, options?: ModuleOptions): Tasks<Module>;
  /** Copies of what is known of the workers. */
  readonly statistics: Readonly<Record<Isolation, WorkerStatistics>>;
}
