import type pg from 'pg';
import Cursor from 'pg-cursor';
import { Call, inCall } from '../../call.ts';
import { toError } from '../../errors.ts';
import type { StreamOptions } from './client.ts';
import type { Lease, Submit } from './lease.ts';
import { withNumberArrays } from './number-arrays.ts';
import { asQuery, LimitedCall, type Session } from './session.ts';

/** A lease that is given back by hand. */
export interface Loan {
  readonly lease: Lease;
  release(abandoned: boolean): void;
}

const DEFAULT_BATCH_ROWS = 1_000;
/** How long the server may take to close a cursor that was left early. */
const CLOSE_MS = 1_000;

/** The rows of a query, in batches that are fetched when they are asked for. */
export async function* streamRows<Row>(
  text: string,
  values: readonly unknown[],
  { batchRows = DEFAULT_BATCH_ROWS, ...limits }: StreamOptions,
  session: Session,
  borrow: (call: Call) => Promise<Loan>,
): AsyncGenerator<Row, void, undefined> {
  const call = new LimitedCall(limits, session.clock);
  try {
    const cursor = new RowCursor(text, [...withNumberArrays(values)]);
    await using portal = new Portal<Row>(text, cursor, call, session, await borrow(call));
    for (let rows: Row[], more = true; more; more = rows.length === batchRows) {
      rows = await portal.fetch(batchRows);
      for (const row of rows) {
        call.throwIfAborted();
        yield row;
      }
    }
  } finally {
    call.end();
  }
}

/** @throws {RangeError} for a `batchRows` that is no number of rows. */
export function checkBatchRows({ batchRows = DEFAULT_BATCH_ROWS }: StreamOptions): void {
  if (!(Number.isSafeInteger(batchRows) && batchRows > 0 && batchRows < 2 ** 31)) {
    throw new RangeError(`batchRows must be an integer of at least 1, received ${batchRows}`);
  }
}

/** A query under way whose rows the server holds back: PostgreSQL's portal, and the connection that it takes. */
class Portal<Row> implements AsyncDisposable {
  readonly #text: string;
  readonly #cursor: RowCursor;
  readonly #call: Call;
  readonly #session: Session;
  readonly #loan: Loan;
  #begun = false;
  /** The server waits for us, not we for the server. */
  #suspended = false;
  #closed: Promise<void> | undefined;

  constructor(text: string, cursor: RowCursor, call: Call, session: Session, loan: Loan) {
    this.#text = text;
    this.#cursor = cursor;
    this.#call = call;
    this.#session = session;
    this.#loan = loan;
    call.onAbort(this.#onAbort);
  }

  async fetch(count: number): Promise<Row[]> {
    const { lease } = this.#loan;
    const cursor = this.#cursor;
    this.#call.throwIfAborted();
    this.#suspended = false;
    const rows = await inCall(this.#call, () =>
      asQuery(this.#session, this.#text, false, (call) =>
        lease.exchange(this.#text, call, (client, done) => {
          if (!this.#begun) client.query(cursor);
          this.#begun = true;
          cursor.read(count, done);
        }),
      ),
    );
    this.#suspended = true;
    if (cursor.failure !== undefined) throw cursor.failure;
    return rows as Row[];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    await this.#closed;
  }

  /** The connection is not left to a consumer that is busy elsewhere. */
  readonly #onAbort = () => {
    if (this.#suspended) void this[Symbol.asyncDispose]();
  };

  async #close(): Promise<void> {
    const { lease, release } = this.#loan;
    this.#call.offAbort(this.#onAbort);
    if (this.#suspended && lease.lost === undefined) {
      const closing = new Call({ limitMs: CLOSE_MS, clock: this.#session.clock });
      const close: Submit = (client, done) => this.#cursor.leave(client, (error) => done(error, undefined));
      // A connection on which this fails is found to be unfit.
      await lease.exchange(this.#text, closing, close).catch(() => {});
      closing.end();
    }
    release(this.#call.aborted);
  }
}

/** What pg's client calls on the cursor under way; its types leave it out. */
type CursorUnderWay = Cursor & {
  handleDataRow(message: { readonly fields: readonly (string | null)[] }): void;
};

class RowCursor extends (Cursor as unknown as new (text: string, values: unknown[]) => CursorUnderWay) {
  /** What a parser threw that pg was given for a type. */
  failure: Error | undefined;

  override handleDataRow(message: { readonly fields: readonly (string | null)[] }): void {
    if (this.failure !== undefined) return;
    try {
      super.handleDataRow(message);
    } catch (thrown) {
      // Nobody catches it where the socket is read: it would end the process.
      this.failure = toError(thrown);
    }
  }

  /** Closes it on the server; `done` is called when the connection is free, or lost. */
  leave(client: pg.Client, done: (error?: Error) => void): void {
    const onEnd = () => done(new Error('Connection terminated'));
    client.once('end', onEnd);
    this.close(() => {
      client.off('end', onEnd);
      done();
    });
  }
}
