import { AsyncLocalStorage } from 'node:async_hooks';
import { abortWith, orAborted } from '../abort.ts';
import {
  RestartsExhaustedError,
  ServiceStopped,
  ShutdownError,
  toError,
  UnknownServiceError,
} from '../errors.ts';
import type { Scope, StopReason } from '../service.ts';
import type { Child } from './child.ts';
import type { Children } from './children.ts';
import { restrictedTo, reversed, visitInOrder } from './graph.ts';
import type { Host } from './host.ts';
import { Lane } from './lane.ts';
import { FailureWindow, pauseBefore, type SupervisionOptions } from './restart-policy.ts';
import { FORCED_GRACE_MS, hostOf, type RunEnd } from './run.ts';
import { checkDependencies, checkUnused, held } from './tree.ts';

interface StartFailure {
  readonly child: Child;
  readonly error: Error;
}

/** One run of a supervisor: it starts the children, restarts what fails, and stops them. @internal */
export class Life {
  readonly host: Host;
  readonly #name: string;
  readonly #options: SupervisionOptions;
  readonly #children: Children;
  readonly #scope: Scope;
  /** Aborts when it is over, with the reason: nothing is started, restarted or added any more. */
  readonly #over = new AbortController();
  /** Forces the children's stops. */
  readonly #force = new AbortController();
  /** Runs a function in the supervisor's own asynchronous context, whoever asked for it. */
  readonly #inContext = AsyncLocalStorage.snapshot();
  /** The failures of the critical services. */
  readonly #window: FailureWindow;
  /** With `one-for-one` each child has a lane of its own; the other strategies restart groups, in this one. */
  readonly #groupLane = this.#newLane(() => this.#children.inOrder);
  readonly #ownLanes = new WeakMap<Child, Lane<Child>>();
  /** The start of all, while it is under way. */
  #starting: Promise<unknown> | undefined;

  constructor(
    { name, options }: { readonly name: string; readonly options: SupervisionOptions },
    children: Children,
    scope: Scope,
  ) {
    const host = hostOf(scope);
    this.host = { ...host, force: AbortSignal.any([host.force, this.#force.signal]) };
    this.#name = name;
    this.#options = options;
    this.#children = children;
    this.#scope = scope;
    this.#window = new FailureWindow(options.intensity);
    abortWith(this.#over, scope.signal);
  }

  /** Starts all children. When one cannot start, the run has failed, and is stopped as soon as this is over. */
  async start(): Promise<void> {
    const children = this.#children.inOrder;
    for (const child of children) child.renew();
    const attempt = this.#startMany(new Set(children), this.#over.signal, true);
    this.#starting = attempt;
    const failure = await attempt;
    this.#starting = undefined;
    if (failure !== undefined) this.#fail(failure.error);
    if (this.#over.signal.aborted) return;
    for (const child of this.#children.inOrder) if (child.end !== undefined) this.#laneOf(child).wake();
    if (this.#children.size > 0) this.#finishIfAllEnded();
  }

  /** Stops all children. What went wrong is the result. */
  async stop({ kind, error, signal }: StopReason): Promise<Error[]> {
    abortWith(this.#force, signal);
    const ownAffair = kind === 'failure' || kind === 'finish';
    return await this.#stopAll(ownAffair ? 'restart' : kind, error);
  }

  /** Starts a child that has been added to the others, when its turn comes; takes it out when it cannot start. */
  async add(child: Child): Promise<void> {
    const lane = this.#laneOf(child);
    child.joining = true;
    try {
      checkDependencies(held(this.host.root));
      await this.#starting;
      await this.#atRest([lane]);
      await lane.request(async () => {
        await this.#atRest(this.#lanesBefore(child));
        checkDependencies(held(this.host.root)); // Something it needs may have been removed meanwhile.
        await this.#startChild(child, this.#over.signal);
        child.wanted = true;
      });
    } catch (error) {
      this.#children.drop(child);
      throw error;
    } finally {
      child.joining = false;
    }
    this.host.emit({ type: 'service-added', service: child.name });
  }

  async remove(child: Child): Promise<void> {
    await this.#request(child, async () => {
      checkUnused(this.host.root, child.service);
      child.wanted = false;
      const errors = await child.stop(this.host, 'remove');
      this.#children.drop(child);
      this.host.emit({ type: 'service-removed', service: child.name });
      if (errors.length > 0) throw new ShutdownError(errors);
    });
  }

  async restart(child: Child, alone: boolean): Promise<void> {
    await this.#request(child, async () => {
      const lane = this.#laneOf(child);
      await child.stop(this.host, 'restart');
      child.renew();
      const failure = await this.#startDown(lane, this.#over.signal);
      if (!child.running) throw failure?.error ?? this.#over.signal.reason;
      if (alone) lane.revived.delete(child);
    });
  }

  /** Does what was asked for a child when its turn comes, if both it and the supervisor are still there. */
  async #request(child: Child, operation: () => Promise<void>): Promise<void> {
    const { signal } = this.#over;
    await this.#starting;
    signal.throwIfAborted();
    await this.#laneOf(child).request(async () => {
      signal.throwIfAborted();
      if (!this.#children.has(child)) throw new UnknownServiceError(child.name);
      await operation();
    });
  }

  #newLane(members: () => readonly Child[]): Lane<Child> {
    const lane: Lane<Child> = new Lane(
      members,
      (interrupted) => this.#step(lane, interrupted),
      (work) => this.#inContext(work).catch((error) => this.#fail(toError(error))),
    );
    return lane;
  }

  #laneOf(child: Child): Lane<Child> {
    if (this.#options.strategy !== 'one-for-one') return this.#groupLane;
    const lane = this.#ownLanes.get(child) ?? this.#newLane(() => [child]);
    this.#ownLanes.set(child, lane);
    return lane;
  }

  /** The other lanes in which something that a child depends on may be being restarted. */
  #lanesBefore(child: Child): Lane<Child>[] {
    const own = this.#laneOf(child);
    return this.#children
      .neededBy(child)
      .map((needed) => this.#laneOf(needed))
      .filter((lane) => lane !== own);
  }

  async #atRest(lanes: readonly Lane<Child>[], signal = this.#over.signal): Promise<void> {
    for (let busy = lanes; ; await orAborted(Promise.all(busy.map((lane) => lane.idle())), signal)) {
      signal.throwIfAborted();
      busy = lanes.filter((lane) => lane.busy);
      if (busy.length === 0) return;
    }
  }

