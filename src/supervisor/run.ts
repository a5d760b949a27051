import { AsyncLocalStorage } from 'node:async_hooks';
import { doneWithin, orAborted } from '../abort.ts';
import type { Context } from '../context.ts';
import {
  ContextClosedError,
  ServiceStopped,
  ShutdownError,
  StartError,
  StartTimeoutError,
  StopError,
  StopForcedError,
  toError,
} from '../errors.ts';
import type { Logger, Scope, Service, StopReason } from '../service.ts';
import type { Host } from './host.ts';
import { height, held } from './tree.ts';

/** How a run ended by itself. */
export type RunEnd =
  | { readonly kind: 'failed'; readonly error: Error; readonly origin: string }
  | { readonly kind: 'finished' };

/** How long a stop that has been forced may take to settle before it is left behind. @internal */
export const FORCED_GRACE_MS = 100;

const currentRun = new AsyncLocalStorage<Run>();

/** The run whose code is executing, for the attribution of stray errors. @internal */
export const runOf = (): Run | undefined => currentRun.getStore();

/** Whose code a run's is; `undefined` for the entrypoint's own. @internal */
export const serviceNameOf = (run: Run | undefined): string | undefined =>
  run === undefined || run.service === run.host.root ? undefined : run.service.name;

/** Runs that have started and not ended yet. */
const liveRuns = new Set<Run>();
let followFrame: ((run: Run) => void) | undefined;

/**
 * Calls `follow` inside each asynchronous frame in which a run's code begins: those there are at once, and each
 * that comes. What the frame's map holds, whatever starts from there has too. Follows one at a time; returns
 * the way to end that.
 * @internal
 */
export function followFrames(follow: (run: Run) => void): () => void {
  followFrame = follow;
  visitFrames(follow);
  return () => {
    if (followFrame === follow) followFrame = undefined;
  };
}

/** Calls `visit` inside each frame in which a live run's code began. @internal */
export function visitFrames(visit: (run: Run) => void): void {
  for (const run of liveRuns) run.visitFrames(visit);
}

const runsByScope = new WeakMap<Scope, Run>();

/** The host behind a scope, for supervisors. @internal */
export function hostOf(scope: Scope): Host {
  const run = runsByScope.get(scope);
  if (run === undefined) throw new TypeError('a supervisor can only be started by the entrypoint');
  return run.host;
}

/** One run of a service, from `start` to the end of its `stop`. @internal */
export class Run {
  readonly service: Service;
  readonly host: Host;
  /** Resolves when the run ends by itself; pending for ever when it is stopped from outside. */
  readonly ended: Promise<RunEnd>;
  readonly #end: (end: RunEnd) => void;
  readonly #abort = new AbortController();
  readonly #tasks = new Map<Promise<void>, string>();
  /** Ways into the frames of `start` and of the tasks under way. */
  readonly #frames = new Set<ReturnType<typeof AsyncLocalStorage.snapshot>>();
  readonly #keysWaitedFor = new Map<symbol, string>();
  readonly #cleanUps: (() => unknown)[] = [];
  /** The service's method that is under way, for the report of what held it. */
  #calling: string | undefined;
  #cleaningUp = false;
  #stopFailures = 0;
  #logger: Logger | undefined;

  constructor(service: Service, host: Host) {
    this.service = service;
    this.host = host;
    const { promise, resolve } = Promise.withResolvers<RunEnd>();
    this.ended = promise;
    this.#end = resolve;
  }

  /** The service's logger. */
  get log(): Logger {
    this.#logger ??= this.host.loggerFor(this.service.name);
    return this.#logger;
  }

  /** What went wrong when it was stopped, or rolled back, without that of the services below. */
  get stopFailures(): number {
    return this.#stopFailures;
  }

