import type { Clock } from '../clock.ts';
import type { ContextStore } from '../context.ts';
import type { EntrypointEvent, ServiceEvent } from '../events.ts';
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
  emit(event: ServiceEvent | EntrypointEvent): void;
  /** Aborts when every stop under way has to end now: a second signal, or a budget is spent. */
  readonly force: AbortSignal;
  /** These services have been restarted, together, and are running again. */
  restarted(services: ReadonlySet<Service>): void;
}

/** A copy of what is known of one service. */
export interface ServiceInfo {
  readonly name: string;
  /** The name of its class. */
  readonly type: string;
  readonly state: ServiceState;
  /** How often it has been started again, whoever asked for that. */
  readonly restarts: number;
  /** The last error it failed with, also when it has recovered since. */
  readonly lastError: Error | undefined;
  readonly critical: boolean;
  /** The services it starts after. */
  readonly dependencies: readonly string[];
  /** The supervisor above it; `undefined` below the root. */
  readonly supervisor: string | undefined;
  readonly addresses: readonly string[];
}