  async #startChild(child: Child, signal: AbortSignal): Promise<void> {
    const lanes = this.#lanesBefore(child);
    // Nothing comes between the last look and the start: what it needs could begin to stop.
    while (lanes.some((lane) => lane.busy)) await this.#atRest(lanes, signal);
    signal.throwIfAborted();
    await child.start(this.host, signal, (end) => this.#onEnd(child, end));
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
    await visitInOrder(restrictedTo(this.#children.graph, children), async (child) => {
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
    return !child.service.options.critical && !this.#children.isNeeded(child);
  }

  async #stopAll(kind: StopReason['kind'], error: Error | undefined): Promise<Error[]> {
    const { host } = this;
    const errors: Error[] = [];
    for (const child of this.#children.inOrder) this.#laneOf(child).interrupt();
    const stop = async (child: Child) => {
      await this.#laneOf(child).idle();
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
    await visitInOrder(reversed(this.#children.graph), stop, hurry.signal);
    return errors;
  }

  #onEnd(child: Child, end: RunEnd): void {
    const { host } = this;
    if (end.kind === 'failed' && end.origin !== 'start') {
      const { error, origin } = end;
      child.failed(error, host.clock.now());
      host.emit({ type: 'service-failed', service: child.name, error, origin });
    }
    child.end = end;
    const lane = this.#laneOf(child);
    // The others of its group are still being started.
    if (this.#starting !== undefined && lane === this.#groupLane) return;
    lane.wake();
  }

  /** Does the next thing that the states of a lane's children ask for; `false` when there is nothing to do. */
  async #step(lane: Lane<Child>, interrupted: AbortSignal): Promise<boolean> {
    const { host } = this;
    if (this.#over.signal.aborted) return false;
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
    const { host } = this;
    const { restart } = child.service.options;
    const error = end.kind === 'failed' ? end.error : undefined;
    const retires = restart === 'never' || (restart === 'on-failure' && error === undefined);
    const exhausted = !retires && this.#count(child);
    const group = retires ? new Set([child]) : this.#groupOf(child);
    await visitInOrder(reversed(restrictedTo(this.#children.graph, group)), async (member) => {
      if (member !== child) await member.stop(host, 'restart');
      else await child.stop(host, end.kind === 'failed' ? 'failure' : 'finish', error);
    });
    if (this.#over.signal.aborted) return;
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
    const order = this.#children.inOrder;
    switch (this.#options.strategy) {
      case 'one-for-one':
        return new Set([child]);
      case 'one-for-all':
        return new Set(order);
      case 'rest-for-one':
        return new Set(order.slice(order.indexOf(child)));
    }
  }

  #backOff(culprit: Child, error: Error | undefined): void {
    const { clock, random, emit } = this.host;
    const { attempts } = culprit;
    const lane = this.#laneOf(culprit);
    const pauseMs = pauseBefore(attempts, this.#options.backoff, random);
    const since = clock.now();
    lane.resumeAt = since + pauseMs;
    for (const child of lane.members().filter((member) => member.down)) {
      child.become({ status: 'backing-off', since, error, nextTryAt: lane.resumeAt });
      emit({ type: 'service-restarting', service: child.name, attempt: attempts, pauseMs, error });
    }
  }

  #giveUp(child: Child, cause: Error, failures: number): void {
    const error = new RestartsExhaustedError(child.name, failures, this.#options.intensity.windowMs, cause);
    this.host.emit({ type: 'service-gave-up', service: child.name, error });
    if (child.service.options.critical) this.#fail(error);
  }

  /** It is over: the supervisor above decides, and stops what still runs. */
  #fail(error: Error): void {
    this.#scope.fail(error);
    this.#over.abort(new ServiceStopped(this.#name, error.message));
  }

  /** A supervisor with nothing left is done; with nothing left but failures it has failed. */
  #finishIfAllEnded(): void {
    const children = this.#children.inOrder;
    if (this.#starting !== undefined || this.#over.signal.aborted || !children.every((child) => child.ended))
      return;
    const failed = children.find((child) => child.state.status === 'failed');
    if (failed?.lastError === undefined) this.#scope.finish();
    else this.#fail(failed.lastError);
  }

  #windowOf(child: Child): FailureWindow {
    return child.service.options.critical ? this.#window : child.window;
  }

  /** Counts a failure, or an end that is to be restarted. Returns whether the budget is exhausted by it. */
  #count(child: Child): boolean {
    const now = this.host.clock.now();
    const { state } = child;
    const healthy = state.status === 'running' && now - state.since >= this.#options.backoff.resetAfterMs;
    child.attempts = healthy ? 1 : child.attempts + 1;
    return this.#windowOf(child).record(now);
  }
}
