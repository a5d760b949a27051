import type pg from 'pg';

/** Bounds of a query or a transaction. */
export interface CallLimits {
  /**
   * How long it may take, in ms from the call on, waiting for a connection and retries included; `Infinity`: no
   * limit; 0 rejects and sends nothing.
   */
  readonly timeoutMs?: number;
  /** Ends it, with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** A query with its values; `name` makes it a prepared statement of its connection. */
export interface PostgresQuery extends CallLimits {
  readonly text: string;
  readonly values?: readonly unknown[];
  readonly name?: string;
  /**
   * Whether it may be done twice, and so be sent again after its connection was lost. Default: whether its text
   * only reads (SELECT, VALUES, TABLE, SHOW). Say `false` where a function in a SELECT writes.
   */
  readonly idempotent?: boolean;
}

/** A query whose rows are arrays of the columns' values. */
export interface PostgresArrayQuery extends PostgresQuery {
  readonly rowMode: 'array';
}

/** What takes queries: the service, a client inside `withClient`, and a transaction. */
export interface Queryable {
  /**
   * Sends a query and gives its result; `$1`, `$2`, … in the text stand for `values`. When its time is up, its
   * signal aborts, or the caller's deadline passes, it rejects at once, and is cancelled on the server.
   *
   * @throws {DatabaseError} pg's, with its fields: `code` is the SQLSTATE, `statement` names the query, and
   * `constraint`, `detail`, …
   * @throws {QueryTimeoutError} `ERR_POSTGRES_QUERY_TIMEOUT`; {DeadlineError} `ERR_DEADLINE`; `signal.reason`.
   * @throws {PostgresUnavailableError} `ERR_POSTGRES_UNAVAILABLE`: the connection was lost.
   * @throws {StatementNameError} `ERR_POSTGRES_STATEMENT_NAME`
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
   * The rows of a query as JSON text, `[{"id":1},…]`: what `JSON.stringify` would make of them, without making
   * them. Meant for the body of an answer.
   *
   * @throws {PostgresJsonTypeError} `ERR_POSTGRES_JSON_TYPE`: the parser that pg was given for a type makes of it
   * what JSON does not have, such as a bigint; otherwise as `query`.
   */
  json(query: string | PostgresQuery | PostgresArrayQuery, values?: readonly unknown[]): Promise<Buffer>;
}

/** One connection, as long as the function that it was handed to runs. */
export interface PostgresClient extends Queryable {
  /** pg's client, for LISTEN, COPY and cursors. Never release or end it. Nothing bounds what is done with it. */
  readonly raw: pg.ClientBase;
}
