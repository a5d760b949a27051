import { AsyncLocalStorage } from 'node:async_hooks';
import { z } from 'zod';
import { abortWith, orAborted } from '../abort.ts';
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
import { Lane } from './lane.ts';
import { FailureWindow, intensitySchema, pauseBefore, restartBackoffSchema } from './restart-policy.ts';
import { FORCED_GRACE_MS, hostOf, type RunEnd } from './run.ts';
import { checkDependencies, checkNames, dependencyGraph, dependentsOf, held, heldServices } from './tree.ts';

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

/** What a supervisor has while it is started. */
interface Life {
  readonly scope: Scope;
  readonly host: Host;
  /** Aborts when it is over, with the reason: nothing is started, restarted or added any more. */
  readonly over: AbortController;
  /** Forces the services' stops. */
  readonly force: AbortController;
  /** Runs a function in the supervisor's own asynchronous context, whoever asked for it. */
  readonly inContext: <Result>(work: () => Result) => Result;
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
  readonly #children = new Map<string, Child>();
  #graph: Graph<Child> = new Map();
  /** The failures of the critical services. */
  readonly #window: FailureWindow;
  /** For the strategies that restart groups; with `one-for-one` each child has a lane of its own. */
  readonly #groupLane = this.#newLane(() => [...this.#graph.keys()]);
  /** Those that are being added: they count as held only when they run. */
  readonly #joining = new Set<Child>();
  #life: Life | undefined;
  /** The start of all, while it is under way. */
  #starting: Promise<unknown> | undefined;

  /**
   * @throws {OptionsError} `ERR_OPTIONS`
   * @throws {DuplicateServiceError} `ERR_DUPLICATE_SERVICE`
   * @throws {DependencyCycleError} `ERR_DEPENDENCY_CYCLE`
   */
  constructor(...args: ConstructorParameters<typeof Base>) {
    super(...args);
    this.#window = new FailureWindow(this.options.intensity);
    const services = [...new Set(this.options.services)];
    checkNames(services);
    for (const service of services) this.#hold(service);
    this.#graph = this.#order();
  }

  /** The services directly below, at present. @internal */
  get [heldServices](): readonly Service[] {
    return [...this.#children.values()].map((child) => child.service);
  }

  override async start(scope: Scope): Promise<void> {
    const host = hostOf(scope);
    const over = new AbortController();
    const force = new AbortController();
    abortWith(over, scope.signal);
    this.#life = {
      scope,
      over,
      force,
      host: { ...host, force: AbortSignal.any([host.force, force.signal]) },
      inContext: AsyncLocalStorage.snapshot(),
    };
    this.#window.clear();
    for (const child of this.#children.values()) child.renew();
    const attempt = this.#startMany(new Set(this.#graph.keys()), over.signal, true);
    this.#starting = attempt;
    const failure = await attempt;
    this.#starting = undefined;
    if (failure !== undefined) this.#fail(failure.error);
    if (over.signal.aborted) {
      await this.#stopAll('rollback', failure?.error);
      throw over.signal.reason;
    }
    for (const child of this.#children.values()) if (child.end !== undefined) child.lane.wake();
    if (this.#children.size > 0) this.#finishIfAllEnded();
  }

  /** @throws {ShutdownError} `ERR_SHUTDOWN`: what failed to stop or had to be forced. */
  override async stop(reason: StopReason): Promise<void> {
    abortWith(this.#running.force, reason.signal);
    const kind = reason.kind === 'remove' || reason.kind === 'shutdown' ? reason.kind : 'restart';
    const errors = await this.#stopAll(kind, reason.error);
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
        addresses: child.addresses,
      },
      ...(child.service instanceof Supervisor ? child.service.services : []),
    ]);
  }

  /**
   * Adds a service and starts it, when the services it depends on are not being restarted; resolves when it
   * runs. When it cannot start, it is not added. Before the supervisor is started, it is only added.
   *
   * @throws {DuplicateServiceError} `ERR_DUPLICATE_SERVICE`
   * @throws {DependencyCycleError} `ERR_DEPENDENCY_CYCLE`
   * @throws {MissingDependencyError} `ERR_MISSING_DEPENDENCY`
   * @throws {StartError} `ERR_SERVICE_START`
   * @throws {ServiceStopped} `ERR_SERVICE_STOPPED` when the supervisor is stopping.
   */
  async add(service: Service): Promise<void> {
    const life = this.#life;
    checkNames([life?.host.root ?? this, service]);
    const child = this.#hold(service);
    this.#joining.add(child);
    try {
      this.#graph = this.#order();
      if (life === undefined) return;
      checkDependencies(held(life.host.root));
      const { signal } = life.over;
      await this.#starting;
      await this.#atRest([child.lane], signal);
      await child.lane.request(() => this.#join(child, life));
    } catch (error) {
      this.#drop(child);
      throw error;
    } finally {
      this.#joining.delete(child);
    }
    life.host.emit({ type: 'service-added', service: service.name });
  }

  /**
   * Stops a service and takes it out.
   *
   * @throws {UnknownServiceError} `ERR_UNKNOWN_SERVICE`
   * @throws {ServiceInUseError} `ERR_SERVICE_IN_USE` when others depend on it.
   * @throws {ShutdownError} `ERR_SHUTDOWN` when its stop failed or was forced; it is out all the same.
   * @throws {ServiceStopped} `ERR_SERVICE_STOPPED` when the supervisor is stopping.
   */
  async remove(name: string): Promise<void> {
    const child = this.#find(name);
    const life = this.#life;
    const checkUnused = () => {
      const dependents = dependentsOf(life?.host.root ?? this, child.service);
      if (dependents.length > 0)
        throw new ServiceInUseError(
          name,
          dependents.map((other) => other.name),
        );
    };
    checkUnused();
    if (life === undefined) return this.#drop(child);
    await this.#request(child, async () => {
      checkUnused();
      child.wanted = false;
      const errors = await child.stop(life.host, 'remove');
      this.#drop(child);
      life.host.emit({ type: 'service-removed', service: name });
      if (errors.length > 0) throw new ShutdownError(errors);
    });
  }

