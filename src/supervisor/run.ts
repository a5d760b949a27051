import { AsyncLocalStorage } from 'node:async_hooks';
import type { Context } from '../context.ts';
import {
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

/** How a run ended by itself. */
export type RunEnd =
  | { readonly kind: 'failed'; readonly error: Error; readonly origin: string }
  | { readonly kind: 'finished' };

/** How long a stop that has been forced may take to settle before it is left behind. */
const FORCED_GRACE_MS = 100;

const currentRun = new AsyncLocalStorage<Run>();

/** The run whose code is executing, for the attribution of stray errors. @internal */
export const runOf = (): Run | undefined => currentRun.getStore();

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
  readonly #keysWaitedFor = new Map<symbol, string>();
  readonly #cleanUps: (() => unknown)[] = [];
  #cleanedUp = false;
  #logger: Logger | undefined;
  #started: Promise<void> | undefined;

  constructor(service: Service, host: Host) {
    this.service = service;
    this.host = host;
    const { promise, resolve } = Promise.withResolvers<RunEnd>();
    this.ended = promise;
    this.#end = resolve;
  }

  /**
   * @throws {StartError} `ERR_SERVICE_START`
   * @throws {StartTimeoutError} `ERR_SERVICE_START_TIMEOUT`
   * @throws `signal.reason` when the signal aborts first.
   */
  async start(signal: AbortSignal): Promise<void> {
    const { name, options } = this.service;
    signal.throwIfAborted();
    const scope = this.#scope();
    runsByScope.set(scope, this);
    const cut = Promise.withResolvers<never>();
    const onAbort = () => cut.reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const timer =
      options.startTimeoutMs === Number.POSITIVE_INFINITY
        ? undefined
        : this.host.clock.setTimer(
            () => cut.reject(new StartTimeoutError(name, options.startTimeoutMs, this.#waitingFor())),
            options.startTimeoutMs,
          );
    const started = currentRun.run(this, async () => this.service.start(scope));
    this.#started = started;
    started.catch(() => {});
    try {
      await Promise.race([started, this.#failedEarly(), cut.promise]);
    } catch (error) {
      timer?.cancel();
      signal.removeEventListener('abort', onAbort);
      await this.#rollBack(started, error);
      if (signal.aborted) throw signal.reason;
      throw error instanceof StartTimeoutError ? error : new StartError(name, toError(error));
    }
    timer?.cancel();
    signal.removeEventListener('abort', onAbort);
  }

  /**
   * Ends a started run: aborts the scope, calls the service's `stop`, awaits its tasks, runs the clean-ups.
   * Never rejects; what went wrong is the result.
   */
  async stop(kind: StopReason['kind'], error: Error | undefined, force: AbortSignal): Promise<Error[]> {
    const { name } = this.service;
    const { clock } = this.host;
    const timeoutMs = this.service.options.stopTimeoutMs;
    const begun = clock.now();
    const forcedFromTheStart = force.aborted;
    const errors: Error[] = [];
    const forced = new AbortController();
    let why = '';
    let heldBy: readonly string[] = [];
    const forceNow = (reason: string) => {
      if (forced.signal.aborted) return;
      why = reason;
      heldBy = this.#heldBy(stopping);
      forced.abort(new ServiceStopped(name, reason));
    };
    let stopping = true;
    this.#abort.abort(new ServiceStopped(name, kind));
    const reason: StopReason = { kind, error, signal: forced.signal };
    const stopped = currentRun
      .run(this, async () => this.service.stop(reason))
      .then(
        () => {
          stopping = false;
        },
        (thrown) => {
          stopping = false;
          // A supervisor's stop carries the errors of its services: they stand for themselves.
          if (thrown instanceof ShutdownError) errors.push(...thrown.errors);
          else errors.push(new StopError(name, toError(thrown)));
        },
      );
    const all = Promise.all([stopped, this.#settledTasks()]).then(() => this.#cleanUp(errors));
    const onForce = () => forceNow(toError(force.reason).message);
    const timer =
      timeoutMs === Number.POSITIVE_INFINITY
        ? undefined
        : clock.setTimer(() => forceNow(`stopTimeoutMs: ${timeoutMs}`), timeoutMs);
    if (force.aborted) onForce();
    else force.addEventListener('abort', onForce, { once: true });

    const settled = await Promise.race([all.then(() => true), aborted(forced.signal).then(() => false)]);
    timer?.cancel();
    force.removeEventListener('abort', onForce);
    if (!settled) {
      // The clean-ups of a hung stop still have to run: they are what closes its sockets.
      void this.#cleanUp(errors);
      const done = await this.#within(all, FORCED_GRACE_MS);
      // One whose turn comes when the force is already on, and that ends at once, was not held by anything.
      if (!done || !forcedFromTheStart) {
        const left = done ? heldBy : this.#heldBy(stopping);
        errors.push(
          new StopForcedError(name, why, clock.now() - begun, left.length > 0 ? left : heldBy, !done),
        );
      }
    }
    return errors;
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

  async #failedEarly(): Promise<void> {
    const end = await this.ended;
    if (end.kind === 'failed') throw end.error;
    await this.#started;
  }

  /** Ends a run that did not get as far as running. */
  async #rollBack(started: Promise<void>, cause: unknown): Promise<void> {
    const { startTimeoutMs, stopTimeoutMs } = this.service.options;
    this.#abort.abort(new ServiceStopped(this.service.name, `start: ${toError(cause).message}`));
    const graceMs = Math.min(startTimeoutMs, stopTimeoutMs);
    const settled = started.then(
      () => true,
      () => false,
    );
    if (await this.#within(settled, graceMs)) {
      if (await settled) await this.#stopLate();
      else await this.#within(this.#settledTasks(), graceMs);
    } else {
      // It ignores its signal. Should it succeed after all, it is stopped then.
      void settled.then(async (success) => {
        if (success) await this.#stopLate();
      });
    }
    const errors: Error[] = [];
    await this.#within(this.#cleanUp(errors), graceMs);
    this.#report(errors);
  }

  async #stopLate(): Promise<void> {
    const never = new AbortController();
    this.#report(await this.stop('rollback', undefined, never.signal));
  }

  #report(errors: readonly Error[]): void {
    for (const error of errors) {
      this.host.emit({ type: 'service-stop-failed', service: this.service.name, error });
    }
  }

  async #within(work: Promise<unknown>, delayMs: number): Promise<boolean> {
    if (delayMs === Number.POSITIVE_INFINITY) return work.then(() => true);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    using _timer = this.host.clock.setTimer(() => resolve(false), delayMs);
    return await Promise.race([work.then(() => true), promise]);
  }

  async #settledTasks(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.all(this.#tasks.keys());
  }

  async #cleanUp(errors: Error[]): Promise<void> {
    this.#cleanedUp = true;
    for (let cleanUp = this.#cleanUps.pop(); cleanUp !== undefined; cleanUp = this.#cleanUps.pop()) {
      try {
        await currentRun.run(this, cleanUp);
      } catch (thrown) {
        errors.push(new StopError(this.service.name, toError(thrown)));
      }
    }
  }

  #waitingFor(): string[] {
    const keys = [...this.#keysWaitedFor.values()].map((key) => `context key "${key}"`);
    const named = [...this.service.waitingFor(), ...keys];
    return named.length > 0 ? named : ['start()'];
  }

  #heldBy(stopping: boolean): string[] {
    const tasks = [...this.#tasks.values()].map((task) => `task "${task}"`);
    const named = [...this.service.waitingFor(), ...tasks];
    return named.length === 0 && stopping ? ['stop()'] : named;
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
        run.#logger ??= host.loggerFor(service.name);
        return run.#logger;
      },
      spawn: (name, work) => this.#spawn(name, work),
      fail: (error) => this.fail(error, 'scope.fail'),
      finish: () => {
        if (!signal.aborted) this.#end({ kind: 'finished' });
      },
      defer: (cleanUp) => {
        this.#cleanUps.push(cleanUp);
        if (!this.#cleanedUp) return;
        const errors: Error[] = [];
        void this.#cleanUp(errors).then(() => this.#report(errors));
      },
    };
  }

  #spawn(name: string, work: (signal: AbortSignal) => unknown): void {
    const { signal } = this.#abort;
    if (signal.aborted) return;
    const task: Promise<void> = currentRun
      .run(this, async () => void (await work(signal)))
      .catch((error) => this.fail(error, `task "${name}"`))
      .finally(() => this.#tasks.delete(task));
    this.#tasks.set(task, name);
  }

  #context(): Context {
    const store = this.host.context;
    const { signal: own } = this.#abort;
    return {
      set: (key, value) => store.set(key, value),
      get: async (key, { signal, timeoutMs } = {}) => {
        const waiting = Symbol(key);
        this.#keysWaitedFor.set(waiting, key);
        const linked = new AbortController();
        const onOwn = () => linked.abort(own.reason);
        const onGiven = () => linked.abort(signal?.reason);
        if (own.aborted) onOwn();
        if (signal?.aborted) onGiven();
        own.addEventListener('abort', onOwn);
        signal?.addEventListener('abort', onGiven);
        try {
          return (await store.get(key, { signal: linked.signal, timeoutMs })) as never;
        } finally {
          own.removeEventListener('abort', onOwn);
          signal?.removeEventListener('abort', onGiven);
          this.#keysWaitedFor.delete(waiting);
        }
      },
    };
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
