import pg from 'pg';
import { type Call, inCall, orEnded } from '../../call.ts';
import { toError } from '../../errors.ts';
import type { Scope } from '../../service.ts';
import type {
  CallLimits,
  ListenHandler,
  PostgresClient,
  PostgresQuery,
  StreamOptions,
  Subscription,
  TransactionClient,
  TransactionMode,
} from './client.ts';
import { persistently } from './connect.ts';
import type { Holder } from './connection.ts';
import { PostgresConnectError } from './errors.ts';
import { describeFailure } from './failures.ts';
import { Lease } from './lease.ts';
import type { Listener } from './listen.ts';
import type { PostgresOptions } from './options.ts';
import { ConnectionPool } from './pool.ts';
import { Retries } from './retries.ts';
import { asQuery, LimitedCall, type Session } from './session.ts';
import type { StatementNames } from './statement.ts';
import type { Counters } from './statistics.ts';
import { checkBatchRows, streamRows } from './stream.ts';
import { Transaction } from './transaction.ts';

/** What a run is made of. */
export interface RunningParts {
  readonly options: InstanceType<typeof PostgresOptions>['options'];
  readonly config: pg.ClientConfig;
  /** They outlast the run. */
  readonly counters: Counters;
  readonly names: StatementNames;
  readonly listener: Listener;
  readonly scope: Scope;
  /** What those are refused with who come after its end. */
  readonly notRunning: () => Error;
}

/** One run of the service: its pool, and what goes through it. @internal */
export class Running {
  readonly pool: ConnectionPool;
  /** `host:port/database` */
  readonly target: string;
  readonly #parts: RunningParts;
  readonly #session: Session;
  readonly #retries: Retries;

