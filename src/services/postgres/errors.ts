import pg from 'pg';
import { BosunError, preview } from '../../errors.ts';

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

  constructor(service: string) {
    super(`postgres service "${service}" is not running`);
    this.service = service;
  }
}

/** A client was used after the function that it was handed to had ended. */
export class PostgresClientReleasedError extends BosunError {
  readonly code = 'ERR_POSTGRES_CLIENT_RELEASED';

  constructor() {
    super('the client is back in the pool: use it only inside the function that it was handed to');
  }
}

/** COMMIT rolled back: a statement had failed, and the error was caught inside the transaction. */
export class TransactionRolledBackError extends BosunError {
  readonly code = 'ERR_POSTGRES_ROLLED_BACK';

  constructor() {
    super('the transaction was rolled back by its COMMIT: one of its statements had failed');
  }
}

/** A value of a column, as the parser of its type gave it, is none that JSON has, such as a bigint. */
export class PostgresJsonTypeError extends BosunError {
  readonly code = 'ERR_POSTGRES_JSON_TYPE';
  readonly column: string;
  /** The type's oid. */
  readonly typeId: number;
  /** The statement's name, else its text. */
  readonly statement: string;

  constructor(column: string, typeId: number, statement: string, value: unknown, cause: Error | undefined) {
    const type = Object.entries(pg.types.builtins)
      .find(([, id]) => id === typeId)?.[0]
      .toLowerCase();
    super(
      `column ${preview(column)} (type ${type ?? typeId}) of the statement ${preview(statement)} has a value that JSON does not have: ${preview(value)}`,
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
