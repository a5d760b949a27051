/** PostgreSQL: a pool of connections as a service, with an embedded server if wanted. */
import type pg from 'pg';
import { inCall } from '../call.ts';
import type { Metric } from '../metrics.ts';
import type { Health, Scope, StopReason } from '../service.ts';
import type {
  CallLimits,
  ListenHandler,
  PostgresArrayQuery,
  PostgresClient,
  PostgresQuery,
  PostgresTransaction,
  Queryable,
  StreamOptions,
  Subscription,
  TransactionClient,
  TransactionMode,
} from './postgres/client.ts';
import { holder } from './postgres/connection.ts';
import type { EmbeddedServer } from './postgres/embedded.ts';
import { EmbeddedPostgresError, PostgresNotRunningError } from './postgres/errors.ts';
import { describeFailure } from './postgres/failures.ts';
import { Listener } from './postgres/listen.ts';
import { postgresMetrics } from './postgres/metrics.ts';
import { PostgresOptions } from './postgres/options.ts';
import { Running } from './postgres/running.ts';
import { StatementNames } from './postgres/statement.ts';
import { Counters, type PostgresStatistics } from './postgres/statistics.ts';

export type {
  CallLimits,
  Isolation,
  ListenEvent,
  ListenHandler,
  PostgresArrayQuery,
  PostgresClient,
  PostgresQuery,
  PostgresSavepoint,
  PostgresTransaction,
  Queryable,
  StreamOptions,
  Subscription,
  TransactionClient,
  TransactionMode,
} from './postgres/client.ts';
export * from './postgres/errors.ts';
export type { PostgresState, PostgresStatistics } from './postgres/statistics.ts';

/** How a client is borrowed, and for how long: at the end of its limits it is taken back. */
export interface ClientOptions extends CallLimits {
  /**
   * Names the holder when it keeps the service from stopping. Without it that is the line of code that took
   * the client: its stack is captured (a few µs) and formatted only when it is shown.
   */
  readonly label?: string;
}

/** How a transaction begins, and how long it may take. */
export interface TransactionOptions extends ClientOptions, TransactionMode {}

/** How the work of a transaction is run. */
export interface TransactionWorkOptions extends TransactionOptions {
  /**
   * How often the whole is run again after a serialization failure, a deadlock, or a connection that was lost
   * before the COMMIT. Default: 0.
   */
  readonly retries?: number;
}

/**
 * Owns a pool of connections to PostgreSQL. Services that hold it in their options query it; all connections
 * are open when it has started, and are closed when it has stopped.
 *
 * ```ts
 * const database = new PostgresService({ url: 'postgres://app@db:5432/app', poolSize: 6 });
 * // in a service with the option `database: service(PostgresService)`:
 * const { rows } = await this.options.database.query('SELECT $1::int + 1 AS sum', [41]);
 * ```
 *
 * A lost database does not fail it: queries are refused at once until it is back, and `health()` says so.
 */
export class PostgresService extends PostgresOptions implements Queryable {
  readonly #counters = new Counters();
  readonly #names = new StatementNames();
  readonly #listener = new Listener();
  #running: Running | undefined;
  #server: EmbeddedServer | undefined;
  #waitingFor: string | undefined;
  #probe: Promise<unknown> | undefined;

  override async start(scope: Scope): Promise<void> {
    const onWait = (what: string) => {
      this.#waitingFor = what;
    };
    try {
      const { url } = this.options;
      const where = url === 'embedded' ? await this.#startServer(scope, onWait) : { connectionString: url };
      const running = new Running({
        options: this.options,
        config: { ...where, keepAlive: true, fallback_application_name: `bosun-${this.name}` },
        counters: this.#counters,
        names: this.#names,
        listener: this.#listener,
        scope,
        notRunning: this.#notRunning,
      });
      this.#running = running;
      scope.defer(() => {
        this.#running = undefined;
        return running.close(AbortSignal.abort());
      });
      await running.open(onWait);
    } finally {
      this.#waitingFor = undefined;
    }
  }

  override async stop(reason: StopReason): Promise<void> {
    await this.#running?.close(reason.signal);
    await this.#server?.stop(reason.signal);
  }

