import pg from 'pg';
import { Call, currentCall } from '../../call.ts';
import type { Clock } from '../../clock.ts';
import type { CallLimits, PostgresQuery } from './client.ts';
import { QueryTimeoutError } from './errors.ts';
import { codeOf, DOWN_RETRY_AFTER_MS } from './failures.ts';
import { canBeRepeated, describeStatement, type StatementNames } from './statement.ts';
import type { Counters } from './statistics.ts';

/** What all queries of one run of the service share. @internal */
export interface Session {
  readonly clock: Clock;
  /** `host:port/database` */
  readonly target: string;
  readonly queryTimeoutMs: number;
  readonly names: StatementNames;
  readonly counters: Counters;
  /** The server did not even take the request to cancel a query. */
  readonly suspect: (error: Error) => void;
  /** Tables have been altered below prepared statements. */
  readonly renew: () => void;
}

/** What somebody waits for, within limits of its own and of the call that it is part of. @internal */
export class LimitedCall extends Call {
  readonly #signal: AbortSignal | undefined;
  readonly #onSignal: () => void;

  /** @throws {RangeError} for a `timeoutMs` below 0 or NaN. */
  constructor(
    { timeoutMs = Number.POSITIVE_INFINITY, signal }: CallLimits,
    clock: Clock,
    onLimit?: (limitMs: number) => Error,
    parent = currentCall(),
  ) {
    if (!(timeoutMs >= 0)) {
      throw new RangeError(`timeoutMs must be at least 0 (Infinity: no limit), received ${timeoutMs}`);
    }
    super({ parent, limitMs: timeoutMs, clock, ...(onLimit && { onLimit }) });
    this.#signal = signal;
    this.#onSignal = () => this.abort(signal?.reason);
    if (signal?.aborted) this.#onSignal();
    else signal?.addEventListener('abort', this.#onSignal);
  }

  override end(): void {
    super.end();
    this.#signal?.removeEventListener('abort', this.#onSignal);
  }
}

const NO_LIMITS: CallLimits = {};

/** Does a query: counts it, and bounds it by its own limits, else by the service's. */
export async function asQuery<Result>(
  session: Session,
  query: string | PostgresQuery,
  inTransaction: boolean,
  work: (call: Call) => Promise<Result>,
): Promise<Result> {
  const { clock, queryTimeoutMs, names, counters } = session;
  const limits = typeof query === 'string' ? NO_LIMITS : query;
  counters.queries += 1;
  const begunAt = clock.now();
  let call: Call | undefined;
  try {
    if (typeof query !== 'string') names.check(query);
    call = new LimitedCall(
      limits.timeoutMs === undefined ? { ...limits, timeoutMs: queryTimeoutMs } : limits,
      clock,
      (limitMs) => {
        const retryAfterMs = canBeRepeated(query, inTransaction) ? DOWN_RETRY_AFTER_MS : undefined;
        return new QueryTimeoutError(describeStatement(query), limitMs, retryAfterMs);
      },
    );
    return await work(call);
  } catch (error) {
    counters.failed(errorClass(error));
    throw error;
  } finally {
    call?.end();
    counters.durations.observe((clock.now() - begunAt) / 1_000);
  }
}

/** How errors are counted: by the class of the SQLSTATE, by the code, or as aborted. */
function errorClass(error: unknown): string {
  if (!(error instanceof Error)) return 'aborted';
  const code = codeOf(error);
  if (error instanceof pg.DatabaseError) return code.slice(0, 2);
  return code.startsWith('ERR_') ? code : 'aborted';
}