  /**
   * Stops a service, if it runs, and starts it afresh: its budget and its backoff begin anew, and a pause
   * before a restart that is under way ends. `alone` leaves out the services that ask to be restarted with it.
   *
   * @throws {UnknownServiceError} `ERR_UNKNOWN_SERVICE`
   * @throws {StartError} `ERR_SERVICE_START` when it could not start; its restart policy goes on.
   * @throws {ServiceStopped} `ERR_SERVICE_STOPPED` when the supervisor is stopping.
   */
  async restart(name: string, { alone = false }: { readonly alone?: boolean } = {}): Promise<void> {
    const child = this.#find(name);
    const { host, over } = this.#running;
    await this.#request(child, async () => {
      const { lane } = child;
      await child.stop(host, 'restart');
      child.renew();
      lane.resumeAt = 0;
      const failure = await this.#startDown(lane, over.signal);
      if (!child.running) throw failure?.error ?? over.signal.reason;
      if (alone) lane.revived.delete(child);
    });
  }

  /** @throws {ServiceStopped} `ERR_SERVICE_STOPPED` */
  get #running(): Life {
    if (this.#life === undefined) throw new ServiceStopped(this.name, 'it has not been started');
    return this.#life;
  }

  /** Does what was asked for a child when its turn comes, if both it and the supervisor are still there. */
  async #request(child: Child, operation: () => Promise<void>): Promise<void> {
    const { over } = this.#running;
    await this.#starting;
    over.signal.throwIfAborted();
    await child.lane.request(async () => {
      over.signal.throwIfAborted();
      if (this.#children.get(child.name) !== child) throw new UnknownServiceError(child.name);
      await operation();
    });
  }

  /** Starts a child that is being added; drops it before those who wait for it see that it has failed. */
  async #join(child: Child, { host, over }: Life): Promise<void> {
    try {
      await this.#atRest(this.#lanesBefore(child), over.signal);
      checkDependencies(held(host.root)); // Something it needs may have been removed meanwhile.
      await this.#startChild(child, over.signal);
      child.wanted = true;
    } catch (error) {
      this.#drop(child);
      throw error;
    }
  }

  #newLane(members: () => readonly Child[]): Lane<Child> {
    const lane: Lane<Child> = new Lane(
      members,
      (interrupted) => this.#step(lane, interrupted),
      (work) => this.#running.inContext(work).catch((error) => this.#fail(toError(error))),
    );
    return lane;
  }

  #hold(service: Service): Child {
    const own = this.options.strategy === 'one-for-one';
    const lane = own ? this.#newLane(() => [child]) : this.#groupLane;
    const child = new Child(service, lane, this.options.intensity);
    this.#children.set(child.name, child);
    return child;
  }

  #drop(child: Child): void {
    if (this.#children.get(child.name) !== child) return;
    this.#children.delete(child.name);
    this.#graph = this.#order();
  }

  #find(name: string): Child {
    const child = this.#children.get(name);
    if (child !== undefined && !this.#joining.has(child)) return child;
    throw new UnknownServiceError(name, nearest(name, this.#children.keys()));
  }

  #order(): Graph<Child> {
    const children = [...this.#children.values()];
    const childOf = new Map(children.map((child) => [child.service, child]));
    const child = (service: Service) => childOf.get(service) as Child;
    const graph = dependencyGraph([...childOf.keys()]);
    return new Map([...graph].map(([service, needs]) => [child(service), new Set([...needs].map(child))]));
  }

  /** The other lanes in which something that a child depends on may be being restarted. */
  #lanesBefore(child: Child): Lane<Child>[] {
    return [...(this.#graph.get(child) ?? [])].map(({ lane }) => lane).filter((lane) => lane !== child.lane);
  }

  async #atRest(lanes: readonly Lane<Child>[], signal: AbortSignal): Promise<void> {
    for (let busy = lanes; ; await orAborted(Promise.all(busy.map((lane) => lane.idle())), signal)) {
      signal.throwIfAborted();
      busy = lanes.filter((lane) => lane.busy);
      if (busy.length === 0) return;
    }
  }

  async #startChild(child: Child, signal: AbortSignal): Promise<void> {
    await this.#atRest(this.#lanesBefore(child), signal);
    await child.start(this.#running.host, signal, (end) => this.#onEnd(child, end));
  }

  /** Starts children in order. The first failure aborts the rest of the attempt, and is the result. */
  async #startMany(
    children: ReadonlySet<Child>,
    signal: AbortSignal,
    initially = false,
  ): Promise<StartFailure | undefined> {
    let failure: StartFailure | undefined;
    const attempt = new AbortController();
    using _link = abortWith(attempt, signal);
    await visitInOrder(restrictedTo(this.#graph, children), async (child) => {
      if (attempt.signal.aborted) return;
      try {
        await this.#startChild(child, attempt.signal);
      } catch (thrown) {
        if (attempt.signal.aborted) return;
        const error = toError(thrown);
        if (initially && this.#mayStartLater(child)) {
          this.#onEnd(child, { kind: 'failed', error, origin: 'start' });
          return;
        }
        failure = { child, error };
        attempt.abort(new ServiceStopped(child.name, error.message));
      }
    });
    return failure;
  }

  /** One that is not critical and that nothing needs does not keep the others from starting. */
  #mayStartLater(child: Child): boolean {
    return !child.service.options.critical && ![...this.#graph.values()].some((needs) => needs.has(child));
  }

  async #stopAll(kind: StopReason['kind'], error: Error | undefined): Promise<Error[]> {
    const { host } = this.#running;
    const errors: Error[] = [];
    for (const child of this.#children.values()) child.lane.interrupt();
    const stop = async (child: Child) => {
      await child.lane.idle();
      errors.push(...(await child.stop(host, kind, error)));
      if (child.state.status === 'backing-off') child.become({ status: 'stopped', since: host.clock.now() });
    };
    // Who is forced in vain must not use up what those after it need.
    const hurry = new AbortController();
    using stack = new DisposableStack();
    const onForce = () => stack.use(host.clock.setTimer(() => hurry.abort(), FORCED_GRACE_MS));
    if (host.force.aborted) onForce();
    else host.force.addEventListener('abort', onForce);
    stack.defer(() => host.force.removeEventListener('abort', onForce));
    await visitInOrder(reversed(this.#graph), stop, hurry.signal);
    return errors;
  }

  #onEnd(child: Child, end: RunEnd): void {
    const { host, over } = this.#running;
    if (end.kind === 'failed' && end.origin !== 'start') {
      const { error, origin } = end;
      child.lastError = error;
      host.emit({ type: 'service-failed', service: child.name, error, origin });
    }
    if (over.signal.aborted) return;
    child.end = end;
    // The others of its group are still being started.
    if (this.#starting !== undefined && child.lane === this.#groupLane) return;
    child.lane.wake();
  }

  /** Does the next thing that the states of a lane's children ask for; `false` when there is nothing to do. */
  async #step(lane: Lane<Child>, interrupted: AbortSignal): Promise<boolean> {
    const { host, over } = this.#running;
    if (over.signal.aborted) return false;
    const culprit = lane.members().find((child) => child.end !== undefined);
    if (culprit?.end !== undefined) {
      await this.#deal(culprit, culprit.end);
    } else if (!lane.members().some((child) => child.down)) {
      if (lane.revived.size > 0) host.restarted(new Set([...lane.revived].map((child) => child.service)));
      lane.revived.clear();
      return false;
    } else if (lane.resumeAt > host.clock.now()) {
      const pauseMs = lane.resumeAt - host.clock.now();
      await host.clock.sleep(pauseMs, { signal: interrupted }).catch(() => {});
    } else {
      await this.#startDown(lane, interrupted);
    }
    return true;
  }

  async #startDown(lane: Lane<Child>, signal: AbortSignal): Promise<StartFailure | undefined> {
    const down = new Set(lane.members().filter((child) => child.down));
    const failure = await this.#startMany(down, signal);
    for (const child of down) if (child.running) lane.revived.add(child);
    if (failure !== undefined) {
      failure.child.end = { kind: 'failed', error: failure.error, origin: 'start' };
    }
    return failure;
  }

  /** Deals with the end of a child: retires it, or stops what is to be restarted and begins the pause. */
  async #deal(child: Child, end: RunEnd): Promise<void> {
    const { host, over } = this.#running;
    const { restart } = child.service.options;
    const error = end.kind === 'failed' ? end.error : undefined;
    const retires = restart === 'never' || (restart === 'on-failure' && error === undefined);
    const exhausted = !retires && this.#count(child);
    const group = retires ? new Set([child]) : this.#groupOf(child);
    await visitInOrder(reversed(restrictedTo(this.#graph, group)), async (member) => {
      if (member !== child) await member.stop(host, 'restart');
      else await child.stop(host, end.kind === 'failed' ? 'failure' : 'finish', error);
    });
    if (over.signal.aborted) return;
    for (const member of group) if (member !== child) member.joinRestart();
    child.wanted = !retires && !exhausted;
    if (child.wanted) this.#backOff(child, error);
    else if (exhausted)
      this.#giveUp(child, error ?? new Error('it keeps ending'), this.#windowOf(child).count);
    else if (error !== undefined) this.#giveUp(child, error, 1);
    this.#finishIfAllEnded();
  }

  /** What is stopped and started again with a child. */
  #groupOf(child: Child): ReadonlySet<Child> {
    const order = [...this.#graph.keys()];
    switch (this.options.strategy) {
      case 'one-for-one':
        return new Set([child]);
      case 'one-for-all':
        return new Set(order);
      case 'rest-for-one':
        return new Set(order.slice(order.indexOf(child)));
    }
  }

  #backOff(culprit: Child, error: Error | undefined): void {
    const { clock, random, emit } = this.#running.host;
    const { lane, attempts } = culprit;
    const pauseMs = pauseBefore(attempts, this.options.backoff, random);
    const since = clock.now();
    lane.resumeAt = since + pauseMs;
    for (const child of lane.members().filter((member) => member.down)) {
      child.become({ status: 'backing-off', since, error, nextTryAt: lane.resumeAt });
      emit({ type: 'service-restarting', service: child.name, attempt: attempts, pauseMs, error });
    }
  }

  #giveUp(child: Child, cause: Error, failures: number): void {
    const error = new RestartsExhaustedError(child.name, failures, this.options.intensity.windowMs, cause);
    this.#running.host.emit({ type: 'service-gave-up', service: child.name, error });
    if (child.service.options.critical) this.#fail(error);
  }

  /** It is over: the supervisor above decides, and stops what still runs. */
  #fail(error: Error): void {
    const { scope, over } = this.#running;
    scope.fail(error);
    over.abort(new ServiceStopped(this.name, error.message));
  }

  /** A supervisor with nothing left is done; with nothing left but failures it has failed. */
  #finishIfAllEnded(): void {
    const { scope, over } = this.#running;
    const children = [...this.#children.values()];
    if (this.#starting !== undefined || over.signal.aborted || !children.every((child) => child.ended))
      return;
    const failed = children.find((child) => child.state.status === 'failed');
    if (failed?.lastError === undefined) scope.finish();
    else this.#fail(failed.lastError);
  }

  #windowOf(child: Child): FailureWindow {
    return child.service.options.critical ? this.#window : child.window;
  }

  /** Counts a failure, or an end that is to be restarted. Returns whether the budget is exhausted by it. */
  #count(child: Child): boolean {
    const now = this.#running.host.clock.now();
    const { state } = child;
    const healthy = state.status === 'running' && now - state.since >= this.options.backoff.resetAfterMs;
    child.attempts = healthy ? 1 : child.attempts + 1;
    return this.#windowOf(child).record(now);
  }
}
