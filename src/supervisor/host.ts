import type { Clock } from '../clock.ts';
import type { ContextStore } from '../context.ts';
import type { BosunEvent, EntrypointEvent, ObservationEvent, ServiceEvent } from '../events.ts';
import type { LogShare } from '../logging/logging.ts';
import type { Logger, Service, ServiceState } from '../service.ts';
import type { WorkerPool } from '../workers/pool.ts';

/** What the entrypoint gives to every supervisor and run below it. @internal */
export interface Host {
  readonly clock: Clock;
  readonly context: ContextStore;
  readonly workers: WorkerPool;
  /** The supervisor that holds all services. */
  readonly root: Service;
  /** A number in [0, 1), for jitter. */
  random(): number;
  loggerFor(service: string): Logger;
  emit(event: ServiceEvent | EntrypointEvent | ObservationEvent): void;
  /** Aborts when every stop under way has to end now: a second signal, or a budget is spent. */
  readonly force: AbortSignal;
  /** These services have been restarted, together, and are running again. */
  restarted(services: ReadonlySet<Service>): void;
  readonly control: Control;
}

/** How far the entrypoint has come. */
export type Phase = 'starting' | 'ready' | 'stopping' | 'closed';

/** The entrypoint, for the services that show and operate the daemon from outside. @internal */
export interface Control {
  readonly phase: Phase;
  /** Lines of the log that were dropped so far. */
  readonly logDropped: number;
  /** What another thread needs to write lines of the log itself. */
  readonly logShare: LogShare;
  /** As `Entrypoint.services`. */
  services(): ServiceInfo[];
  /** As `Entrypoint.restart`; in a context of its own, whoever asks. */
  restart(name: string): Promise<void>;
  /**
   * Does what SIGHUP does.
   *
   * @throws {NoReloadError} `ERR_NO_RELOAD`
   * @throws what the reload hook throws; that is logged, too.
   */
  reload(): Promise<void>;
  /** Calls `listener` for every event. Returns the way to end that. */
  on(listener: (event: BosunEvent) => void): () => void;
  /** Calls `listener` with every line of the log, as JSON and without its secrets. Returns the way to end that. */
  tapLog(listener: (line: string) => void): () => void;
  /**
   * Calls `cleanUp` when all services have stopped, before the last line of the log: for what is to be seen until
   * then. It is awaited; what it throws counts as a failed stop.
   */
  atEnd(cleanUp: () => unknown): void;
}

/** A copy of what is known of one service. */
export interface ServiceInfo {
  readonly name: string;
  /** The name of its class. */
  readonly type: string;
  readonly state: ServiceState;
  /** How often it has been started again, whoever asked for that. */
  readonly restarts: number;
  /** How often it has failed, also to start. */
  readonly failures: number;
  /** How often its stop, or the roll-back of a failed start, has failed or had to be forced. */
  readonly stopFailures: number;
  /** How long its last start that succeeded took; `undefined`: it has not started yet. */
  readonly lastStartMs: number | undefined;
  /** How long the last stop of a run took; `undefined`: there was none. */
  readonly lastStopMs: number | undefined;
  /** The last error it failed with, also when it has recovered since. */
  readonly lastError: Error | undefined;
  /** When it failed with that, in the clock's milliseconds since the epoch. */
  readonly lastErrorAt: number | undefined;
  readonly critical: boolean;
  /** The services it starts after. */
  readonly dependencies: readonly string[];
  /** The supervisor above it; `undefined` below the root. */
  readonly supervisor: string | undefined;
  readonly addresses: readonly string[];
}
