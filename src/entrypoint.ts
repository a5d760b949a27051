import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { type Clock, systemClock } from './clock.ts';
import { ContextStore } from './context.ts';
import {
  EntrypointStopped,
  ShutdownError,
  StopForcedError,
  StrayError,
  toError,
  UnknownServiceError,
} from './errors.ts';
import {
  type BosunEvent,
  type EntrypointEvent,
  EventHub,
  type EventOf,
  type ServiceEvent,
} from './events.ts';
import type { Logging } from './logging/logging.ts';
import { logSchema } from './logging/options.ts';
import { nearest } from './nearest.ts';
import { durationMs, parseOptions } from './options.ts';
import { ownProcess, type StopSignal } from './process-guard.ts';
import type { Logger, Service } from './service.ts';
import type { Host, ServiceInfo } from './supervisor/host.ts';
import { Run } from './supervisor/run.ts';
import { Supervisor, supervisionShape } from './supervisor/supervisor.ts';
import { checkDependencies, restartClosure, subtree } from './supervisor/tree.ts';
import { WorkerPool } from './workers/pool.ts';

/** What an entrypoint can be told in a config file. */
export const settingsSchema = z.strictObject({
  /** For development: the log level is `debug` at least, and stacks are long (when the process is owned). */
  debug: z.boolean().default(false),
  log: logSchema.prefault({}),
  workers: z
    .strictObject({
      /** Default: the number of processors. */
      threads: z.int().min(1).default(availableParallelism()),
    })
    .prefault({}),
  shutdown: z
    .strictObject({
      /** The budget of the whole shutdown; when it is spent, what still runs is forced. */
      timeoutMs: durationMs().default(30_000),
      /** Between *not ready any more* and the first stop, so that load balancers take notice. */
      delayMs: durationMs().default(0),
    })
    .prefault({}),
  ...supervisionShape,
  /** Whether the process's signals and stray errors are this entrypoint's. */
  ownsProcess: z.boolean().default(true),
});

/** Called and awaited at the turns of the entrypoint's life. */
export interface Hooks {
  /** Before the first service starts; when it throws, nothing is started. */
  readonly preStart?: (entrypoint: Entrypoint) => unknown;
  /** When all services run; when it throws, they are stopped again. */
  readonly postStart?: (entrypoint: Entrypoint) => unknown;
  /** Before the first service stops; when it throws, that is logged, and the stop goes on. */
  readonly preStop?: (entrypoint: Entrypoint) => unknown;
  /** When all services have stopped; when it throws, that is logged. */
  readonly postStop?: (entrypoint: Entrypoint) => unknown;
  /** On SIGHUP; when it throws, that is logged. */
  readonly reload?: (entrypoint: Entrypoint) => unknown;
}

/** Options of an entrypoint. */
export type EntrypointOptions = z.input<typeof settingsSchema> & {
  readonly hooks?: Hooks;
  /** Default: the real time. */
  readonly clock?: Clock;
  /** A number in [0, 1), for the jitter of restarts. Default: `Math.random`. */
  readonly random?: () => number;
};

/** How an entrypoint ended. */
export interface Outcome {
  /**
   * 0: clean; 1: a service failed for good, the start failed, or a stop failed; 70: a stop had to be forced;
   * 128 + n: the third signal, number n, cut it off.
   */
  readonly exitCode: number;
  /** What went wrong, in the order in which it did. */
  readonly errors: readonly Error[];
}

/** Exit codes after sysexits.h, and the shell's 128 + n. */
export const exitCodes = { ok: 0, failure: 1, forced: 70, config: 78 } as const;

const DEBUG_STACK_FRAMES = 50;

const signalNumbers: Readonly<Record<StopSignal, number>> = { SIGINT: 2, SIGTERM: 15 };

/**
 * The root of the services: holds them, the log, the worker threads and the context, and owns the process's
 * signals.
 *
 * ```ts
 * const daemon = new Entrypoint([database, api], { shutdown: { timeoutMs: 10_000 } });
 * await daemon.start();
 * const { exitCode } = await daemon.closed;
 * ```
 *
 * The first SIGINT or SIGTERM stops it gracefully, also while it starts; the second forces what still runs to
 * stop; the third resolves `closed` at once.
 */
export class Entrypoint implements AsyncDisposable {
  /** Resolves when it has ended, whatever ended it; never rejects. */
  readonly closed: Promise<Outcome>;
  readonly #close: (outcome: Outcome) => void;
  readonly #settings: z.output<typeof settingsSchema>;
  readonly #hooks: Hooks;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #root: Supervisor;
  readonly #events: EventHub;
  readonly #context: ContextStore;
  readonly #workers: WorkerPool;
  readonly #stopRequest = new AbortController();
  readonly #force = new AbortController();
  readonly #errors: Error[] = [];
  #logging: Logging | undefined;
  #ownership: Disposable | undefined;
  #run: Run | undefined;
  #started: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;
  #ready = false;
  #signals = 0;
  #failed = false;
  #aborted = false;
  #closed = false;