  constructor(parts: RunningParts) {
    const { options, config, counters, names, scope } = parts;
    const { poolSize: size, queryTimeoutMs, maxTries, retryPauseMs: pauseMs } = options;
    const { clock, log, signal } = scope;
    const target = targetOf(config);
    this.#parts = parts;
    this.target = target;
    this.pool = new ConnectionPool(
      { ...options, config, target, size, clock, counters },
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
    const suspect = (error: Error) => this.pool.suspect(error);
    const renew = () => this.pool.renew();
    this.#session = { clock, target, queryTimeoutMs, names, counters, suspect, renew };
    this.#retries = new Retries({ maxTries, pauseMs, clock, counters, signal });
  }

  /**
   * Opens all connections, and waits for the database as long as it takes.
   *
   * @throws {PostgresConnectError} `ERR_POSTGRES_CONNECT`; the reason of the scope's signal.
   */
  async open(onWait: (what: string) => void): Promise<void> {
    const { clock, signal } = this.#parts.scope;
    const what = `postgres at ${this.target}`;
    onWait(what);
    const open = () =>
      persistently(() => this.pool.open(), {
        clock,
        signal,
        onFailure: (error, tries) =>
          onWait(`${what} (${describeFailure(error)}, ${tries === 1 ? '1 try' : `${tries} tries`})`),
      });
    const closeOnAbort = () => void this.close(signal);
    signal.addEventListener('abort', closeOnAbort, { once: true });
    try {
      // One finds out whether the database is there before the others try.
      await open();
      await Promise.all(Array.from({ length: this.#parts.options.poolSize - 1 }, open));
    } catch (error) {
      signal.throwIfAborted();
      throw new PostgresConnectError(this.target, toError(error));
    } finally {
      signal.removeEventListener('abort', closeOnAbort);
    }
    const { listener, config, options, scope, notRunning } = this.#parts;
    const { connectTimeoutMs } = options;
    listener.start({ config, target: this.target, connectTimeoutMs, scope, notRunning });
  }

  async close(signal: AbortSignal): Promise<void> {
    await this.pool.close(signal, this.#parts.notRunning);
  }

  /** A query on any connection. */
  async query<Result>(
    query: string | PostgresQuery,
    send: (lease: Lease, call: Call) => Promise<Result>,
  ): Promise<Result> {
    const by = { label: typeof query === 'string' ? query : (query.name ?? query.text), trace: undefined };
    return await asQuery(this.#session, query, false, (call) =>
      this.#retries.run(() => this.#borrow(by, call, (lease) => send(lease, call)), call),
    );
  }

  /** @throws {RangeError} for a `batchRows` that is no number of rows. */
  stream<Row>(
    text: string,
    values: readonly unknown[],
    options: StreamOptions,
  ): AsyncGenerator<Row, void, undefined> {
    checkBatchRows(options);
    const by = { label: options.label ?? text, trace: undefined };
    return streamRows<Row>(text, values, options, this.#session, async (call) => {
      const connection = await this.pool.acquire(by, call);
      const lease = new Lease(connection, this.#session);
      return { lease, release: (abandoned) => this.pool.release(connection, lease.end(abandoned)) };
    });
  }

  async listen(channel: string, handler: ListenHandler, limits: CallLimits): Promise<Subscription> {
    const call = new LimitedCall(limits, this.#session.clock);
    try {
      return await this.#parts.listener.listen(channel, handler, call);
    } finally {
      call.end();
    }
  }

  async withClient<Result>(
    by: Holder,
    limits: CallLimits,
    work: (client: PostgresClient) => Promise<Result> | Result,
  ): Promise<Result> {
    const call = new LimitedCall(limits, this.#session.clock);
    try {
      return await this.#borrow(by, call, (lease) => runIn(call, () => work(lease)));
    } finally {
      call.end();
    }
  }

  /** The transaction ends with its limits at the latest. */
  async begin(by: Holder, limits: CallLimits, mode: TransactionMode): Promise<Transaction> {
    return await this.#begin(by, new LimitedCall(limits, this.#session.clock), mode);
  }

  /** @throws {RangeError} for `retries` that are no count. */
  async transaction<Result>(
    by: Holder,
    limits: CallLimits,
    mode: TransactionMode,
    retries: number,
    work: (transaction: TransactionClient) => Promise<Result> | Result,
  ): Promise<Result> {
    if (!(Number.isInteger(retries) && retries >= 0)) {
      throw new RangeError(`retries must be an integer of at least 0, received ${retries}`);
    }
    const { clock } = this.#session;
    const whole = new LimitedCall(limits, clock);
    const once = async () => {
      const call = new LimitedCall({}, clock, undefined, whole);
      const transaction = await this.#begin(by, call, mode);
      try {
        const result = await runIn(call, () => work(transaction));
        await transaction.commit();
        return result;
      } catch (error) {
        // Nobody waits for that beyond the end of the call, at which it is rolled back anyway.
        if (!transaction.ended) await orEnded(transaction.rollback(), call).catch(() => {});
        throw error;
      }
    };
    try {
      return await this.#retries.run(once, whole, retries + 1);
    } finally {
      whole.end();
    }
  }

  async #begin(by: Holder, call: Call, mode: TransactionMode): Promise<Transaction> {
    const attempt = async () => {
      const connection = await this.pool.acquire(by, call);
      const lease = new Lease(connection, this.#session);
      const release = () => this.pool.release(connection, lease.end());
      return await Transaction.begin(lease, this.#session, call, mode, release);
    };
    try {
      return await this.#retries.run(attempt, call);
    } catch (error) {
      call.end();
      throw error;
    }
  }

  async #borrow<Result>(by: Holder, call: Call, work: (lease: Lease) => Promise<Result>): Promise<Result> {
    const connection = await this.pool.acquire(by, call);
    const lease = new Lease(connection, this.#session);
    try {
      return await work(lease);
    } finally {
      this.pool.release(connection, lease.end(call.aborted));
    }
  }
}

/** Runs `work` as part of a call, and does not wait for it beyond the call's end. */
const runIn = <Result>(call: Call, work: () => Promise<Result> | Result): Promise<Result> =>
  orEnded(
    inCall(call, async () => await work()),
    call,
  );

/** `host:port/database` as pg understands the configuration. */
function targetOf(config: pg.ClientConfig): string {
  const { host, port, database } = new pg.Client(config);
  return `${host}:${port}/${database}`;
}
