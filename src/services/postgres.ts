/** PostgreSQL: a pool of connections as a service, with an embedded server if wanted. */
import { AsyncLocalStorage } from 'node:async_hooks';
import pg from 'pg';
import { type Call, inCall, orEnded } from '../call.ts';
import { toError } from '../errors.ts';
import type { Health, Scope, StopReason } from '../service.ts';
import type {
  CallLimits,
  PostgresArrayQuery,
  PostgresClient,
  PostgresQuery,
  Queryable,
} from './postgres/client.ts';
import { persistently } from './postgres/connect.ts';
import { type Holder, holder } from './postgres/connection.ts';
import type { EmbeddedServer } from './postgres/embedded.ts';
import { EmbeddedPostgresError, PostgresConnectError, PostgresNotRunningError } from './postgres/errors.ts';
import { describeFailure } from './postgres/failures.ts';
import { Lease } from './postgres/lease.ts';
import { Listener, type ListenerRun, type ListenHandler, type Subscription } from './postgres/listen.ts';
import { PostgresOptions } from './postgres/options.ts';
import { ConnectionPool } from './postgres/pool.ts';
import { Retries } from './postgres/retries.ts';
import { asQuery, LimitedCall, type Session } from './postgres/session.ts';
import { StatementNames } from './postgres/statement.ts';
import { Counters, type PostgresStatistics } from './postgres/statistics.ts';
import { checkBatchRows, type StreamOptions, streamRows } from './postgres/stream.ts';
import {
  type PostgresTransaction,
  Transaction,
  type TransactionClient,
  type TransactionMode,
} from './postgres/transaction.ts';

export type {
  CallLimits,
  PostgresArrayQuery,
  PostgresClient,
  PostgresQuery,
  Queryable,
} from './postgres/client.ts';
export * from './postgres/errors.ts';
export type { ListenEvent, ListenHandler, Subscription } from './postgres/listen.ts';
export type { PostgresState, PostgresStatistics } from './postgres/statistics.ts';
export type { StreamOptions } from './postgres/stream.ts';
export type {
  Isolation,
  PostgresSavepoint,
  PostgresTransaction,
  TransactionClient,
  TransactionMode,
} from './postgres/transaction.ts';

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

/** What there is while the service runs. */
interface Running {
  readonly pool: ConnectionPool;
  readonly session: Session;
  readonly retries: Retries;
  readonly listening: ListenerRun;
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
  #target = '';
  #waitingFor: string | undefined;
  #probe: Promise<unknown> | undefined;