  /**
   * @throws {StartError} `ERR_SERVICE_START`
   * @throws {StartTimeoutError} `ERR_SERVICE_START_TIMEOUT`
   * @throws `signal.reason` when the signal aborts first.
   */
  async start(signal: AbortSignal): Promise<void> {
    const { name, options } = this.service;
    const { startTimeoutMs, stopTimeoutMs } = options;
    signal.throwIfAborted();
    const scope = this.#scope();
    runsByScope.set(scope, this);
    const overdue = Promise.withResolvers<never>();
    let timeout: StartTimeoutError | undefined;
    using _timer = this.host.clock.setTimer(() => {
      timeout = new StartTimeoutError(name, startTimeoutMs, this.#heldBy());
      overdue.reject(timeout);
    }, startTimeoutMs);
    this.#calling = 'start()';
    liveRuns.add(this);
    const started = this.#enter(async () => {
      this.#frames.add(AsyncLocalStorage.snapshot());
      return this.service.start(scope);
    });
    try {
      await orAborted(Promise.race([started, this.#failedEarly(started), overdue.promise]), signal);
      this.#calling = undefined;
    } catch (thrown) {
      const error = signal.aborted ? undefined : toError(thrown);
      // A start that has been given up may still succeed; then there is something to stop.
      const limitMs = Math.min(startTimeoutMs, stopTimeoutMs);
      await this.#windDown('rollback', error, limitMs, async (reason) => {
        const succeeded = await started.then(
          () => true,
          () => false,
        );
        if (succeeded) await this.#callStop(reason);
      });
      if (error === undefined) throw signal.reason;
      throw error === timeout ? error : new StartError(name, error);
    }
  }

  /**
   * Ends a started run: aborts the scope, calls the service's `stop`, awaits its tasks, runs the clean-ups.
   * Never rejects; what went wrong is the result.
   */
  stop(kind: StopReason['kind'], error?: Error): Promise<Error[]> {
    const { stopTimeoutMs } = this.service.options;
    return this.#windDown(kind, error, stopTimeoutMs, (reason) => this.#callStop(reason));
  }

  /** The run failed: the first end counts, and none after it is being stopped. */
  fail(error: unknown, origin: string): void {
    if (this.#abort.signal.aborted) return;
    this.#end({ kind: 'failed', error: toError(error), origin });
  }

  /** Something that this run started threw where nobody caught it. */
  stray(error: Error): void {
    if (this.#abort.signal.aborted) {
      this.host.emit({ type: 'service-stray-error', service: this.service.name, error });
    } else {
      this.fail(error, 'a stray error');
    }
  }

  visitFrames(visit: (run: Run) => void): void {
    for (const frame of this.#frames) frame(() => visit(this));
  }

  /** Runs the service's code, in a frame of its own. */
  #enter<Result>(code: () => Result): Result {
    return currentRun.run(this, () => {
      followFrame?.(this);
      return code();
    });
  }

  async #failedEarly(started: Promise<void>): Promise<void> {
    const end = await this.ended;
    if (end.kind === 'failed') throw end.error;
    await started;
  }

