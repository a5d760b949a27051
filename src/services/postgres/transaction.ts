import pg from 'pg';
import { Call } from '../../call.ts';
import type {
  PostgresArrayQuery,
  PostgresQuery,
  PostgresSavepoint,
  PostgresTransaction,
  TransactionClient,
  TransactionMode,
} from './client.ts';
import {
  CommitUnknownError,
  PostgresUnavailableError,
  QueryTimeoutError,
  TransactionRolledBackError,
  TransactionStateError,
} from './errors.ts';
import { describeFailure, kindOf, LOST_RETRY_AFTER_MS } from './failures.ts';
import type { Lease } from './lease.ts';
import { asQuery, type Session } from './session.ts';

/** How long a ROLLBACK may take before the connection is closed instead. */
const ROLLBACK_MS = 5_000;

/** What is common to a transaction and its savepoints. */
abstract class Level implements TransactionClient {
  protected child: Level | undefined;
  readonly #depth: number;

  constructor(depth: number) {
    this.#depth = depth;
  }

  /** The transaction that it is, or is in. */
  protected abstract readonly root: Transaction;

  /** @throws when it has ended. */
  protected abstract checkOpen(): void;

  get raw(): pg.ClientBase {
    this.check();
    return this.root.lease.raw;
  }

  query<Row extends pg.QueryResultRow>(
    query: string | PostgresQuery,
    values?: readonly unknown[],
  ): Promise<pg.QueryResult<Row>>;
  query<Row extends unknown[]>(
    query: PostgresArrayQuery,
    values?: readonly unknown[],
  ): Promise<pg.QueryArrayResult<Row>>;
  async query(query: string | PostgresQuery, values?: readonly unknown[]): Promise<unknown> {
    this.check();
    return await this.root.send(query, values);
  }

  async json(query: string | PostgresQuery, values?: readonly unknown[]): Promise<Buffer> {
    this.check();
    return await this.root.sendJson(query, values);
  }

  async savepoint(): Promise<PostgresSavepoint> {
    this.check();
    const savepoint = new Savepoint(this.root, this, this.#depth + 1);
    this.child = savepoint;
    try {
      await this.root.send(`SAVEPOINT ${savepoint.name}`);
    } catch (error) {
      this.child = undefined;
      throw error;
    }
    return savepoint;
  }

  async transaction<Result>(
    work: (savepoint: PostgresSavepoint) => Promise<Result> | Result,
  ): Promise<Result> {
    await using savepoint = await this.savepoint();
    const result = await work(savepoint);
    await savepoint.release();
    return result;
  }

  childEnded(): void {
    this.child = undefined;
  }

  protected check(): void {
    this.checkOpen();
    if (this.child !== undefined) {
      throw new TransactionStateError('a savepoint is open inside: use that, or end it first');
    }
  }
}

class Savepoint extends Level implements PostgresSavepoint {
  readonly name: string;
  protected readonly root: Transaction;
  readonly #parent: Level;
  #ended = false;

  constructor(root: Transaction, parent: Level, depth: number) {
    super(depth);
    this.name = `bosun_${depth}`;
    this.root = root;
    this.#parent = parent;
  }

  async release(): Promise<void> {
    this.check();
    await this.root.send(`RELEASE SAVEPOINT ${this.name}`);
    this.#end();
  }

