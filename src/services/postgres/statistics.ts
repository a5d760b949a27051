import { Histogram } from '../../metrics.ts';

/** Whether the database can be reached: `degraded` is with some connections, while no new ones can be had. */
export type PostgresState = 'up' | 'degraded' | 'down';

/** What the pool holds, and what it has done since the service was made, across restarts. */
export interface PostgresStatistics {
  readonly state: PostgresState | 'stopped';
  /** Connections that are open, or opening. */
  readonly size: number;
  readonly idle: number;
  /** Connections in use; `cleaning` ones included. */
  readonly inUse: number;
  /** Connections that are made ready again after a cancelled or failed query. */
  readonly cleaning: number;
  readonly connecting: number;
  /** Callers that wait for a connection. */
  readonly waiting: number;
  /** How often a connection was handed out, and how long those callers waited together, in ms. */
  readonly acquires: number;
  readonly acquireMs: number;
  readonly queries: number;
  /**
   * Queries that failed: by the first two characters of the SQLSTATE (`23`: constraints), by the code of ours
   * (`ERR_POSTGRES_QUERY_TIMEOUT`), or as `aborted`.
   */
  readonly errors: Readonly<Record<string, number>>;
  /** Queries that the server was asked to cancel. */
  readonly cancels: number;
  readonly retries: number;
  /** Connections that were closed as they were not fit for another use, or lost. */
  readonly discarded: number;
  /** Clients that were held for longer than `leakWarningMs`. */
  readonly leaks: number;
}

/** The counters behind the statistics. @internal */
export class Counters {
  acquires = 0;
  acquireMs = 0;
  queries = 0;
  cancels = 0;
  retries = 0;
  discarded = 0;
  leaks = 0;
  readonly errors: Record<string, number> = {};
  /** How long queries took, in seconds, from the call to its end: with the wait for a connection, and all tries. */
  readonly durations = new Histogram();

  failed(kind: string): void {
    this.errors[kind] = (this.errors[kind] ?? 0) + 1;
  }
}