  async query<Row extends pg.QueryResultRow = pg.QueryResultRow>(
    query: string | PostgresQuery,
    values?: readonly unknown[],
  ): Promise<pg.QueryResult<Row>>;
  async query<Row extends unknown[] = unknown[]>(
    query: PostgresArrayQuery,
    values?: readonly unknown[],
  ): Promise<pg.QueryArrayResult<Row>>;
  /**
   * On any free connection. A query that failed without having been done (a deadlock, a stale prepared
   * statement), and one that may be repeated and whose connection was lost, is tried up to `maxTries` times.
   *
   * @throws as `Queryable`'s; {PoolExhaustedError} `ERR_POSTGRES_POOL_EXHAUSTED`; {PostgresNotRunningError}
   * `ERR_POSTGRES_NOT_RUNNING`.
   */
  async query(query: string | PostgresQuery, values?: readonly unknown[]): Promise<unknown> {
    return await this.#run.query(query, (lease, call) => lease.send(query, values, call));
  }

  /** As `query`. */
  async json(query: string | PostgresQuery, values?: readonly unknown[]): Promise<Buffer> {
    return await this.#run.query(query, (lease, call) => lease.sendJson(query, values, call));
  }

  /**
   * The rows of a query that may be too many to hold: they are fetched in batches, the next one when it is asked
   * for. One connection is held from the first row asked for until the loop has ended, however it ends; leaving
   * it early ends the query on the server. Each batch is a query of its own to `queryTimeoutMs` and to the
   * statistics; nothing is tried again.
   *
   * ```ts
   * for await (const { id } of database.stream<{ id: number }>('SELECT id FROM events')) …
   * ```
   *
   * @throws {RangeError} for bad options, {PostgresNotRunningError} `ERR_POSTGRES_NOT_RUNNING`; the loop throws as
   * `query` and `withClient`.
   */
  stream<Row extends pg.QueryResultRow = pg.QueryResultRow>(
    text: string,
    values: readonly unknown[] = [],
    options: StreamOptions = {},
  ): AsyncGenerator<Row, void, undefined> {
    return this.#run.stream<Row>(text, values, options);
  }

  /**
   * Calls the handler for every notification on a channel, from the moment on that this resolves; over one
   * connection for all channels, beside the pool. When that was lost, it is made again, and the handler is told:
   * what was notified in between is gone. Calls are in the order of the notifications; none waits for the one
   * before. What the handler throws, or rejects with, is a stray error of the service that has subscribed.
   * Subscriptions last until they are closed, also when this service is restarted. The name is taken as it is:
   * `NOTIFY Jobs` notifies `jobs`.
   *
   * ```ts
   * const subscription = await database.listen('jobs', (event) => {
   *   if (event.kind === 'reconnected') void this.readAll();
   *   else void this.readOne(event.payload);
   * });
   * scope.defer(() => subscription.close());
   * ```
   *
   * @throws {ChannelNameError} `ERR_POSTGRES_CHANNEL`; {PostgresNotRunningError} `ERR_POSTGRES_NOT_RUNNING`;
   * {DeadlineError} `ERR_DEADLINE`; `signal.reason`; the server's error.
   */
  async listen(channel: string, handler: ListenHandler, limits: CallLimits = {}): Promise<Subscription> {
    return await this.#run.listen(channel, handler, limits);
  }

  /**
   * Hands one connection to `work`, as soon as one is free, and takes it back when the work is done, or when its
   * time is up. A connection that is left inside a transaction, or with queries under way, is closed instead of
   * used again.
   *
   * @throws {PostgresNotRunningError} `ERR_POSTGRES_NOT_RUNNING`; {PoolExhaustedError}
   * `ERR_POSTGRES_POOL_EXHAUSTED`; {PostgresUnavailableError} `ERR_POSTGRES_UNAVAILABLE`; {DeadlineError}
   * `ERR_DEADLINE`; `signal.reason`; whatever `work` throws.
   */
  async withClient<Result>(
    work: (client: PostgresClient) => Promise<Result> | Result,
    { label, ...limits }: ClientOptions = {},
  ): Promise<Result> {
    return await this.#run.withClient(holder(label, this.withClient), limits, work);
  }

