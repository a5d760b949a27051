import { isUtf8 } from 'node:buffer';
import pg from 'pg';
import { toError } from '../../errors.ts';
import type { PostgresArrayQuery, PostgresQuery } from './client.ts';
import { JsonRows } from './json-rows.ts';
import { JsonWriter } from './json-writer.ts';
import { type RowSink, RowTap } from './row-tap.ts';
import { describeStatement } from './statement.ts';

/** What a connection keeps for its JSON queries, of which one at a time is under way. */
interface JsonSession {
  readonly tap: RowTap;
  readonly out: JsonWriter;
  /** By the name of the prepared statement, which stays as long as the connection, too. */
  readonly prepared: Map<string, JsonRows>;
}

const sessions = new WeakMap<pg.ClientBase, JsonSession>();

/** Readies a client that is not connected yet for `submitJson`. */
export function enableJson(client: pg.Client): void {
  sessions.set(client, {
    tap: new RowTap(client.connection),
    out: new JsonWriter(),
    prepared: new Map(),
  });
}

/**
 * Sends a query and gives its rows as JSON text: what `JSON.stringify` would make of the rows of an ordinary
 * query, without their being made. `done` is called once, or with an error.
 */
export function submitJson(
  client: pg.ClientBase,
  query: string | PostgresQuery | PostgresArrayQuery,
  values: readonly unknown[] | undefined,
  done: (error: Error | undefined, json: unknown) => void,
): void {
  const session = sessions.get(client);
  if (session === undefined) throw new TypeError('the client was not made ready for JSON');
  const config = typeof query === 'string' ? { text: query } : query;
  const callback: Callback = (error) =>
    error === undefined ? done(undefined, textOf(session.out)) : done(error, undefined);
  client.query(new JsonQuery(client, session, config, values, callback));
}

/** After `SET client_encoding` the server may send anything; what is no UTF-8 pg reads as U+FFFD. */
function textOf(out: JsonWriter): Buffer {
  const text = out.toBuffer();
  return isUtf8(text) ? text : Buffer.from(text.toString());
}

type Callback = (error: Error | undefined) => void;

/** What pg's client calls on the query under way; its types leave it out. */
interface QueryUnderWay {
  binary: boolean;
  readonly callback: Callback;
  submit(connection: pg.Connection): Error | null;
  handleRowDescription(message: { readonly fields: readonly pg.FieldDef[] }): void;
  handleError(error: Error, connection: pg.Connection): void;
  handleReadyForQuery(connection: pg.Connection): void;
  handleCopyInResponse(connection: pg.Connection): void;
}

const Query = pg.Query as unknown as new (
  config: object,
  values: readonly unknown[] | undefined,
  callback: Callback,
) => QueryUnderWay;

const [COMMA, OPEN, CLOSE] = [...Buffer.from(',[]')] as [number, number, number];

/** A query of pg, whose rows it takes before pg's parser has them. */
class JsonQuery extends Query implements RowSink {
  readonly #client: pg.ClientBase;
  readonly #session: JsonSession;
  readonly #config: PostgresQuery | PostgresArrayQuery;
  #rows: JsonRows | undefined;
  #empty = true;
  #failure: Error | undefined;

  constructor(
    client: pg.ClientBase,
    session: JsonSession,
    config: PostgresQuery | PostgresArrayQuery,
    values: readonly unknown[] | undefined,
    callback: Callback,
  ) {
    // A simple query may hold several statements, whose rows would run into each other.
    super({ ...config, queryMode: 'extended' }, values, callback);
    this.#client = client;
    this.#session = session;
    this.#config = config;
  }

  override submit(connection: pg.Connection): Error | null {
    const { tap, out } = this.#session;
    this.binary = false;
    out.clear();
    out.byte(OPEN);
    // First, as submitting may call `handleError`.
    tap.sink = this;
    const error = super.submit(connection);
    if (error !== null) tap.sink = undefined;
    return error;
  }

  override handleRowDescription({ fields }: { readonly fields: readonly pg.FieldDef[] }): void {
    const { name } = this.#config;
    const { prepared } = this.#session;
    const parsers = fields.map((field) => this.#client.getTypeParser(field.dataTypeID, 'text'));
    const shape = 'rowMode' in this.#config ? 'array' : 'object';
    const known = name === undefined ? undefined : prepared.get(name);
    this.#rows = known?.suits(fields, parsers, shape)
      ? known
      : new JsonRows(fields, parsers, shape, describeStatement(this.#config));
    if (name !== undefined) prepared.set(name, this.#rows);
  }

  row(bytes: Buffer, start: number): void {
    if (this.#failure !== undefined) return;
    const { out } = this.#session;
    if (!this.#empty) out.byte(COMMA);
    this.#empty = false;
    try {
      this.#rows?.write(out, bytes, start);
    } catch (thrown) {
      // The rest of the rows is still to come.
      this.#failure = toError(thrown);
    }
  }

  override handleError(error: Error, connection: pg.Connection): void {
    this.#session.tap.sink = undefined;
    super.handleError(error, connection);
  }

  override handleCopyInResponse(connection: pg.Connection): void {
    super.handleCopyInResponse(connection);
    // The server passes over what was sent before, the Sync after the query included.
    connection.sync();
  }

  override handleReadyForQuery(): void {
    const { tap, out } = this.#session;
    tap.sink = undefined;
    out.byte(CLOSE);
    this.callback(this.#failure);
  }
}
