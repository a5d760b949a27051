import { z } from 'zod';
import {
  RestartsExhaustedError,
  ServiceInUseError,
  ServiceStopped,
  ShutdownError,
  toError,
  UnknownServiceError,
} from '../errors.ts';
import { nearest } from '../nearest.ts';
import { durationMs } from '../options.ts';
import { isService, type Scope, Service, type StopReason } from '../service.ts';
import { Child } from './child.ts';
import { type Graph, restrictedTo, reversed, visitInOrder } from './graph.ts';
import type { Host, ServiceInfo } from './host.ts';
import { type Culprit, Recovery } from './recovery.ts';
import { FailureWindow, intensitySchema, pauseBefore, restartBackoffSchema } from './restart-policy.ts';
import { hostOf, type RunEnd } from './run.ts';
import { checkNames, dependencyGraph, heldServices } from './tree.ts';

/** The options of supervision; the entrypoint takes the same. */
export const supervisionShape = {
  /**
   * What is restarted when a service fails: it alone (`one-for-one`), all (`one-for-all`), or it and those
   * that start after it (`rest-for-one`).
   */
  strategy: z.enum(['one-for-one', 'one-for-all', 'rest-for-one']).default('one-for-one'),
  intensity: intensitySchema.prefault({}),
  backoff: restartBackoffSchema.prefault({}),
};

interface StartFailure {
  readonly child: Child;
  readonly error: Error;
}

const Base = Service.extend({
  services: z.array(z.custom<Service>(isService, 'must be a service')),
  ...supervisionShape,
  // The services' own timeouts bound it, as in OTP (`shutdown: infinity`).
  startTimeoutMs: durationMs().default(Number.POSITIVE_INFINITY),
  stopTimeoutMs: durationMs().default(Number.POSITIVE_INFINITY),
});

/**
 * A service made of services. It starts them in the order of their dependencies, restarts what fails, and
 * stops them in reverse. When the failures exceed its `intensity` it fails itself, and the supervisor above
 * it decides. It ends when all its services have ended.
 *
 * The rules are OTP's (https://www.erlang.org/doc/system/sup_princ.html), with two differences. The budget
 * is shared by the critical services; one that is not critical has a budget of its own, and stays `failed`
 * when that is spent. And a service with `restart: never` that fails takes its supervisor down, unless it is
 * not critical: OTP's `temporary` is `restart: never` with `critical: false`.
 */
export class Supervisor extends Base {
  #children: Map<string, Child>;
  #graph: Graph<Child>;
  readonly #window: FailureWindow;
  /** The restart of a group that is under way, where the strategy restarts groups. */
  #group: Recovery | undefined;
  #scope: Scope | undefined;
  #initialStart: Promise<unknown> = Promise.resolve();
  #starting = false;
  /** Ends that came during the first start; a strategy that restarts groups deals with them after it. */
  #postponed: Culprit[] = [];

  /**
   * @throws {OptionsError} `ERR_OPTIONS`
   * @throws {DuplicateServiceError} `ERR_DUPLICATE_SERVICE`
   * @throws {DependencyCycleError} `ERR_DEPENDENCY_CYCLE`
   */
  constructor(...args: ConstructorParameters<typeof Base>) {
    super(...args);
    const services = [...new Set(this.options.services)];
    checkNames(services);
    this.#children = new Map(services.map((service) => [service.name, this.#newChild(service)]));
    this.#graph = this.#order();
    this.#window = new FailureWindow(this.options.intensity);
  }