  /**
   * Begins a transaction. It is rolled back at the end of its scope, unless it was committed:
   *
   * ```ts
   * await using tx = await database.begin({ isolation: 'serializable' });
   * await tx.query('UPDATE accounts SET amount = amount - 10 WHERE id = 1');
   * await tx.commit();
   * ```
   *
   * When its time is up, it is rolled back as well: the limits, and the caller's deadline, count from here on.
   *
   * @throws as `withClient`.
   */
  async begin({ label, ...options }: TransactionOptions = {}): Promise<PostgresTransaction> {
    return await this.#run.begin(holder(label, this.begin), options, options);
  }

  /**
   * Runs `work` in a transaction: COMMIT when it returns, ROLLBACK when it throws, or when its time is up, which
   * also rejects. Resolves after the COMMIT. With `retries`, `work` may be called more than once.
   *
   * @throws {TransactionRolledBackError} `ERR_POSTGRES_ROLLED_BACK` when a statement had failed and its error
   * was caught in `work`; {CommitUnknownError} `ERR_POSTGRES_COMMIT_UNKNOWN`; as `withClient`; whatever `work`
   * or the COMMIT throws.
   */
  async transaction<Result>(
    work: (transaction: TransactionClient) => Promise<Result> | Result,
    { label, retries = 0, ...options }: TransactionWorkOptions = {},
  ): Promise<Result> {
    const by = holder(label, this.transaction);
    return await this.#run.transaction(by, options, options, retries, work);
  }

  /** Asks the database, if a connection is free. */
  override async health(): Promise<Health> {
    if (this.#running === undefined) return { ok: false, detail: 'not running' };
    const { pool, target } = this.#running;
    const { state, failure } = pool;
    const detail = (error: unknown) => `postgres at ${target}: ${describeFailure(error)}`;
    if (state === 'down') return { ok: false, detail: detail(failure) };
    try {
      if (pool.hasRoom) await this.#askOnce();
    } catch (error) {
      return { ok: false, detail: detail(error) };
    }
    return state === 'degraded'
      ? { ok: true, detail: `no new connections: ${detail(failure)}` }
      : { ok: true };
  }

  /** Gauges of the pool, and counters since the service was made. */
  get statistics(): PostgresStatistics {
    const { errors, durations: _, ...counters } = this.#counters;
    const stopped = {
      state: 'stopped',
      size: 0,
      idle: 0,
      inUse: 0,
      cleaning: 0,
      connecting: 0,
      waiting: 0,
    } as const;
    return { ...(this.#running?.pool.gauges ?? stopped), ...counters, errors: { ...errors } };
  }

  override metrics(): readonly Metric[] {
    return postgresMetrics(this.statistics, this.#counters.durations);
  }

  override waitingFor(): readonly string[] {
    return this.#waitingFor !== undefined ? [this.#waitingFor] : (this.#running?.pool.heldBy ?? []);
  }

  /** The embedded server's, without its password. */
  override get addresses(): readonly string[] {
    if (this.#server === undefined || this.#running === undefined) return [];
    return [`postgres://${this.#running.target}`];
  }

  readonly #notRunning = () => new PostgresNotRunningError(this.name);

  get #run(): Running {
    if (this.#running === undefined) throw this.#notRunning();
    return this.#running;
  }

  /** One question for all who ask, and not part of the call of any. */
  #askOnce(): Promise<unknown> {
    const { connectTimeoutMs: timeoutMs } = this.options;
    this.#probe ??= inCall(undefined, () => this.query({ text: 'SELECT 1', timeoutMs })).finally(() => {
      this.#probe = undefined;
    });
    return this.#probe;
  }

  async #startServer(scope: Scope, onWait: (what: string) => void): Promise<pg.ClientConfig> {
    // Loaded here as most daemons have a database elsewhere.
    const { startEmbeddedServer } = await import('./postgres/embedded.ts');
    const { clock, log, signal } = scope;
    const { dataDir } = this.options;
    const server = await startEmbeddedServer({ dataDir, clock, log, signal, onWait });
    this.#server = server;
    scope.defer(() => {
      this.#server = undefined;
      return server.stop(AbortSignal.abort());
    });
    void server.exited.then((how) => {
      scope.fail(new EmbeddedPostgresError(`the embedded postgres ended unexpectedly: ${how}`));
    });
    const { host, port, user, password, database } = server;
    return { host, port, user, password, database };
  }
}
