import pg from 'pg';
import type { AbortListener, Call } from '../../call.ts';
import { toError } from '../../errors.ts';
import { requestCancel } from './cancel.ts';
import type { PostgresArrayQuery, PostgresClient, PostgresQuery } from './client.ts';
import type { Connection } from './connection.ts';
import { PostgresClientReleasedError, PostgresUnavailableError } from './errors.ts';
import { describeFailure, dress, kindOf, LOST_RETRY_AFTER_MS } from './failures.ts';
import { submitJson } from './json.ts';
import { withNumberArrays } from './number-arrays.ts';
import { asQuery, type Session } from './session.ts';
import { canBeRepeated, describeStatement } from './statement.ts';

/** How long the server may take to read a request to cancel, and then the query to end. */
const CANCEL_MS = 1_000;
/** How long an empty query may take that shows that a connection is fit. */
const CHECK_MS = 1_000;

type Done = (error: Error | null | undefined, result: unknown) => void;

/** Sends something over pg's client, and says when the server has answered it. */
export type Submit = (client: pg.Client, done: Done) => void;

/** The values that are sent for a query, which may have its own. */
const sentFor = (query: string | PostgresQuery, values: readonly unknown[] | undefined) =>
  withNumberArrays(values ?? (typeof query === 'string' ? undefined : query.values));

/** A client on loan from the pool. Queries that come while one is under way wait for their turn. @internal */
export class Lease implements PostgresClient {
  readonly #connection: Connection;
  readonly #session: Session;
  readonly #turns: (() => void)[] = [];
  #busy = false;
  /** Becomes whether the connection is fit again, after a query was given up. */
  #cleaning: Promise<boolean> | undefined;
  /** The last query failed: the server has yet to say what state that has left. */
  #unsettled = false;
  #unfit = false;
  /** The query's error that says that the connection is gone, or about to go. */
  #lost: Error | undefined;
  #rawTaken = false;
  #ended = false;

  constructor(connection: Connection, session: Session) {
    this.#connection = connection;
    this.#session = session;
  }

