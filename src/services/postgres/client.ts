import pg from 'pg';
import { PostgresClientReleasedError, TransactionRolledBackError } from './errors.ts';
import { queryJson } from './json.ts';

/** A query with its values; `name` makes it a prepared statement of its connection. */
export interface PostgresQuery {
  readonly text: string;
  readonly values?: readonly unknown[];
  readonly name?: string;
}

/** A query whose rows are arrays of the columns' values. */
export interface PostgresArrayQuery extends PostgresQuery {
  readonly rowMode: 'array';
}

/** What takes queries: the service, and a client inside `withClient` and `transaction`. */
export interface Queryable {
  /**
   * Sends a query and gives its result; `$1`, `$2`, … in the text stand for `values`.
   *
   * @throws {DatabaseError} pg's, with its fields: `code` is the SQLSTATE, and `constraint`, `detail`, …
   */
  query<Row extends pg.QueryResultRow = pg.QueryResultRow>(
    query: string | PostgresQuery,
    values?: readonly unknown[],
  ): Promise<pg.QueryResult<Row>>;
  query<Row extends unknown[] = unknown[]>(
    query: PostgresArrayQuery,
    values?: readonly unknown[],
  ): Promise<pg.QueryArrayResult<Row>>;
  /**
   * The rows of a query as JSON text, `[{"id":1},…]`: what `JSON.stringify` would make of them, without the
   * objects. Meant for an answer's body.
   *
   * @throws {PostgresJsonTypeError} `ERR_POSTGRES_JSON_TYPE` when the parser that pg was given for a type makes
   * of it what JSON does not have; otherwise as `query`.
   */
  json(query: string | PostgresQuery | PostgresArrayQuery, values?: readonly unknown[]): Promise<Buffer>;
}

/** One connection, as long as the function that it was handed to runs. */
export interface PostgresClient extends Queryable {
  /** pg's client, for LISTEN, COPY and cursors. Never release or end it. */
  readonly raw: pg.ClientBase;
}

/** See PostgreSQL, "Transaction Isolation". */
export type Isolation = 'read committed' | 'repeatable read' | 'serializable';

/** A client on loan from the pool. @internal */
export class Lease implements PostgresClient {
  readonly #client: pg.PoolClient;
  #inFlight = 0;
  #dying = false;
  #unsettled = false;
  #released = false;

  constructor(client: pg.PoolClient) {
    this.#client = client;
  }

  get raw(): pg.ClientBase {
    if (this.#released) throw new PostgresClientReleasedError();
    return this.#client;
  }

  async query<Row extends pg.QueryResultRow>(
    query: string | PostgresQuery,
    values?: readonly unknown[],
  ): Promise<pg.QueryResult<Row>>;
  async query<Row extends unknown[]>(
    query: PostgresArrayQuery,
    values?: readonly unknown[],
  ): Promise<pg.QueryArrayResult<Row>>;
  async query(query: string | PostgresQuery, values?: readonly unknown[]): Promise<unknown> {
    return await this.#run((client) => send(client, query, values));
  }

  async json(query: string | PostgresQuery, values?: readonly unknown[]): Promise<Buffer> {
    return await this.#run((client) => queryJson(client, query, values));
  }

  async #run<Result>(work: (client: pg.ClientBase) => Promise<Result>): Promise<Result> {
    const client = this.raw;
    this.#inFlight += 1;
    try {
      const result = await work(client);
      this.#unsettled = false;
      return result;
    } catch (error) {
      this.#unsettled = true;
      // The error was made where the socket was read: its stack is to lead to the caller instead.
      if (error instanceof Error) Error.captureStackTrace(error);
      // The server ends the connection after a FATAL error; until then the client looks alive.
      if (error instanceof pg.DatabaseError && error.severity !== 'ERROR') this.#dying = true;
      throw error;
    } finally {
      this.#inFlight -= 1;
    }
  }

  /** Ends the loan; says whether the connection is fit for the next one. */
  async end(): Promise<boolean> {
    this.#released = true;
    if (this.#inFlight > 0 || this.#dying) return false;
    try {
      // The server tells an error before the state of the transaction after it; an empty query waits for that.
      if (this.#unsettled) await this.#client.query('');
    } catch {
      return false;
    }
    return this.#client.getTransactionStatus() === 'I';
  }
}

/**
 * pg's own promise is rooted in the client, which is old: the garbage collector then takes the rows of every
 * result for live ones and promotes them, which costs a sixth of the CPU under load. Its callback is not.
 */
function send(
  client: pg.ClientBase,
  query: string | PostgresQuery,
  values: readonly unknown[] | undefined,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    client.query(query as string, values as unknown[], (error, result) =>
      error ? reject(error) : resolve(result),
    );
  });
}

/** Runs `work` between BEGIN and COMMIT, with ROLLBACK when it throws. @internal */
export async function inTransaction<Result>(
  lease: Lease,
  work: (client: PostgresClient) => Promise<Result> | Result,
  isolation: Isolation | undefined,
): Promise<Result> {
  await lease.query(isolation === undefined ? 'BEGIN' : `BEGIN ISOLATION LEVEL ${isolation}`);
  let result: Result;
  try {
    result = await work(lease);
  } catch (error) {
    // A client whose ROLLBACK fails is still in the transaction, so it is not used again.
    await lease.query('ROLLBACK').catch(() => {});
    throw error;
  }
  const { command } = await lease.query('COMMIT');
  if (command === 'ROLLBACK') throw new TransactionRolledBackError();
  return result;
}
