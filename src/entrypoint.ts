import { AsyncLocalStorage } from 'node:async_hooks';
import { z } from 'zod';
import { doneWithin, orAborted } from './abort.ts';
import { type Clock, systemClock } from './clock.ts';
import { type Context, ContextStore } from './context.ts';
import {
  EntrypointStopped,
  HookForcedError,
  NoReloadError,
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
  type ObservationEvent,
  type ServiceEvent,
} from './events.ts';
import type { Logging } from './logging/logging.ts';
import { nearest } from './nearest.ts';
import { parseOptions } from './options.ts';
import { ownProcess, type ProcessOwner, type StopSignal } from './process-guard.ts';
import type { Logger, Service } from './service.ts';
import { exitCodes, logLevelOf, type Outcome, settingsSchema } from './settings.ts';
import type { Control, Host, Phase, ServiceInfo } from './supervisor/host.ts';
import { FORCED_GRACE_MS, Run } from './supervisor/run.ts';
import { Supervisor } from './supervisor/supervisor.ts';
import { checkDependencies, checkNames, held, restartClosure, subtree } from './supervisor/tree.ts';
import { WorkerPool } from './workers/pool.ts';

export { exitCodes, type Outcome, settingsSchema } from './settings.ts';

/**
 * Called and awaited at the turns of the entrypoint's life. One that is still not done when the shutdown is
 * forced is left behind.
 */
