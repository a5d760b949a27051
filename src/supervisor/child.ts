import { toError } from '../errors.ts';
import { type Service, type ServiceState, type StopReason, transition } from '../service.ts';
import type { Host } from './host.ts';
import { FailureWindow, type Intensity } from './restart-policy.ts';
import { Run, type RunEnd } from './run.ts';

/** What a supervisor knows of one of its services. @internal */
export class Child {
  readonly service: Service;
  /** Its own budget; used when it is not critical, so that it cannot spend the others'. */
  readonly window: FailureWindow;
  /** It is being added: until it runs, it counts as absent. */
  joining = false;
  /** Whether it is to run, as soon as it can. */
  wanted = false;
  /** How its last run, or start, ended by itself, until that has been dealt with. */
  end: RunEnd | undefined;
  /** Failures in a row; a healthy run sets it back. */
  attempts = 0;
  restarts = 0;
  lastError: Error | undefined;
  lastErrorAt: number | undefined;
  /** Failures so far, those to start included. */
  failures = 0;
  /** Stops, roll-backs included, that failed or had to be forced: each error is one. */
  stopFailures = 0;
  lastStartMs: number | undefined;
  lastStopMs: number | undefined;
  #state: ServiceState = { status: 'created' };
  #run: Run | undefined;
  #startedBefore = false;

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

  get running(): boolean {
    return this.#state.status === 'running';
  }

  get down(): boolean {
    return this.wanted && !this.running;
  }

  /** Whether it has ended and is not to be started again. */
  get ended(): boolean {
    const { status } = this.#state;
    return !this.wanted && (status === 'stopped' || status === 'failed');
  }

  /** Where it can be reached, while it runs. */
  get addresses(): readonly string[] {
    if (!this.running) return [];
    try {
      return [...this.service.addresses];
    } catch {
      return []; // A service's own code: what it throws here is no reason to fail.
    }
  }

  become(state: ServiceState): void {
    this.#state = transition(this.name, this.#state, state);
  }

  failed(error: Error, at: number): void {
    this.lastError = error;
    this.lastErrorAt = at;
    this.failures += 1;
  }

  /** It is to run, and has no past: the next failure is the first. */
  renew(): void {
    this.wanted = true;
    this.end = undefined;
    this.attempts = 0;
    this.window.clear();
  }

  /** Another child's end has stopped it: OTP starts it again, also when it had finished, but for a temporary. */
  joinRestart(): void {
    const { restart } = this.service.options;
    this.wanted = restart !== 'never' && (this.wanted || this.#state.status === 'stopped');
  }

  /**
   * Starts a run; `onEnd` is called when it ends by itself while it is running.
   *
   * @throws what `Run.start` throws.
   */
  async start(host: Host, signal: AbortSignal, onEnd: (end: RunEnd) => void): Promise<void> {
    const { clock } = host;
    const begun = clock.now();
    const again = this.#startedBefore;
    this.end = undefined;
    this.become({ status: 'starting', since: begun });
    host.emit({ type: 'service-starting', service: this.name });
    const run = new Run(this.service, host);
    try {
      await run.start(signal);
    } catch (thrown) {
      const since = clock.now();
      this.stopFailures += run.stopFailures;
      if (signal.aborted && thrown === signal.reason) {
        this.become({ status: 'stopping', since });
        this.become({ status: 'stopped', since });
        const durationMs = since - begun;
        host.emit({ type: 'service-stopped', service: this.name, reason: 'rollback', durationMs });
      } else {
        const error = toError(thrown);
        this.failed(error, since);
        this.become({ status: 'failed', since, error });
        host.emit({ type: 'service-start-failed', service: this.name, error });
      }
      throw thrown;
    } finally {
      this.#startedBefore = true;
    }
    this.#run = run;
    const since = clock.now();
    this.become({ status: 'running', since });
    if (again) this.restarts += 1;
    const durationMs = since - begun;
    this.lastStartMs = durationMs;
    const { addresses } = this;
    host.emit({ type: 'service-running', service: this.name, durationMs, addresses });
    void run.ended.then((end) => {
      if (this.#run === run && this.running) onEnd(end);
    });
  }

  /** Ends the run, if there is one. What went wrong is the result. */
  async stop(host: Host, kind: StopReason['kind'], error?: Error): Promise<Error[]> {
    const run = this.#run;
    this.end = undefined;
    if (run === undefined) return [];
    const begun = host.clock.now();
    this.become({ status: 'stopping', since: begun });
    host.emit({ type: 'service-stopping', service: this.name, reason: kind });
    const errors = await run.stop(kind, error);
    this.#run = undefined;
    const since = host.clock.now();
    const durationMs = since - begun;
    this.lastStopMs = durationMs;
    this.stopFailures += run.stopFailures;
    this.become(
      kind === 'failure' && error !== undefined
        ? { status: 'failed', since, error }
        : { status: 'stopped', since },
    );
    host.emit({ type: 'service-stopped', service: this.name, reason: kind, durationMs });
    return errors;
  }
}
