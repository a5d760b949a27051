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

/** See PostgreSQL, "Transaction Isolation". */
export type Isolation = 'read committed' | 'repeatable read' | 'serializable';

/** How a transaction begins. */
export interface TransactionMode {
  /** Default: the database's, `read committed` unless set otherwise. */
  readonly isolation?: Isolation;
  /** The server refuses everything that writes. */
  readonly readOnly?: boolean;
}

/** A transaction, or a savepoint in it: takes queries until it has ended. */
export interface TransactionClient extends PostgresClient {
  /**
   * Marks a place to go back to. Until it has ended, queries go to the savepoint instead of to this.
   *
   * @throws {TransactionStateError} `ERR_POSTGRES_TRANSACTION_STATE`
   */
  savepoint(): Promise<PostgresSavepoint>;
  /** Runs `work` in a savepoint: what it did stays when it returns, and is undone when it throws. */
  transaction<Result>(work: (savepoint: PostgresSavepoint) => Promise<Result> | Result): Promise<Result>;
}

/** A part of a transaction. Disposing of it undoes it, unless it was released. */
export interface PostgresSavepoint extends TransactionClient, AsyncDisposable {
  /** Keeps what was done, as part of the transaction around it. */
  release(): Promise<void>;
  /** Undoes what was done since the savepoint. */
  rollback(): Promise<void>;
}

/** A transaction. Disposing of it rolls it back, unless it was committed: only the code knows that all is done. */
export interface PostgresTransaction extends TransactionClient, AsyncDisposable {
  /**
   * @throws {TransactionRolledBackError} `ERR_POSTGRES_ROLLED_BACK` when a statement had failed.
   * @throws {CommitUnknownError} `ERR_POSTGRES_COMMIT_UNKNOWN`; the server's error.
   */
  commit(): Promise<void>;
  /** Resolves when the connection is free again. Harmless when it is rolled back already. */
  rollback(): Promise<void>;
}

/** How rows are streamed. The limits are for the whole, from the first row asked for on. */
export interface StreamOptions extends CallLimits {
  /** How many rows are fetched, and held in memory, at a time. Default: 1 000. */
  readonly batchRows?: number;
  /** Names who holds the connection. Default: the query's text. */
  readonly label?: string;
}

/**
 * What a subscription hears. `reconnected`: the connection was lost and is there again, and what was notified in
 * between is gone for good: read anew whatever the notifications keep up to date.
 */
export type ListenEvent =
  | {
      readonly kind: 'notification';
      readonly channel: string;
      /** Empty when NOTIFY was given none. */
      readonly payload: string;
      /** The process of the server that notified. */
      readonly pid: number;
    }
  | { readonly kind: 'reconnected'; readonly channel: string };

export type ListenHandler = (event: ListenEvent) => unknown;

/** A handler on a channel. Disposing of it closes it. */
export interface Subscription extends Disposable {
  readonly channel: string;
  /** The handler is not called any more; with the last one of the channel the server is told UNLISTEN. */
  close(): void;
}