export interface Hooks {
  /** Before the first service starts; when it throws, nothing is started. */
  readonly preStart?: (entrypoint: Entrypoint) => unknown;
  /** When all services run; when it throws, they are stopped again. */
  readonly postStart?: (entrypoint: Entrypoint) => unknown;
  /**
   * Before the first service stops; when it throws, that is logged, and the stop goes on. Not called when the
   * services have not all started.
   */
  readonly preStop?: (entrypoint: Entrypoint) => unknown;
  /** When all services have stopped, also after a failed start; when it throws, that is logged. */
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

const DEBUG_STACK_FRAMES = 50;

const signalNumbers: Readonly<Record<StopSignal, number>> = { SIGINT: 2, SIGTERM: 15 };

/** The name of the supervisor at the root: one that no service can have. */
const ROOT = '(entrypoint)';

class Root extends Supervisor.extend({ name: z.literal(ROOT) }) {}

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
  /** Aborts when it is to stop; the reason is what `start` rejects with, if it has not ended yet. */
  readonly #stopRequest = new AbortController();
  readonly #force = new AbortController();
  /** The asynchronous context it was made in: it is stopped there, also when a service asked for it. */
  readonly #inContext = AsyncLocalStorage.snapshot();
  readonly #errors: Error[] = [];
  /** What went wrong in the shutdown, or in the roll-back of the start. */
  readonly #stopErrors: Error[] = [];
  readonly #atEnd: (() => unknown)[] = [];
  #logging: Logging | undefined;
  #ownership: Disposable | undefined;
  /** The run of the root, once it has started. */
  #run: Run | undefined;
  /** The start as such; what callers get also waits for the end when it fails. */
  #starting: Promise<void> | undefined;
  #started: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;
  #phase: Phase = 'starting';
  #signals = 0;
  #failed = false;

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
    this.#root = new Root({ name: ROOT, services: [...services], strategy, intensity, backoff });
    this.#checkTree();
    this.#events = new EventHub((error) => this.#logging?.logger.error({ err: error }, 'a listener threw'));
    this.#context = new ContextStore(clock);
    this.#workers = new WorkerPool({ ...this.#settings.workers, clock });
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.closed = promise;
    this.#close = resolve;
  }

  /** Copies of what is known of every service, in start order. */
  get services(): ServiceInfo[] {
    return this.#root.services.map((info) =>
      info.supervisor === ROOT ? { ...info, supervisor: undefined } : info,
    );
  }

  /** Whether all services have started and it is not stopping. */
  get ready(): boolean {
    return this.#phase === 'ready';
  }

  /** The values that the services share. */
  get context(): Context {
    return this.#context;
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
    return this.#events.on(type === '*' ? all : (event) => (event.type === type ? all(event) : undefined));
  }

  /**
   * Starts the services; resolves when all run. Every caller gets the same promise. When a start fails, or
   * it is stopped meanwhile, what had started is stopped again, and the promise rejects when it has ended.
   *
   * @throws {StartError} `ERR_SERVICE_START`
   * @throws {StartTimeoutError} `ERR_SERVICE_START_TIMEOUT`
   * @throws {EntrypointStopped} `ERR_ENTRYPOINT_STOPPED` when it was stopped meanwhile.
   * @throws what `preStart` or `postStart` threw.
   */
  start(): Promise<void> {
    this.#started ??= this.#startOrEnd();
    return this.#started;
  }

  /**
   * Stops the services in the reverse order of their start, within `shutdown.timeoutMs`; resolves when all
   * have ended. Every caller gets the same promise.
   *
   * @throws {ShutdownError} `ERR_SHUTDOWN`: all stops that failed or had to be forced.
   */
  stop(cause = 'stop()'): Promise<void> {
    return this.#stopOnce(cause, new EntrypointStopped(`the entrypoint was stopped: ${cause}`));
  }

  /** Skips what a stop under way still waits for: draining ends, what does not stop is forced. */
  abort(cause = 'abort()'): Promise<void> {
    if (this.#phase !== 'closed' && !this.#force.signal.aborted) {
      this.#emit({ type: 'entrypoint-aborting', cause });
      this.#force.abort(new EntrypointStopped(cause));
    }
    return this.stop(cause);
  }

  /**
   * Adds a service to the running daemon and starts it; before `start`, it is only added.
   *
   * @throws {DuplicateServiceError} `ERR_DUPLICATE_SERVICE`
   * @throws {MissingDependencyError} `ERR_MISSING_DEPENDENCY`; before `start`, that is left to `start`.
   * @throws {DependencyCycleError} `ERR_DEPENDENCY_CYCLE`
   * @throws {StartError} `ERR_SERVICE_START`: it was not added.
   * @throws {ServiceStopped} `ERR_SERVICE_STOPPED`: the daemon is stopping.
   */
  async add(service: Service): Promise<void> {
    await this.#root.add(service);
  }

  /**
   * Stops a service and takes it out.
   *
   * @throws {UnknownServiceError} `ERR_UNKNOWN_SERVICE`
   * @throws {ServiceInUseError} `ERR_SERVICE_IN_USE` when others depend on it.
   * @throws {ShutdownError} `ERR_SHUTDOWN` when its stop failed or was forced; it is out all the same.
   * @throws {ServiceStopped} `ERR_SERVICE_STOPPED`: the daemon is stopping.
   */
  async remove(name: string): Promise<void> {
    await this.#supervisorOf(name).remove(name);
  }

  /**
   * Stops a service and starts it again; resolves when it runs.
   *
   * @throws {UnknownServiceError} `ERR_UNKNOWN_SERVICE`
   * @throws {StartError} `ERR_SERVICE_START`: its restart policy goes on.
   * @throws {ServiceStopped} `ERR_SERVICE_STOPPED`: the daemon is stopping, or was not started.
   */
  async restart(name: string): Promise<void> {
    await this.#supervisorOf(name).restart(name);
  }

  /** Stops it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #startOrEnd(): Promise<void> {
    if (this.#stopped !== undefined) throw new EntrypointStopped('the entrypoint has been stopped');
    const { debug, ownsProcess } = this.#settings;
    if (ownsProcess) this.#ownership = ownProcess(this.#processOwner());
    if (debug && ownsProcess) Error.stackTraceLimit = Math.max(Error.stackTraceLimit, DEBUG_STACK_FRAMES);
    this.#starting = this.#start();
    try {
      await this.#starting;
    } catch (thrown) {
      if (!this.#stopRequest.signal.aborted) this.#fail(toError(thrown));
      await this.closed;
      throw this.#stopRequest.signal.reason;
    }
  }

  async #start(): Promise<void> {
    const begun = this.#clock.now();
    this.#checkTree();
    const [{ createLogging }, { logEvent }] = await Promise.all([
      import('./logging/logging.ts'),
      import('./logging/lifecycle.ts'),
    ]);
    this.#logging = createLogging({ ...this.#settings.log, level: logLevelOf(this.#settings) });
    const { logger } = this.#logging;
    this.#events.on((event) => logEvent(logger, event));
    const { signal } = this.#stopRequest;
    signal.throwIfAborted();
    this.#emit({ type: 'entrypoint-starting', services: this.services.length });
    await this.#callHook('preStart');
    const run = new Run(this.#root, this.#host());
    void run.ended.then((end) => {
      if (end.kind === 'failed') this.#fail(end.error);
      else this.stop('every service has ended').catch(() => {});
    });
    await run.start(signal);
    this.#run = run;
    await this.#callHook('postStart');
    signal.throwIfAborted();
    this.#phase = 'ready';
    this.#stopErrors.length = 0;
    this.#emit({
      type: 'entrypoint-running',
      services: this.services.length,
      durationMs: this.#clock.now() - begun,
      addresses: Object.fromEntries(
        this.services.flatMap(({ name, addresses }) => (addresses.length > 0 ? [[name, addresses]] : [])),
      ),
    });
  }

  async #stop(cause: string, reason: Error): Promise<void> {
    const begun = this.#clock.now();
    const { timeoutMs } = this.#settings.shutdown;
    const delayMs = this.#phase === 'ready' ? this.#settings.shutdown.delayMs : 0;
    this.#phase = 'stopping';
    this.#emit({ type: 'entrypoint-stopping', cause, delayMs });
    this.#stopRequest.abort(reason);
    using _budget = this.#clock.setTimer(() => {
      this.#force.abort(new EntrypointStopped(`shutdown.timeoutMs: ${timeoutMs}`));
    }, timeoutMs);
    if (delayMs > 0) await this.#clock.sleep(delayMs, { signal: this.#force.signal }).catch(() => {});
    // While it starts, the start rolls itself back.
    await this.#starting?.catch(() => {});
    if (this.#run !== undefined) {
      await this.#tryHook('preStop');
      await this.#run.stop('shutdown');
    }
    await this.#workers.close(this.#force.signal).catch((error) => this.#stopErrors.push(toError(error)));
    this.#context.close(reason);
    await this.#tryHook('postStop');
    for (const cleanUp of this.#atEnd) await this.#end(cleanUp);
    this.#errors.push(...this.#stopErrors);
    const exitCode = this.#exitCode();
    const durationMs = this.#clock.now() - begun;
    this.#emit({ type: 'entrypoint-stopped', exitCode, durationMs, errors: [...this.#stopErrors] });
    await this.#logging?.close();
    this.#finish(exitCode);
    if (this.#stopErrors.length > 0) throw new ShutdownError(this.#stopErrors);
  }

  async #end(cleanUp: () => unknown): Promise<void> {
    const begun = this.#clock.now();
    try {
      if (await this.#doneOrForced(cleanUp)) return;
      const why = toError(this.#force.signal.reason).message;
      const afterMs = this.#clock.now() - begun;
      this.#stopErrors.push(
        new StopForcedError(ROOT, why, afterMs, ['what is to be seen until the end'], true),
      );
    } catch (thrown) {
      this.#stopErrors.push(toError(thrown));
    }
  }

  /** Whether it is done; `false`: it still was not when it had been forced, and is left behind. */
  async #doneOrForced(code: () => unknown): Promise<boolean> {
    const { signal } = this.#force;
    const work = (async () => void (await code()))();
    const forced = await orAborted(work, signal).catch((thrown: unknown) => {
      if (!signal.aborted || thrown !== signal.reason) throw thrown;
      return true;
    });
    return !forced || (await doneWithin(work, FORCED_GRACE_MS, this.#clock));
  }

  #finish(exitCode: number): void {
    this.#phase = 'closed';
    this.#ownership?.[Symbol.dispose]();
    this.#close({ exitCode, errors: [...this.#errors] });
  }

  #exitCode(): number {
    if (this.#force.signal.aborted || this.#errors.some((error) => error instanceof StopForcedError))
      return exitCodes.forced;
    return this.#failed || this.#errors.length > 0 ? exitCodes.failure : exitCodes.ok;
  }

  #fail(error: Error): void {
    if (this.#phase === 'closed') return;
    this.#failed = true;
    this.#errors.push(error);
    this.#emit({
      type: this.#phase === 'starting' ? 'entrypoint-start-failed' : 'entrypoint-failed',
      error,
    });
    this.#stopOnce(error.message, error).catch(() => {}); // What goes wrong is in the outcome of `closed`.
  }

  #stopOnce(cause: string, reason: Error): Promise<void> {
    if (this.#stopped === undefined) {
      // There before the first event, whose listeners may ask for it too.
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#stopped = promise;
      resolve(this.#inContext(() => this.#stop(cause, reason)));
    }
    return this.#stopped;
  }

  /** @throws {HookForcedError} `ERR_HOOK_FORCED`; what the hook throws. */
  async #callHook(name: Exclude<keyof Hooks, 'reload'>): Promise<void> {
    const hook = this.#hooks[name];
    if (hook === undefined) return;
    if (await this.#doneOrForced(() => hook(this))) return;
    throw new HookForcedError(name, toError(this.#force.signal.reason));
  }

  async #tryHook(hook: 'preStop' | 'postStop'): Promise<void> {
    try {
      await this.#callHook(hook);
    } catch (thrown) {
      const error = toError(thrown);
      if (error instanceof HookForcedError) this.#stopErrors.push(error);
      this.#emit({ type: 'hook-failed', hook, error });
    }
  }

  #emit(event: ServiceEvent | EntrypointEvent | ObservationEvent): void {
    this.#events.emit({ ...event, at: this.#clock.now() });
  }

  /** @throws what the constructor throws. */
  #checkTree(): void {
    checkNames([this.#root]);
    checkDependencies(held(this.#root));
  }

  #host(): Host {
    const { logger } = this.#logging as Logging;
    return {
      root: this.#root,
      clock: this.#clock,
      context: this.#context,
      workers: this.#workers,
      force: this.#force.signal,
      random: this.#random,
      loggerFor: (service) => logger.child({ service }),
      emit: (event) => {
        if (event.type === 'service-stop-failed' && !this.ready) this.#stopErrors.push(event.error);
        this.#emit(event);
      },
      restarted: (services) => void this.#restartDependents(services),
      control: this.#control(this.#logging as Logging),
    };
  }

  #control(logging: Logging): Control {
    const daemon = this;
    return {
      get phase() {
        return daemon.#phase;
      },
      get logDropped() {
        return logging.dropped;
      },
      get logShare() {
        return logging.share;
      },
      services: () => this.services,
      restart: (name) => this.#inContext(() => this.restart(name)),
      reload: async () => {
        if (this.#hooks.reload === undefined) throw new NoReloadError('the daemon has no reload hook');
        await this.#inContext(() => this.#reload());
      },
      on: (listener) => this.#events.on(listener),
      tapLog: (listener) => logging.tap(listener),
      atEnd: (cleanUp) => this.#atEnd.push(cleanUp),
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

  /** @throws {UnknownServiceError} `ERR_UNKNOWN_SERVICE` */
  #supervisorOf(name: string): Supervisor {
    const services = subtree(this.#root);
    const isParent = (service: Service): service is Supervisor =>
      service instanceof Supervisor && held(service).some((child) => child.name === name);
    const parent = services.find(isParent);
    if (parent !== undefined) return parent;
    const names = services.slice(1).map((service) => service.name);
    throw new UnknownServiceError(name, nearest(name, names));
  }

  /** @throws what the hook throws; it has been logged. */
  async #reload(): Promise<void> {
    const begun = this.#clock.now();
    let error: Error | undefined;
    this.#emit({ type: 'entrypoint-reload-requested' });
    try {
      await this.#hooks.reload?.(this);
    } catch (thrown) {
      error = toError(thrown);
      this.#emit({ type: 'hook-failed', hook: 'reload', error });
      throw thrown;
    } finally {
      this.#emit({ type: 'entrypoint-reloaded', durationMs: this.#clock.now() - begun, error });
    }
  }

  #processOwner(): ProcessOwner {
    return {
      onStopSignal: (signal) => {
        this.#signals += 1;
        if (this.#signals === 1) this.stop(signal).catch(() => {});
        else if (this.#signals === 2) this.abort(`second ${signal}`).catch(() => {});
        else this.#finish(128 + signalNumbers[signal]);
      },
      onReloadSignal: () => void this.#reload().catch(() => {}),
      onStrayError: (kind, error) => this.#fail(new StrayError(kind, error)),
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
