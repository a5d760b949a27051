import pg from 'pg';
import { BosunError, preview, toError } from '../../errors.ts';

/** The database refuses the connection for good: wrong password, unknown database, bad TLS set-up. */
export class PostgresConnectError extends BosunError {
  readonly code = 'ERR_POSTGRES_CONNECT';
  /** `host:port/database`, never with the password. */
  readonly target: string;

  constructor(target: string, cause: Error) {
    super(`cannot connect to postgres at ${target}: ${cause.message}`, { cause });
    this.target = target;
  }
}

/** The service was used before its start, or after its stop had begun. */
export class PostgresNotRunningError extends BosunError {
  readonly code = 'ERR_POSTGRES_NOT_RUNNING';
  readonly service: string;
  /** A guess: it may be about to be started again. */
  readonly retryAfterMs = 1_000;

  constructor(service: string) {
    super(`postgres service "${service}" is not running`);
    this.service = service;
  }
}

/** The database cannot be reached, or the connection was lost. */
export class PostgresUnavailableError extends BosunError {
  readonly code = 'ERR_POSTGRES_UNAVAILABLE';
  /** `host:port/database`, never with the password. */
  readonly target: string;
  /** The query that was under way; `undefined` when nothing had been sent. */
  readonly statement: string | undefined;
  /**
   * When it is worth another try, in ms. `undefined` when what was sent may have been done: trying again might
   * do it twice.
   */
  readonly retryAfterMs: number | undefined;

  constructor(
    target: string,
    why: string,
    {
      statement,
      retryAfterMs,
      cause,
    }: {
      readonly statement?: string | undefined;
      readonly retryAfterMs?: number | undefined;
      readonly cause: unknown;
    },
  ) {
    const during = statement === undefined ? '' : ` during ${statement}`;
    super(`postgres at ${target} is not available${during}: ${why}`, { cause });
    this.target = target;
    this.statement = statement;
    this.retryAfterMs = retryAfterMs;
  }
}

/** No connection became free within `acquireTimeoutMs`. */
export class PoolExhaustedError extends BosunError {
  readonly code = 'ERR_POSTGRES_POOL_EXHAUSTED';
  readonly poolSize: number;
  /** How many others waited for a connection. */
  readonly waiting: number;
  /** Who held the connections, and for how long. */
  readonly heldBy: readonly string[];
  readonly retryAfterMs: number;

  constructor(
    timeoutMs: number,
    {
      poolSize,
      waiting,
      heldBy,
      retryAfterMs,
    }: {
      readonly poolSize: number;
      readonly waiting: number;
      readonly heldBy: readonly string[];
      readonly retryAfterMs: number;
    },
  ) {
    super(
      `none of the ${poolSize} postgres connections became free within ${timeoutMs} ms (${waiting} others waiting): ${heldBy.join(', ')}`,
    );
    this.poolSize = poolSize;
    this.waiting = waiting;
    this.heldBy = heldBy;
    this.retryAfterMs = retryAfterMs;
  }
}

/** A query took longer than its `timeoutMs`. It was cancelled; it may have been done all the same. */
export class QueryTimeoutError extends BosunError {
  readonly code = 'ERR_POSTGRES_QUERY_TIMEOUT';
  readonly statement: string;
  readonly timeoutMs: number;
  /** When it is worth another try, in ms. `undefined` when that might do it twice. */
  readonly retryAfterMs: number | undefined;

  constructor(statement: string, timeoutMs: number, retryAfterMs: number | undefined) {
    super(`the query ${statement} took longer than ${timeoutMs} ms`);
    this.statement = statement;
    this.timeoutMs = timeoutMs;
    this.retryAfterMs = retryAfterMs;
  }
}

/** A name of a prepared statement that cannot be used. */
export class StatementNameError extends BosunError {
  readonly code = 'ERR_POSTGRES_STATEMENT_NAME';
  readonly statement: string;

  constructor(statement: string, rule: string) {
    super(`the name of the prepared statement ${statement} ${rule}`);
    this.statement = statement;
  }
}

/** A name of a channel that cannot be listened to. */
export class ChannelNameError extends BosunError {
  readonly code = 'ERR_POSTGRES_CHANNEL';
  readonly channel: string;

  constructor(channel: string, rule: string) {
    super(`the name of the channel ${preview(channel)} ${rule}`);
    this.channel = channel;
  }
}

/** A client was used after the function that it was handed to had ended. */
export class PostgresClientReleasedError extends BosunError {
  readonly code = 'ERR_POSTGRES_CLIENT_RELEASED';

  constructor() {
    super('the client is back in the pool: use it only inside the function that it was handed to');
  }
}

/** A transaction, or a savepoint, was used after its end, or while a savepoint inside it was open. */
export class TransactionStateError extends BosunError {
  readonly code = 'ERR_POSTGRES_TRANSACTION_STATE';
}

/** COMMIT rolled back: a statement had failed, and the error was caught inside the transaction. */
export class TransactionRolledBackError extends BosunError {
  readonly code = 'ERR_POSTGRES_ROLLED_BACK';

  constructor() {
    super('the transaction was rolled back by its COMMIT: one of its statements had failed');
  }
}

/** The connection was lost, or the time was up, during COMMIT: whether it took place is not known. */
export class CommitUnknownError extends BosunError {
  readonly code = 'ERR_POSTGRES_COMMIT_UNKNOWN';

  constructor(cause: unknown) {
    super(`whether the transaction was committed is not known: ${toError(cause).message}`, { cause });
  }
}

/** A value of a column, as the parser of its type made it, is none that JSON has, such as a bigint. */
export class PostgresJsonTypeError extends BosunError {
  readonly code = 'ERR_POSTGRES_JSON_TYPE';
  readonly column: string;
  /** The type's oid. */
  readonly typeId: number;
  readonly statement: string;

  constructor(column: string, typeId: number, statement: string, value: unknown, cause: Error | undefined) {
    const type = Object.entries(pg.types.builtins)
      .find(([, id]) => id === typeId)?.[0]
      .toLowerCase();
    super(
      `column ${preview(column)} (type ${type ?? typeId}) of ${statement} has a value that JSON does not have: ${typeof value}`,
      { cause },
    );
    this.column = column;
    this.typeId = typeId;
    this.statement = statement;
  }
}

/** The embedded server cannot be set up, does not start, or has died. */
export class EmbeddedPostgresError extends BosunError {
  readonly code = 'ERR_EMBEDDED_POSTGRES';
}

/** The data folder belongs to a server that another live process (or another service) uses. */
export class DataFolderInUseError extends BosunError {
  readonly code = 'ERR_POSTGRES_DATA_IN_USE';
  readonly dataDir: string;

  constructor(dataDir: string, by: string) {
    super(`the data folder ${dataDir} is in use by ${by}: give this service another \`dataDir\``);
    this.dataDir = dataDir;
  }
}