  get raw(): pg.ClientBase {
    this.#check();
    this.#rawTaken = true;
    return this.#connection.client;
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
    return await asQuery(this.#session, query, this.#inTransaction, (call) => this.send(query, values, call));
  }

  async json(query: string | PostgresQuery, values?: readonly unknown[]): Promise<Buffer> {
    return await asQuery(this.#session, query, this.#inTransaction, (call) =>
      this.sendJson(query, values, call),
    );
  }

  /** Sends a query as part of a call. */
  send(query: string | PostgresQuery, values: readonly unknown[] | undefined, call: Call): Promise<unknown> {
    // pg's own promise is rooted in the client, which is old: the garbage collector then takes the rows of
    // every result for live ones and promotes them, which costs a sixth of the CPU under load. Its callback is
    // not.
    return this.exchange(query, call, (client, done) =>
      client.query(query as string, sentFor(query, values) as unknown[], done),
    );
  }

  /** Sends a query whose rows are wanted as JSON, as part of a call. */
  async sendJson(
    query: string | PostgresQuery,
    values: readonly unknown[] | undefined,
    call: Call,
  ): Promise<Buffer> {
    const json = await this.exchange(query, call, (client, done) =>
      submitJson(client, query, sentFor(query, values), done),
    );
    return json as Buffer;
  }

  /**
   * Sends something when its turn has come, and resolves with the server's answer. Rejects as soon as the call
   * is to end; what has been sent is then cancelled.
   */
  async exchange(query: string | PostgresQuery, call: Call, submit: Submit): Promise<unknown> {
    this.#check();
    call.throwIfAborted();
    if (this.#busy) await this.#turn(call);
    try {
      const result = await this.#exchange(call, submit);
      this.#unsettled = false;
      return result;
    } catch (error) {
      // An abort's reason is the caller's own: it is not touched.
      if (call.aborted && error === call.reason) throw error;
      this.#unsettled = true;
      throw this.#failure(error, query);
    }
  }

  /** Why the connection is gone, if it is. */
  get lost(): Error | undefined {
    return this.#lost ?? this.#connection.lost;
  }

  /**
   * Ends the loan; says whether the connection is fit for the next one. `abandoned`: who borrowed it was let go,
   * but may still be at work.
   */
  end(abandoned = false): boolean | Promise<boolean> {
    this.#ended = true;
    for (const wake of this.#turns.splice(0)) wake();
    if (this.#rawTaken && abandoned) return false;
    if (this.#cleaning !== undefined) return this.#cleaning.then((clean) => clean && !this.#inTransaction);
    if (this.#busy || this.#unfit || this.lost !== undefined) return false;
    // The server tells an error before the state of the transaction after it; an empty query waits for that.
    if (this.#unsettled || this.#rawTaken) return this.#answers().then((fit) => fit && !this.#inTransaction);
    return !this.#inTransaction;
  }

  #check(): void {
    if (this.#ended) throw new PostgresClientReleasedError();
  }

  #exchange(call: Call, submit: Submit): Promise<unknown> {
    this.#busy = true;
    return new Promise((resolve, reject) => {
      let answered: (() => void) | undefined;
      let settled = false;
      const onAbort: AbortListener = (reason) => {
        const answer = Promise.withResolvers<void>();
        answered = answer.resolve;
        this.#cleaning = this.#cancel(answer.promise);
        reject(reason);
      };
      submit(this.#connection.client, (error, result) => {
        if (answered !== undefined) {
          answered();
          return;
        }
        // pg calls a second time for a query whose values could not be sent.
        if (settled) return;
        settled = true;
        call.offAbort(onAbort);
        this.#next();
        if (error) reject(error);
        else resolve(result);
      });
      call.onAbort(onAbort);
    });
  }

  async #cancel(answer: Promise<void>): Promise<boolean> {
    const { clock, counters, suspect, target } = this.#session;
    counters.cancels += 1;
    let answered = false;
    const ended = answer.then(() => {
      answered = true;
    });
    const outcome = await requestCancel(this.#connection.client, CANCEL_MS, clock);
    let clean = false;
    if (outcome === 'delivered') {
      const late = Promise.withResolvers<void>();
      using _timer = clock.setTimer(late.resolve, CANCEL_MS);
      await Promise.race([ended, late.promise]);
      // The empty query would take the blow should the cancel still be on its way to the session.
      clean = answered && (await this.#answers());
    } else if (outcome === 'unanswered' && !answered && this.#connection.lost === undefined) {
      suspect(new Error(`${target} has answered neither a query nor the request to cancel it`));
    }
    this.#cleaning = undefined;
    if (!clean) {
      this.#unfit = true;
      this.#connection.destroy();
    }
    this.#next();
    return clean;
  }

  /** Whether the server answers an empty query in time: then it has nothing left to say of those before. */
  #answers(): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = this.#session.clock.setTimer(() => resolve(false), CHECK_MS);
      void this.#connection.client.query('', (error: Error | null) => {
        timer.cancel();
        resolve(!error);
      });
    });
  }

  /** Hands the connection to the query that has waited longest. */
  #next(): void {
    const next = this.#turns.shift();
    if (next === undefined) this.#busy = false;
    else next();
  }

  async #turn(call: Call): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort: AbortListener = (reason) => {
      const at = this.#turns.indexOf(resolve);
      if (at === -1) return;
      this.#turns.splice(at, 1);
      reject(reason);
    };
    this.#turns.push(resolve);
    call.onAbort(onAbort);
    await promise;
    call.offAbort(onAbort);
    if (!this.#ended && !call.aborted) return;
    this.#next();
    this.#check();
    call.throwIfAborted();
  }

  /** What a failed query rejects with. */
  #failure(thrown: unknown, query: string | PostgresQuery): Error {
    const error = toError(thrown);
    const statement = describeStatement(query);
    const kind = kindOf(error);
    if (kind === 'lost') this.#lost = error;
    // The first to notice sees to it that nobody else meets it.
    if (kind === 'stale' && !this.#connection.stale) this.#session.renew();
    // The server ends the connection after a FATAL error; until then the client looks alive.
    const fatal = error instanceof pg.DatabaseError && error.severity !== 'ERROR';
    if (kind === 'forgotten' || fatal) this.#unfit = true;
    const retryAfterMs =
      kind === 'lost' && canBeRepeated(query, this.#inTransaction) ? LOST_RETRY_AFTER_MS : undefined;
    if (error instanceof pg.DatabaseError) {
      dress(error, statement);
      if (retryAfterMs !== undefined) Object.assign(error, { retryAfterMs });
    } else if (kind === 'lost') {
      const { target } = this.#session;
      return new PostgresUnavailableError(target, describeFailure(error), {
        statement,
        retryAfterMs,
        cause: error,
      });
    }
    // It was made where the socket was read: its stack is to lead to the caller instead.
    Error.captureStackTrace(error);
    return error;
  }

  /** As the last answer of the server told. */
  get #inTransaction(): boolean {
    return this.#connection.client.getTransactionStatus() !== 'I';
  }
}