  /**
   * @throws {OptionsError} `ERR_OPTIONS`
   * @throws {DuplicateServiceError} `ERR_DUPLICATE_SERVICE`
   * @throws {DependencyCycleError} `ERR_DEPENDENCY_CYCLE`
   * @throws {MissingDependencyError} `ERR_MISSING_DEPENDENCY`
   */
  constructor(services: readonly Service[], options: EntrypointOptions = {}) {
    const { hooks = {}, clock = systemClock, random = Math.random, ...settings } = options;
    this.#settings = parseOptions('Entrypoint', settingsSchema, settings);
    this.#hooks = hooks;
    this.#clock = clock;
    this.#random = random;
    const { strategy, intensity, backoff } = this.#settings;
    this.#root = new Supervisor({ name: 'root', services: [...services], strategy, intensity, backoff });
    checkDependencies(services);
    this.#events = new EventHub((error) => this.#logging?.logger.error({ err: error }, 'a listener threw'));
    this.#context = new ContextStore(clock);
    this.#workers = new WorkerPool(this.#settings.workers.threads);
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.closed = promise;
    this.#close = resolve;
  }

  /** Copies of what is known of every service, in start order. */
  get services(): ServiceInfo[] {
    return this.#root.services.map((info) =>
      info.supervisor === this.#root.name ? { ...info, supervisor: undefined } : info,
    );
  }

  /** Whether all services have started and it is not stopping. */
  get ready(): boolean {
    return this.#ready;
  }

  /** The entrypoint's logger. Present from `start` on. */
  get log(): Logger {
    if (this.#logging === undefined) throw new TypeError('the log is set up by start()');
    return this.#logging.logger;
  }

  /** Calls `listener` for every event of a type, or of all types with `'*'`. Returns the way to end that. */
  on<Type extends BosunEvent['type'] | '*'>(
    type: Type,
    listener: (event: Type extends BosunEvent['type'] ? EventOf<Type> : BosunEvent) => void,
  ): () => void {
    const all = listener as (event: BosunEvent) => void;
    return this.#events.on(type === '*' ? all : (event) => event.type === type && all(event));
  }

  /**
   * Starts the services; resolves when all run. Every caller gets the same promise. When a start fails, what
   * had started is stopped again and `closed` resolves with exit code 1.
   *
   * @throws {StartError} `ERR_SERVICE_START`
   * @throws {StartTimeoutError} `ERR_SERVICE_START_TIMEOUT`
   * @throws {EntrypointStopped} `ERR_ENTRYPOINT_STOPPED` when it was stopped meanwhile.
   */
  start(): Promise<void> {
    this.#started ??= this.#start();
    return this.#started;
  }

  /**
   * Stops the services in the reverse order of their start, within `shutdown.timeoutMs`; resolves when all
   * have ended. Every caller gets the same promise.
   *
   * @throws {ShutdownError} `ERR_SHUTDOWN`: all stops that failed or had to be forced.
   */
  stop(cause = 'stop()'): Promise<void> {
    this.#stopped ??= this.#stop(cause);
    return this.#stopped;
  }

  /** Skips what a stop under way still waits for: draining ends, what does not stop is forced. */
  abort(cause = 'abort()'): Promise<void> {
    if (!this.#closed && !this.#aborted) {
      this.#aborted = true;
      this.#emit({ type: 'entrypoint-aborting', cause });
      this.#force.abort(new EntrypointStopped(cause));
    }
    return this.stop(cause);
  }

  /**
   * Adds a service to the running daemon and starts it.
   *
   * @throws {DuplicateServiceError} `ERR_DUPLICATE_SERVICE`
   * @throws {MissingDependencyError} `ERR_MISSING_DEPENDENCY`
   * @throws {StartError} `ERR_SERVICE_START`: it was not added.
   */
  async add(service: Service): Promise<void> {
    const [, ...present] = subtree(this.#root);
    checkDependencies([...present.filter((other) => other !== service), service]);
    await this.#root.add(service);
  }

  /**
   * Stops a service and takes it out.
   *
   * @throws {UnknownServiceError} `ERR_UNKNOWN_SERVICE`
   * @throws {ServiceInUseError} `ERR_SERVICE_IN_USE` when others depend on it.
   * @throws {ShutdownError} `ERR_SHUTDOWN` when its stop failed or was forced; it is out all the same.
   */
  async remove(name: string): Promise<void> {
    await this.#supervisorOf(name).remove(name);
  }

  /**
   * Stops a service and starts it again; resolves when it runs.
   *
   * @throws {UnknownServiceError} `ERR_UNKNOWN_SERVICE`
   * @throws {StartError} `ERR_SERVICE_START`: its restart policy goes on.
   */
  async restart(name: string): Promise<void> {
    await this.#supervisorOf(name).restart(name);
  }

  /** Stops it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #start(): Promise<void> {
    if (this.#stopped !== undefined) throw new EntrypointStopped('the entrypoint has been stopped');
    const begun = this.#clock.now();
    const { debug, log, ownsProcess } = this.#settings;
    if (ownsProcess) this.#ownership = ownProcess(this.#processOwner());
    if (debug && ownsProcess) Error.stackTraceLimit = Math.max(Error.stackTraceLimit, DEBUG_STACK_FRAMES);
    const { createLogging } = await import('./logging/logging.ts');
    this.#logging = createLogging(debug && log.level !== 'trace' ? { ...log, level: 'debug' } : log);
    const { logger } = this.#logging;
    const { logEvent } = await import('./logging/lifecycle.ts');
    this.#events.on((event) => logEvent(logger, event));
    const run = new Run(this.#root, this.#host());
    try {
      this.#stopRequest.signal.throwIfAborted();
      this.#emit({ type: 'entrypoint-starting', services: this.services.length });
      await this.#hooks.preStart?.(this);
      await run.start(this.#stopRequest.signal);
      this.#run = run;
      await this.#hooks.postStart?.(this);
      this.#stopRequest.signal.throwIfAborted();
    } catch (thrown) {
      throw this.#startFailed(thrown);
    }
    this.#ready = true;
    this.#emit({
      type: 'entrypoint-running',
      services: this.services.length,
      durationMs: this.#clock.now() - begun,
      addresses: Object.fromEntries(
        this.services.flatMap(({ name, addresses }) => (addresses.length > 0 ? [[name, addresses]] : [])),
      ),
    });
    void run.ended.then((end) => {
      if (end.kind === 'failed') this.#fail(end.error);
      else this.#stopInBackground('every service has ended');
    });
  }

  #startFailed(thrown: unknown): Error {
    if (this.#stopRequest.signal.aborted) return toError(this.#stopRequest.signal.reason);
    // The root's own wrapping says nothing: its services' errors name themselves.
    const error = toError(
      thrown instanceof Error && thrown.cause !== undefined && this.#isRoot(thrown) ? thrown.cause : thrown,
    );
    this.#failed = true;
    this.#errors.push(error);
    this.#emit({ type: 'entrypoint-start-failed', error });
    this.#stopInBackground('the start failed');
    return error;
  }

  #isRoot(error: Error): boolean {
    return 'service' in error && error.service === this.#root.name;
  }

  async #stop(cause: string): Promise<void> {
    const begun = this.#clock.now();
    const { delayMs, timeoutMs } = this.#settings.shutdown;
    const starting = this.#started !== undefined && !this.#ready;
    this.#ready = false;
    this.#emit({ type: 'entrypoint-stopping', cause, delayMs: starting ? 0 : delayMs });
    this.#stopRequest.abort(new EntrypointStopped(`the entrypoint was stopped: ${cause}`));
    if (delayMs > 0 && !starting && this.#run !== undefined) {
      await this.#clock.sleep(delayMs, { signal: this.#force.signal }).catch(() => {});
    }
    using _budget = this.#clock.setTimer(() => {
      this.#force.abort(new EntrypointStopped(`shutdown.timeoutMs: ${timeoutMs}`));
    }, timeoutMs);
    await this.#runHook('preStop');
    // While it starts, the start rolls itself back.
    await this.#started?.catch(() => {});
    const errors = (await this.#run?.stop('shutdown', undefined, this.#force.signal)) ?? [];
    await this.#workers.close(this.#force.signal).catch((error) => errors.push(toError(error)));
    this.#context.close();
    await this.#runHook('postStop');
    this.#errors.push(...errors);
    const exitCode = this.#exitCode();
    const durationMs = this.#clock.now() - begun;
    this.#emit({ type: 'entrypoint-stopped', exitCode, durationMs, errors });
    await this.#logging?.close();
    this.#finish(exitCode);
    if (errors.length > 0) throw new ShutdownError(errors);
  }

  #finish(exitCode: number): void {
    this.#closed = true;
    this.#ownership?.[Symbol.dispose]();
    this.#close({ exitCode, errors: [...this.#errors] });
  }

  #exitCode(): number {
    if (this.#aborted || this.#errors.some((error) => error instanceof StopForcedError))
      return exitCodes.forced;
    return this.#failed || this.#errors.length > 0 ? exitCodes.failure : exitCodes.ok;
  }

  #fail(error: Error): void {
    if (this.#closed) return;
    this.#failed = true;
    this.#errors.push(error);
    this.#emit({ type: 'entrypoint-failed', error });
    this.#stopInBackground(error.message);
  }

  #stopInBackground(cause: string): void {
    // What goes wrong is in the outcome of `closed`.
    this.stop(cause).catch(() => {});
  }

  async #runHook(hook: 'preStop' | 'postStop'): Promise<void> {
    try {
      await this.#hooks[hook]?.(this);
    } catch (thrown) {
      this.#emit({ type: 'hook-failed', hook, error: toError(thrown) });
    }
  }

  #emit(event: ServiceEvent | EntrypointEvent): void {
    this.#events.emit({ ...event, at: this.#clock.now() });
  }

  #host(): Host {
    const { logger } = this.#logging as Logging;
    return {
      clock: this.#clock,
      context: this.#context,
      workers: this.#workers,
      force: this.#force.signal,
      random: this.#random,
      loggerFor: (service) => logger.child({ service }),
      emit: (event) => {
        if (!('service' in event && event.service === this.#root.name)) this.#emit(event);
      },
      restarted: (services) => void this.#restartDependents(services),
    };
  }

  /** Restarts the services that ask to be restarted with their dependencies, each once, in order. */
  async #restartDependents(restarted: ReadonlySet<Service>): Promise<void> {
    for (const dependent of restartClosure(this.#root, restarted)) {
      try {
        await this.#supervisorOf(dependent.name).restart(dependent.name, { alone: true });
      } catch {
        // The restart policy of the dependent has taken over, or it is gone.
      }
    }
  }

  #supervisorOf(name: string): Supervisor {
    const services = subtree(this.#root);
    const found = services.find(
      (service) =>
        service instanceof Supervisor &&
        service.services.some((info) => info.name === name && info.supervisor === service.name),
    );
    if (found instanceof Supervisor) return found;
    throw new UnknownServiceError(
      name,
      nearest(
        name,
        services.map((service) => service.name),
      ),
    );
  }

  #processOwner() {
    return {
      onStopSignal: (signal: StopSignal) => {
        this.#signals += 1;
        if (this.#signals === 1) this.#stopInBackground(signal);
        else if (this.#signals === 2) this.abort(`second ${signal}`).catch(() => {});
        else this.#finish(128 + signalNumbers[signal]);
      },
      onReloadSignal: () => {
        this.#emit({ type: 'entrypoint-reload-requested' });
        void (async () => {
          try {
            await this.#hooks.reload?.(this);
          } catch (thrown) {
            this.#emit({ type: 'hook-failed', hook: 'reload', error: toError(thrown) });
          }
        })();
      },
      onStrayError: (kind: 'unhandledRejection' | 'uncaughtException', error: Error) => {
        this.#fail(new StrayError(kind, error));
      },
    };
  }
}

/**
 * A started entrypoint, for `await using`: it stops at the end of the block.
 *
 * @throws as `Entrypoint.start`.
 */
export async function entrypoint(
  services: readonly Service[],
  options: EntrypointOptions = {},
): Promise<Entrypoint> {
  const daemon = new Entrypoint(services, options);
  await daemon.start();
  return daemon;
}

/** How long the event loop may take to run dry after the end, before the process is ended. */
const LEFT_OVERS_MS = 1_000;

/**
 * Runs the services until they are stopped, by a signal or for good by a failure, and sets
 * `process.exitCode`. What the program has left open then keeps the process for a second at most.
 */
export async function run(services: readonly Service[], options: EntrypointOptions = {}): Promise<Outcome> {
  return await runToEnd(new Entrypoint(services, options));
}

/** `run` for an entrypoint that has been made already. */
export async function runToEnd(daemon: Entrypoint): Promise<Outcome> {
  // A daemon whose services hold no handle of their own stays alive all the same.
  const alive = setInterval(() => {}, 2 ** 30);
  daemon.start().catch(() => {});
  const outcome = await daemon.closed;
  clearInterval(alive);
  process.exitCode = outcome.exitCode;
  // A forced stop has left something behind, and the third signal means now.
  if (outcome.exitCode >= exitCodes.forced) process.exit();
  setTimeout(() => {
    const left = process.getActiveResourcesInfo().join(', ');
    process.stderr.write(`bosun: still open after the end, so the process is ended: ${left}\n`);
    process.exit();
  }, LEFT_OVERS_MS).unref();
  return outcome;
}