  async #callStop(reason: StopReason): Promise<void> {
    this.#calling = 'stop()';
    await this.service.stop(reason);
  }

  /**
   * Ends the run with `end`, its tasks and its clean-ups; after `limitMs`, or when the host forces it, with
   * what is left of them in the background.
   */
  async #windDown(
    kind: StopReason['kind'],
    error: Error | undefined,
    limitMs: number,
    end: (reason: StopReason) => Promise<void>,
  ): Promise<Error[]> {
    const { name } = this.service;
    const { clock, force } = this.host;
    const begun = clock.now();
    const forcedAtOnce = force.aborted;
    const errors: Error[] = [];
    const below: Error[] = [];
    const onError = (thrown: unknown) => {
      // A supervisor's stop carries the errors of its services: they stand for themselves.
      if (thrown instanceof ShutdownError) below.push(...thrown.errors);
      else errors.push(new StopError(name, toError(thrown)));
    };
    const forced = new AbortController();
    let why = '';
    let heldBy: readonly string[] = [];
    const forceNow = (reason: string) => {
      why = reason;
      heldBy = this.#heldBy();
      this.#enter(() => forced.abort(new ServiceStopped(name, why)));
    };
    // In its context, as the listeners are the service's code.
    this.#enter(() => this.#abort.abort(new ServiceStopped(name, kind)));
    const all = this.#enter(async () => end({ kind, error, signal: forced.signal }))
      .catch(onError)
      .then(async () => {
        this.#calling = undefined;
        await this.#settledTasks();
        await this.#cleanUp(onError);
      });
    const onForce = () => forceNow(toError(force.reason).message);
    const limit = kind === 'rollback' ? 'limit of a roll-back' : 'stopTimeoutMs';
    const timer = clock.setTimer(() => forceNow(`${limit}: ${limitMs}`), limitMs);
    if (forcedAtOnce) onForce();
    else force.addEventListener('abort', onForce, { once: true });
    const inTime = await orAborted(all, forced.signal).then(
      () => true,
      () => false,
    );
    timer.cancel();
    force.removeEventListener('abort', onForce);
    if (!inTime) {
      // The clean-ups of a hung stop still have to run: they are what closes its sockets.
      void this.#cleanUp(onError);
      // On each level of supervisors, those whose turn has not come are given as long before they are hurried.
      const done = await doneWithin(all, FORCED_GRACE_MS * (2 * height(this.service) - 1), clock);
      // Who ends at once when forced from the outset was not held by anything; and what holds a supervisor
      // are its services, which report for themselves.
      if (!done || !(forcedAtOnce || held(this.service).length > 0)) {
        if (!done) heldBy = this.#heldBy();
        errors.push(new StopForcedError(name, why, clock.now() - begun, heldBy, !done));
      }
    }
    liveRuns.delete(this);
    this.#report(errors);
    return [...below, ...errors];
  }

  #report(errors: readonly Error[]): void {
    this.#stopFailures += errors.length;
    for (const error of errors) {
      this.host.emit({ type: 'service-stop-failed', service: this.service.name, error });
    }
  }

  async #settledTasks(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.all(this.#tasks.keys());
  }

  async #cleanUp(onError: (thrown: unknown) => void): Promise<void> {
    this.#cleaningUp = true;
    for (let cleanUp = this.#cleanUps.pop(); cleanUp !== undefined; cleanUp = this.#cleanUps.pop()) {
      this.#calling ??= 'a clean-up';
      try {
        await this.#enter(cleanUp);
      } catch (thrown) {
        onError(thrown);
      }
    }
  }

  /** What the service is waiting for, by its own word or as far as can be seen. */
  #heldBy(): string[] {
    const tasks = this.#abort.signal.aborted ? [...this.#tasks.values()].map((task) => `task "${task}"`) : [];
    const keys = [...this.#keysWaitedFor.values()].map((key) => `context key "${key}"`);
    const named = [...this.#waitingFor(), ...tasks, ...keys];
    return named.length === 0 && this.#calling !== undefined ? [this.#calling] : named;
  }

  #waitingFor(): readonly string[] {
    try {
      return this.service.waitingFor();
    } catch {
      return []; // A service's own code: what it throws here must not hide what it is asked about.
    }
  }

  #scope(): Scope {
    const run = this;
    const { signal } = this.#abort;
    const { host, service } = this;
    return {
      signal,
      clock: host.clock,
      workers: host.workers,
      context: this.#context(),
      get log() {
        return run.log;
      },
      spawn: (name, work) => this.#spawn(name, work),
      fail: (error) => this.fail(error, 'scope.fail'),
      finish: () => {
        if (!signal.aborted) this.#end({ kind: 'finished' });
      },
      defer: (cleanUp) => {
        this.#cleanUps.push(cleanUp);
        if (this.#cleaningUp) {
          void this.#cleanUp((thrown) => this.#report([new StopError(service.name, toError(thrown))]));
        }
      },
    };
  }

  #spawn(name: string, work: (signal: AbortSignal) => unknown): void {
    const { signal } = this.#abort;
    if (signal.aborted) return;
    const frame = this.#enter(() => AsyncLocalStorage.snapshot());
    const task: Promise<void> = frame(async () => void (await work(signal)))
      .catch((error) => this.fail(error, `task "${name}"`))
      .finally(() => {
        this.#tasks.delete(task);
        this.#frames.delete(frame);
      });
    this.#frames.add(frame);
    this.#tasks.set(task, name);
  }

  #context(): Context {
    const store = this.host.context;
    const { signal: own } = this.#abort;
    return {
      set: (key, value) => store.set(key, value),
      get: async (key, { signal, timeoutMs } = {}) => {
        const waiting = Symbol(key);
        const linked = new AbortController();
        const onEnd = () => linked.abort(new ContextClosedError(key, toError(own.reason)));
        const onAbort = () => linked.abort(signal?.reason);
        if (own.aborted) onEnd();
        if (signal?.aborted) onAbort();
        this.#keysWaitedFor.set(waiting, key);
        own.addEventListener('abort', onEnd);
        signal?.addEventListener('abort', onAbort);
        try {
          return (await store.get(key, { signal: linked.signal, timeoutMs })) as never;
        } finally {
          own.removeEventListener('abort', onEnd);
          signal?.removeEventListener('abort', onAbort);
          this.#keysWaitedFor.delete(waiting);
        }
      },
    };
  }
}