  /** The services directly below, at present. @internal */
  get [heldServices](): readonly Service[] {
    return [...this.#children.values()].map((child) => child.service);
  }

  override async start(scope: Scope): Promise<void> {
    this.#scope = scope;
    this.#window.clear();
    this.#group = undefined;
    this.#postponed = [];
    this.#starting = true;
    const attempt = this.#startMany(new Set(this.#graph.keys()), scope.signal);
    this.#initialStart = attempt;
    const failure = await attempt;
    this.#starting = false;
    if (failure !== undefined || scope.signal.aborted) {
      await this.#stopAll('rollback', failure?.error, this.#host.force);
      throw failure?.error ?? scope.signal.reason;
    }
    for (const { child, end } of this.#postponed.splice(0)) this.#onEnd(child, end);
    if (this.#children.size > 0) this.#finishIfAllEnded();
  }

  /** @throws {ShutdownError} `ERR_SHUTDOWN`: what failed to stop or had to be forced. */
  override async stop(reason: StopReason): Promise<void> {
    const kind = reason.kind === 'remove' || reason.kind === 'shutdown' ? reason.kind : 'restart';
    const errors = await this.#stopAll(kind, reason.error, reason.signal);
    if (errors.length > 0) throw new ShutdownError(errors);
  }

  override waitingFor(): readonly string[] {
    return [...this.#children.values()]
      .filter(({ state }) => state.status === 'starting' || state.status === 'stopping')
      .map((child) => `service "${child.name}"`);
  }

  /** Copies of what is known of every service below, in start order. */
  get services(): ServiceInfo[] {
    return [...this.#graph].flatMap(([child, dependencies]) => [
      {
        name: child.name,
        type: child.service.constructor.name,
        state: { ...child.state },
        restarts: child.restarts,
        lastError: child.lastError,
        critical: child.service.options.critical,
        dependencies: [...dependencies].map((dependency) => dependency.name),
        supervisor: this.name,
        addresses: child.state.status === 'running' ? [...child.service.addresses] : [],
      },
      ...(child.service instanceof Supervisor ? child.service.services : []),
    ]);
  }

  /**
   * Adds a service and starts it; resolves when it runs. When it cannot start, it is not added.
   *
   * @throws {DuplicateServiceError} `ERR_DUPLICATE_SERVICE`
   * @throws {DependencyCycleError} `ERR_DEPENDENCY_CYCLE`
   */
  async add(service: Service): Promise<void> {
    checkNames([...this[heldServices], service]);
    const child = this.#newChild(service);
    this.#children.set(service.name, child);
    try {
      this.#graph = this.#order();
      if (this.#scope === undefined) return;
      await this.#initialStart;
      this.#scope.signal.throwIfAborted();
      await child.exclusively(() => this.#startChild(child, this.#running.signal));
    } catch (error) {
      this.#forget(child);
      throw error;
    }
    this.#host.emit({ type: 'service-added', service: service.name });
  }

  /**
   * Stops a service and takes it out.
   *
   * @throws {UnknownServiceError} `ERR_UNKNOWN_SERVICE`
   * @throws {ServiceInUseError} `ERR_SERVICE_IN_USE` when others depend on it.
   * @throws {ShutdownError} `ERR_SHUTDOWN` when its stop failed or was forced; it is out all the same.
   */
  async remove(name: string): Promise<void> {
    const child = this.#find(name);
    const dependents = [...this.#graph].flatMap(([other, needs]) => (needs.has(child) ? [other.name] : []));
    if (dependents.length > 0) throw new ServiceInUseError(name, dependents);
    while (child.recovery !== undefined) {
      if (child.recovery.members.size === 1) child.recovery.cancel(new ServiceStopped(name, 'remove'));
      else child.recovery.hurry();
      await child.recovery.settled;
    }
    const errors =
      this.#scope === undefined
        ? []
        : await child.exclusively(() => child.stop(this.#host, 'remove', undefined, this.#host.force));
    this.#forget(child);
    if (this.#scope !== undefined) this.#host.emit({ type: 'service-removed', service: name });
    if (errors.length > 0) throw new ShutdownError(errors);
  }

  /**
   * Stops a service, if it runs, and starts it afresh: its budget and its backoff begin anew. A pause before
   * a restart that is under way is cut short. `alone` leaves out the services that ask to be restarted with it.
   *
   * @throws {UnknownServiceError} `ERR_UNKNOWN_SERVICE`
   * @throws {StartError} `ERR_SERVICE_START` when it could not start; its restart policy goes on.
   */
  async restart(name: string, { alone = false }: { readonly alone?: boolean } = {}): Promise<void> {
    const child = this.#find(name);
    await this.#initialStart;
    this.#running.signal.throwIfAborted();
    child.attempts = 0;
    child.window.clear();
    if (child.recovery !== undefined) {
      child.recovery.hurry();
      await child.recovery.settled;
      if (child.state.status === 'running') return;
      throw child.lastError ?? this.#running.signal.reason;
    }
    await child.exclusively(async () => {
      await child.stop(this.#host, 'restart', undefined, this.#host.force);
      try {
        await this.#startChild(child, this.#running.signal);
      } catch (thrown) {
        if (!this.#running.signal.aborted) {
          this.#onEnd(child, { kind: 'failed', error: toError(thrown), origin: 'start' });
        }
        throw thrown;
      }
      child.restarts += 1;
    });
    if (!alone) this.#host.restarted(new Set([child.service]));
  }

  get #host(): Host {
    return hostOf(this.#running);
  }

  get #running(): Scope {
    if (this.#scope === undefined) throw new ServiceStopped(this.name, 'it has not been started');
    return this.#scope;
  }

  #newChild(service: Service): Child {
    return new Child(service, this.options.intensity);
  }

  #order(): Graph<Child> {
    const childOf = new Map([...this.#children.values()].map((child) => [child.service, child]));
    const child = (service: Service) => childOf.get(service) as Child;
    const graph = dependencyGraph([...childOf.keys()]);
    return new Map([...graph].map(([service, needs]) => [child(service), new Set([...needs].map(child))]));
  }

  #forget(child: Child): void {
    this.#children.delete(child.name);
    this.#graph = this.#order();
  }

  #find(name: string): Child {
    const child = this.#children.get(name);
    if (child === undefined) throw new UnknownServiceError(name, nearest(name, this.#children.keys()));
    return child;
  }

  #startChild(child: Child, signal: AbortSignal): Promise<void> {
    return child.start(this.#host, signal, (end) => this.#onEnd(child, end));
  }

  /** Starts children in order. The first failure aborts the rest of the attempt, and is the result. */
  async #startMany(children: ReadonlySet<Child>, signal: AbortSignal): Promise<StartFailure | undefined> {
    let failure: StartFailure | undefined;
    const attempt = new AbortController();
    const onAbort = () => attempt.abort(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    await visitInOrder(restrictedTo(this.#graph, children), async (child) => {
      if (attempt.signal.aborted) return;
      try {
        await this.#startChild(child, attempt.signal);
      } catch (thrown) {
        if (attempt.signal.aborted) return;
        const error = toError(thrown);
        if (this.#starting && this.#mayStartLater(child)) {
          this.#onEnd(child, { kind: 'failed', error, origin: 'start' });
          return;
        }
        failure = { child, error };
        attempt.abort(new ServiceStopped(child.name, error.message));
      }
    });
    signal.removeEventListener('abort', onAbort);
    return failure;
  }

  /** One that is not critical and that nothing needs does not keep the others from starting. */
  #mayStartLater(child: Child): boolean {
    return !child.service.options.critical && ![...this.#graph.values()].some((needs) => needs.has(child));
  }

  /** Stops children in reverse order; the culprit is told of its failure, the others of a restart. */
  async #stopMany(children: ReadonlySet<Child>, culprit: Culprit): Promise<void> {
    await Promise.all([...children].map((child) => child.idle()));
    await visitInOrder(reversed(restrictedTo(this.#graph, children)), async (child) => {
      await this.#stopEnded(child, child === culprit.child ? culprit.end : undefined);
    });
  }

  async #stopEnded(child: Child, end: RunEnd | undefined): Promise<void> {
    const kind = end === undefined ? 'restart' : end.kind === 'failed' ? 'failure' : 'finish';
    await child.stop(this.#host, kind, end?.kind === 'failed' ? end.error : undefined, this.#host.force);
  }

  async #stopAll(kind: StopReason['kind'], error: Error | undefined, force: AbortSignal): Promise<Error[]> {
    const errors: Error[] = [];
    const host = this.#host;
    for (const child of this.#children.values()) child.recovery?.cancel(this.#running.signal.reason);
    await visitInOrder(reversed(this.#graph), async (child) => {
      await child.recovery?.settled;
      await child.idle();
      errors.push(...(await child.stop(host, kind, error, force)));
      const { status } = child.state;
      if (status === 'backing-off') child.become({ status: 'stopped', since: host.clock.now() });
    });
    return errors;
  }

  #onEnd(child: Child, end: RunEnd): void {
    if (this.#running.signal.aborted) return;
    if (end.kind === 'failed') {
      child.lastError = end.error;
      if (end.origin !== 'start') {
        this.#host.emit({
          type: 'service-failed',
          service: child.name,
          error: end.error,
          origin: end.origin,
        });
      }
    }
    const { restart } = child.service.options;
    if (restart === 'never' || (restart === 'on-failure' && end.kind === 'finished')) {
      this.#retire(child, end);
    } else if (this.options.strategy === 'one-for-one') {
      this.#recover([child], { child, end });
    } else if (this.#starting) {
      this.#postponed.push({ child, end });
    } else {
      this.#recoverGroup({ child, end });
    }
  }

  /** Ends a child that is not to be restarted. */
  #retire(child: Child, end: RunEnd): void {
    void child
      .exclusively(async () => {
        await this.#stopEnded(child, end);
        if (end.kind === 'failed') this.#giveUp(child, end.error, 1);
        else this.#finishIfAllEnded();
      })
      .catch((error) => this.#running.fail(error));
  }

  #giveUp(child: Child, cause: Error, failures: number): void {
    const { windowMs } = this.options.intensity;
    const error = new RestartsExhaustedError(child.name, failures, windowMs, cause);
    this.#host.emit({ type: 'service-gave-up', service: child.name, error });
    if (child.service.options.critical) this.#running.fail(error);
    else this.#finishIfAllEnded();
  }

  /** A supervisor with nothing left is done; with nothing left but failures it has failed. */
  #finishIfAllEnded(): void {
    const children = [...this.#children.values()];
    if (this.#starting || !children.every((child) => child.ended)) return;
    const failed = children.find((child) => child.state.status === 'failed');
    if (failed?.lastError === undefined) this.#running.finish();
    else this.#running.fail(failed.lastError);
  }

  #recoverGroup(culprit: Culprit): void {
    const order = [...this.#graph.keys()];
    const from = this.options.strategy === 'one-for-all' ? 0 : order.indexOf(culprit.child);
    const members = order
      .slice(from)
      .filter((child) => child === culprit.child || child.state.status !== 'failed');
    if (this.#group === undefined) {
      this.#group = this.#recover(members, culprit);
      void this.#group.settled.then(() => {
        this.#group = undefined;
      });
    } else {
      this.#group.interrupt(culprit, members);
    }
  }

  #recover(members: readonly Child[], culprit: Culprit): Recovery {
    if (culprit.child.recovery !== undefined) {
      culprit.child.recovery.interrupt(culprit, []);
      return culprit.child.recovery;
    }
    const recovery = new Recovery(members, culprit);
    recovery.begin(
      () => this.#drive(recovery),
      (error) => this.#running.fail(error),
    );
    void recovery.settled.then(() => {
      if (!this.#running.signal.aborted) this.#finishIfAllEnded();
    });
    return recovery;
  }

  /** Stops the members, pauses, starts them; again for every failure that comes in between. */
  async #drive(recovery: Recovery): Promise<void> {
    const { clock } = this.#host;
    for (let culprit = recovery.take(); culprit !== undefined; culprit = recovery.take()) {
      const { child, end } = culprit;
      const exhausted = this.#count(child);
      await this.#stopMany(recovery.members, culprit);
      for (const member of recovery.members) {
        // A bystander that is never to be restarted stays down (OTP deletes a temporary one).
        if (member !== child && member.service.options.restart === 'never') this.#leave(recovery, member);
      }
      if (recovery.cancelled || this.#running.signal.aborted) return;
      const error = end.kind === 'failed' ? end.error : undefined;
      if (exhausted) {
        this.#leave(recovery, child);
        this.#giveUp(child, error ?? new Error('it keeps ending'), this.#windowOf(child).count);
        if (child.service.options.critical || recovery.members.size === 0) return;
      } else {
        const pauseMs = pauseBefore(child.attempts, this.options.backoff, this.#host.random);
        const since = clock.now();
        for (const member of recovery.members) {
          member.become({ status: 'backing-off', since, error, nextTryAt: since + pauseMs });
          const attempt = child.attempts;
          this.#host.emit({ type: 'service-restarting', service: member.name, attempt, pauseMs, error });
        }
        await recovery.pause(clock, pauseMs);
      }
      const failure = recovery.attemptSignal.aborted
        ? undefined
        : await this.#startMany(recovery.members, recovery.attemptSignal);
      if (recovery.cancelled || this.#running.signal.aborted) return;
      if (failure !== undefined) {
        recovery.interrupt(
          { child: failure.child, end: { kind: 'failed', error: failure.error, origin: 'start' } },
          [],
        );
      } else if (!recovery.attemptSignal.aborted) {
        for (const member of recovery.members) member.restarts += 1;
        this.#host.restarted(new Set([...recovery.members].map((member) => member.service)));
      }
    }
  }

  #leave(recovery: Recovery, child: Child): void {
    recovery.members.delete(child);
    child.recovery = undefined;
  }

  #windowOf(child: Child): FailureWindow {
    return child.service.options.critical ? this.#window : child.window;
  }

  /** Counts a failure, or an end that is to be restarted. Returns whether the budget is exhausted by it. */
  #count(child: Child): boolean {
    const now = this.#host.clock.now();
    const { state } = child;
    const healthy = state.status === 'running' && now - state.since >= this.options.backoff.resetAfterMs;
    child.attempts = healthy ? 1 : child.attempts + 1;
    return this.#windowOf(child).record(now);
  }
}