  override async start(scope: Scope): Promise<void> {
    try {
      const running = await this.#prepare(scope);
      this.#running = running;
      scope.defer(() => {
        this.#running = undefined;
        return running.pool.close(AbortSignal.abort(), this.#notRunning);
      });
      await this.#openAll(running.pool, scope);
      this.#listener.start(running.listening);
    } finally {
      this.#waitingFor = undefined;
    }
  }

  override async stop(reason: StopReason): Promise<void> {
    await this.#running?.pool.close(reason.signal, this.#notRunning);
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
    return await this.#query(query, (lease, call) => lease.send(query, values, call));
  }

  /** As `query`. */
  async json(query: string | PostgresQuery, values?: readonly unknown[]): Promise<Buffer> {
    return await this.#query(query, (lease, call) => lease.sendJson(query, values, call));
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
    checkBatchRows(options);
    const by = { label: options.label ?? text, trace: undefined };
    const { pool, session } = this.#run;
    return streamRows<Row>(text, values, options, session, async (call) => {
      const connection = await pool.acquire(by, call);
      const lease = new Lease(connection, session);
      return { lease, release: (abandoned) => pool.release(connection, lease.end(abandoned)) };
    });
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
    const call = new LimitedCall(limits, this.#run.session.clock);
    try {
      return await this.#listener.listen(channel, handler, call);
    } finally {
      call.end();
    }
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
    const by = holder(label, this.withClient);
    const call = new LimitedCall(limits, this.#run.session.clock);
    try {
      return await this.#borrow(by, call, (lease) =>
        orEnded(
          inCall(call, async () => await work(lease)),
          call,
        ),
      );
    } finally {
      call.end();
    }
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
  async begin({
    label,
    isolation,
    readOnly,
    ...limits
  }: TransactionOptions = {}): Promise<PostgresTransaction> {
    const by = holder(label, this.begin);
    const call = new LimitedCall(limits, this.#run.session.clock);
    return await this.#begin(by, call, { ...(isolation && { isolation }), ...(readOnly && { readOnly }) });
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
    { label, isolation, readOnly, retries = 0, ...limits }: TransactionWorkOptions = {},
  ): Promise<Result> {
    const by = holder(label, this.transaction);
    const { session, retries: policy } = this.#run;
    const whole = new LimitedCall(limits, session.clock);
    const mode = { ...(isolation && { isolation }), ...(readOnly && { readOnly }) };
    const once = async () => {
      const call = new LimitedCall({}, session.clock, undefined, whole);
      const transaction = await this.#begin(by, call, mode);
      try {
        const result = await orEnded(
          inCall(call, async () => await work(transaction)),
          call,
        );
        await transaction.commit();
        return result;
      } catch (error) {
        const rolledBack = transaction.ended ? undefined : transaction.rollback();
        if (!call.aborted) await rolledBack;
        throw error;
      }
    };
    try {
      return await policy.run(once, whole, retries + 1);
    } finally {
      whole.end();
    }
  }

  /** Asks the database, if a connection is free. */
  override async health(): Promise<Health> {
    const running = this.#running;
    if (running === undefined) return { ok: false, detail: 'not running' };
    const unwell = (why: string) => ({ ok: false, detail: `postgres at ${this.#target}: ${why}` });
    const { failure } = running.pool;
    if (failure !== undefined) return unwell(describeFailure(failure));
    if (!running.pool.hasRoom) return { ok: true };
    // One question for all who ask, and not part of the call of any.
    this.#probe ??= inCall(undefined, () =>
      this.query({ text: 'SELECT 1', timeoutMs: this.options.connectTimeoutMs }),
    ).finally(() => {
      this.#probe = undefined;
    });
    try {
      await this.#probe;
      return { ok: true };
    } catch (error) {
      return unwell(toError(error).message);
    }
  }

  /** Gauges of the pool, and counters since the service was made. */
  get statistics(): PostgresStatistics {
    const { errors, ...counters } = this.#counters;
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

  override waitingFor(): readonly string[] {
    return this.#waitingFor !== undefined ? [this.#waitingFor] : (this.#running?.pool.heldBy ?? []);
  }

  /** The embedded server's, without its password. */
  override get addresses(): readonly string[] {
    return this.#server === undefined ? [] : [`postgres://${this.#target}`];
  }

  readonly #notRunning = () => new PostgresNotRunningError(this.name);

  get #run(): Running {
    if (this.#running === undefined) throw this.#notRunning();
    return this.#running;
  }

  async #prepare(scope: Scope): Promise<Running> {
    const {
      url,
      poolSize,
      connectTimeoutMs,
      acquireTimeoutMs,
      leakWarningMs,
      queryTimeoutMs,
      maxTries,
      retryPauseMs,
    } = this.options;
    const where = url === 'embedded' ? await this.#startServer(scope) : { connectionString: url };
    const config = { ...where, keepAlive: true, fallback_application_name: `bosun-${this.name}` };
    const target = targetOf(config);
    this.#target = target;
    const { clock, log } = scope;
    const counters = this.#counters;
    const pool = new ConnectionPool(
      { config, target, size: poolSize, connectTimeoutMs, acquireTimeoutMs, leakWarningMs, clock, counters },
      {
        // The errors themselves may hold what pg was configured with.
        lost: (error) => log.debug(`lost a connection to postgres at ${target}: ${describeFailure(error)}`),
        down: (error) =>
          log.warn(`postgres at ${target} cannot be reached, queries are refused: ${describeFailure(error)}`),
        recovered: (downMs) => log.info(`postgres at ${target} is back after ${Math.round(downMs)} ms`),
        leaked: (heldBy, heldMs) =>
          log.warn({ heldBy, heldMs: Math.round(heldMs) }, `a client has been held for long by ${heldBy}`),
      },
    );
    const session: Session = {
      clock,
      target,
      queryTimeoutMs,
      names: this.#names,
      counters,
      suspect: (error) => pool.suspect(error),
    };
    const retries = new Retries({ maxTries, pauseMs: retryPauseMs, clock, counters, signal: scope.signal });
    const listening = {
      config,
      target,
      connectTimeoutMs,
      scope,
      notRunning: this.#notRunning,
      detached: AsyncLocalStorage.snapshot(),
    };
    return { pool, session, retries, listening };
  }

  async #startServer(scope: Scope): Promise<pg.ClientConfig> {
    // Loaded here as most daemons have a database elsewhere.
    const { startEmbeddedServer } = await import('./postgres/embedded.ts');
    const { clock, log, signal } = scope;
    const server = await startEmbeddedServer({
      dataDir: this.options.dataDir,
      clock,
      log,
      signal,
      onWait: (what) => {
        this.#waitingFor = what;
      },
    });
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

  async #openAll(pool: ConnectionPool, { clock, signal }: Scope): Promise<void> {
    this.#waitingFor = `postgres at ${this.#target}`;
    const open = () =>
      persistently(() => pool.open(), {
        clock,
        signal,
        onFailure: (error, tries) => {
          const often = tries === 1 ? '1 try' : `${tries} tries`;
          this.#waitingFor = `postgres at ${this.#target} (${describeFailure(error)}, ${often})`;
        },
      });
    const closeOnAbort = () => void pool.close(signal, this.#notRunning);
    signal.addEventListener('abort', closeOnAbort, { once: true });
    try {
      // One finds out whether the database is there before the others try.
      await open();
      await Promise.all(Array.from({ length: this.options.poolSize - 1 }, open));
    } catch (error) {
      signal.throwIfAborted();
      throw new PostgresConnectError(this.#target, toError(error));
    } finally {
      signal.removeEventListener('abort', closeOnAbort);
    }
  }

  async #query<Result>(
    query: string | PostgresQuery,
    send: (lease: Lease, call: Call) => Promise<Result>,
  ): Promise<Result> {
    const { session, retries } = this.#run;
    const by = { label: typeof query === 'string' ? query : (query.name ?? query.text), trace: undefined };
    return await asQuery(session, query, false, (call) =>
      retries.run(() => this.#borrow(by, call, (lease) => send(lease, call)), call),
    );
  }

  async #begin(by: Holder, call: Call, mode: TransactionMode): Promise<Transaction> {
    const { pool, session, retries } = this.#run;
    const attempt = async () => {
      const connection = await pool.acquire(by, call);
      const lease = new Lease(connection, session);
      return await Transaction.begin(lease, session, call, mode, () => pool.release(connection, lease.end()));
    };
    try {
      return await retries.run(attempt, call);
    } catch (error) {
      call.end();
      throw error;
    }
  }

  async #borrow<Result>(by: Holder, call: Call, work: (lease: Lease) => Promise<Result>): Promise<Result> {
    const { pool, session } = this.#run;
    const connection = await pool.acquire(by, call);
    const lease = new Lease(connection, session);
    try {
      return await work(lease);
    } finally {
      pool.release(connection, lease.end(call.aborted));
    }
  }
}

/** `host:port/database` as pg understands the configuration. */
function targetOf(config: pg.ClientConfig): string {
  const { host, port, database } = new pg.Client(config);
  return `${host}:${port}/${database}`;
}