  async rollback(): Promise<void> {
    this.checkOpen();
    this.#end();
    await this.root.send(`ROLLBACK TO SAVEPOINT ${this.name}; RELEASE SAVEPOINT ${this.name}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended || this.root.ended) return;
    // When it fails, the transaction cannot be committed any more, which its COMMIT tells.
    await this.rollback().catch(() => {});
  }

  protected checkOpen(): void {
    this.root.checkOpen();
    if (this.#ended) throw new TransactionStateError('the savepoint has ended');
  }

  #end(): void {
    this.#ended = true;
    this.#parent.childEnded();
  }
}

/** A transaction on a client, which is given back at its end. @internal */
export class Transaction extends Level implements PostgresTransaction {
  readonly lease: Lease;
  protected readonly root = this;
  readonly #session: Session;
  readonly #call: Call;
  readonly #release: () => void;
  #state: 'open' | 'committed' | 'rolled back' = 'open';
  #rollback: Promise<void> | undefined;

  private constructor(lease: Lease, session: Session, call: Call, release: () => void) {
    super(0);
    this.lease = lease;
    this.#session = session;
    this.#call = call;
    this.#release = release;
  }

  /** Begins a transaction, which ends with the call at the latest; `release` is called at its end. */
  static async begin(
    lease: Lease,
    session: Session,
    call: Call,
    { isolation, readOnly = false }: TransactionMode,
    release: () => void,
  ): Promise<Transaction> {
    const transaction = new Transaction(lease, session, call, release);
    const level = isolation === undefined ? '' : ` ISOLATION LEVEL ${isolation}`;
    try {
      const text = `BEGIN${level}${readOnly ? ' READ ONLY' : ''}`;
      await transaction.send({ text, idempotent: true });
    } catch (error) {
      release();
      throw error;
    }
    call.onAbort(transaction.#onAbort);
    return transaction;
  }

  get ended(): boolean {
    return this.#state !== 'open';
  }

  async send(query: string | PostgresQuery, values?: readonly unknown[]): Promise<unknown> {
    return await this.#asQuery(query, (call) => this.lease.send(query, values, call));
  }

  async sendJson(query: string | PostgresQuery, values?: readonly unknown[]): Promise<Buffer> {
    return await this.#asQuery(query, (call) => this.lease.sendJson(query, values, call));
  }

  async commit(): Promise<void> {
    this.check();
    this.#call.throwIfAborted();
    this.#state = 'committed';
    this.#call.offAbort(this.#onAbort);
    try {
      await this.#commit();
    } finally {
      this.#call.end();
    }
  }

  async rollback(): Promise<void> {
    if (this.#state === 'committed') this.checkOpen();
    this.#state = 'rolled back';
    this.#rollback ??= this.#rollBack();
    await this.#rollback;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'committed') return;
    await this.rollback();
  }

  override checkOpen(): void {
    if (this.#state === 'open') return;
    if (this.#call.aborted) throw this.#call.reason;
    throw new TransactionStateError(`the transaction has been ${this.#state}`);
  }

  readonly #onAbort = () => void this.rollback();

  async #asQuery<Result>(
    query: string | PostgresQuery,
    work: (call: Call) => Promise<Result>,
  ): Promise<Result> {
    return await asQuery(this.#session, query, true, async (call) => {
      const onAbort = (reason: unknown) => call.abort(reason);
      this.#call.onAbort(onAbort);
      try {
        return await work(call);
      } finally {
        this.#call.offAbort(onAbort);
      }
    });
  }

  async #commit(): Promise<void> {
    const { lost } = this.lease;
    if (lost !== undefined) {
      this.#release();
      const { target } = this.#session;
      throw new PostgresUnavailableError(target, describeFailure(lost), {
        cause: lost,
        retryAfterMs: LOST_RETRY_AFTER_MS,
      });
    }
    let command: string;
    try {
      ({ command } = await this.#send('COMMIT', this.#session.queryTimeoutMs, this.#call));
    } catch (error) {
      if (error instanceof pg.DatabaseError && kindOf(error) !== 'lost') throw error;
      throw new CommitUnknownError(error);
    } finally {
      this.#release();
    }
    if (command === 'ROLLBACK') throw new TransactionRolledBackError();
  }

  async #rollBack(): Promise<void> {
    this.#call.offAbort(this.#onAbort);
    // A client whose ROLLBACK fails is still in the transaction, so it is not used again.
    if (this.lease.lost === undefined) await this.#send('ROLLBACK', ROLLBACK_MS).catch(() => {});
    this.#release();
    this.#call.end();
  }

  /** Sends it as part of a call; without one, whatever has become of the caller. */
  async #send(text: string, limitMs: number, parent?: Call): Promise<pg.QueryResult> {
    const { clock } = this.#session;
    const onLimit = () => new QueryTimeoutError(text, limitMs, undefined);
    const call = new Call({ parent, limitMs, clock, onLimit });
    try {
      return (await this.lease.send(text, undefined, call)) as pg.QueryResult;
    } finally {
      call.end();
    }
  }
}
