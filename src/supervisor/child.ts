import { toError } from '../errors.ts';
import { type Service, type ServiceState, type StopReason, transition } from '../service.ts';
import type { Host } from './host.ts';
import type { Recovery } from './recovery.ts';
import { FailureWindow, type Intensity } from './restart-policy.ts';
import { Run, type RunEnd } from './run.ts';

/** What a supervisor knows of one of its services. @internal */
export class Child {
  readonly service: Service;
  /** Its own budget; used when it is not critical, so that it cannot spend the others'. */
  readonly window: FailureWindow;
  restarts = 0;
  /** Failures in a row; a healthy run sets it back. */
  attempts = 0;
  lastError: Error | undefined;
  /** The recovery that this child is part of at present. */
  recovery: Recovery | undefined;
  #state: ServiceState = { status: 'created' };
  #run: Run | undefined;
  #stopping: Promise<Error[]> | undefined;
  #busy: Promise<unknown> = Promise.resolve();

  constructor(service: Service, intensity: Intensity) {
    this.service = service;
    this.window = new FailureWindow(intensity);
  }

  get name(): string {
    return this.service.name;
  }

  get state(): ServiceState {
    return this.#state;
  }

  /** Whether it is down and nothing is under way that would start it. */
  get ended(): boolean {
    const { status } = this.#state;
    return this.recovery === undefined && (status === 'stopped' || status === 'failed');
  }

  become(state: ServiceState): void {
    this.#state = transition(this.name, this.#state, state);
  }

  /** Starts a run; `onEnd` is called when it ends by itself while it is running. */
  async start(host: Host, signal: AbortSignal, onEnd: (end: RunEnd) => void): Promise<void> {
    const { clock } = host;
    const begun = clock.now();
    this.become({ status: 'starting', since: begun });
    host.emit({ type: 'service-starting', service: this.name });
    const run = new Run(this.service, host);
    this.#run = run;
    try {
      await run.start(signal);
    } catch (thrown) {
      const error = toError(thrown);
      this.#run = undefined;
      if (signal.aborted) {
        this.become({ status: 'stopping', since: clock.now() });
        this.become({ status: 'stopped', since: clock.now() });
      } else {
        this.lastError = error;
        this.become({ status: 'failed', since: clock.now(), error });
        host.emit({ type: 'service-start-failed', service: this.name, error });
      }
      throw error;
    }
    const now = clock.now();
    this.become({ status: 'running', since: now });
    host.emit({
      type: 'service-running',
      service: this.name,
      durationMs: now - begun,
      addresses: this.service.addresses,
    });
    void run.ended.then((end) => {
      if (this.#run === run && this.#state.status === 'running') onEnd(end);
    });
  }

  /** Stops the run, if there is one; who comes while it is being stopped gets the same promise. */
  stop(host: Host, kind: StopReason['kind'], error: Error | undefined, force: AbortSignal): Promise<Error[]> {
    const run = this.#run;
    if (run === undefined) return Promise.resolve([]);
    this.#stopping ??= this.#stop(run, host, kind, error, force).finally(() => {
      this.#stopping = undefined;
    });
    return this.#stopping;
  }

  async #stop(
    run: Run,
    host: Host,
    kind: StopReason['kind'],
    error: Error | undefined,
    force: AbortSignal,
  ): Promise<Error[]> {
    const begun = host.clock.now();
    this.become({ status: 'stopping', since: begun });
    host.emit({ type: 'service-stopping', service: this.name, reason: kind });
    const errors = await run.stop(kind, error, force);
    this.#run = undefined;
    const now = host.clock.now();
    this.become(
      kind === 'failure' && error !== undefined
        ? { status: 'failed', since: now, error }
        : { status: 'stopped', since: now },
    );
    for (const each of errors) host.emit({ type: 'service-stop-failed', service: this.name, error: each });
    host.emit({ type: 'service-stopped', service: this.name, reason: kind, durationMs: now - begun });
    return errors;
  }

  /** Runs an operation after those before it have ended: restart, removal, retirement. */
  exclusively<Result>(operation: () => Promise<Result>): Promise<Result> {
    const result = this.#busy.then(operation);
    this.#busy = result.catch(() => {});
    return result;
  }

  /** Resolves when no operation is under way. */
  async idle(): Promise<void> {
    await this.#busy;
  }
}
