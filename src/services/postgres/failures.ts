import pg from 'pg';
import { toError } from '../../errors.ts';

/** When a database that is down is worth another try, in ms: it is looked for once a second. */
export const DOWN_RETRY_AFTER_MS = 1_000;
/** When a connection that was lost is worth another one. */
export const LOST_RETRY_AFTER_MS = 50;

/**
 * SQLSTATE classes of a server that is there and may take the connection later: 08 connection exception,
 * 53 insufficient resources, 57 operator intervention (starting up, shutting down).
 */
const transientStates = /^(08|53|57)/;

/** What the network answers while a server is not there (yet), the name not being known included. */
const transientCodes: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  ECONNABORTED: 'connection aborted',
  EPIPE: 'connection closed',
  ETIMEDOUT: 'timed out',
  EHOSTUNREACH: 'host unreachable',
  EHOSTDOWN: 'host down',
  ENETUNREACH: 'network unreachable',
  ENETDOWN: 'network down',
  ENOTFOUND: 'host not found',
  EAI_AGAIN: 'host not found, the name server does not answer',
  ENOENT: 'no such socket',
};

/** pg gives these no code. */
const connectionMessages = /^Connection terminated|^Client (has encountered a connection error|was closed)/;

/** Whether a server that refused a connection may take it later. */
export function mayConnectLater(error: Error): boolean {
  if (error instanceof pg.DatabaseError) return transientStates.test(error.code ?? '');
  return isConnectionError(error);
}

/** Whether the connection is at fault, not what was sent over it. */
export function isConnectionError(error: Error): boolean {
  return codeOf(error) in transientCodes || connectionMessages.test(error.message);
}

/** Why a connection failed, in a few words. */
export function describeFailure(thrown: unknown): string {
  const error = toError(thrown);
  return transientCodes[codeOf(error)] ?? error.message;
}

export const codeOf = (error: Error) => ('code' in error ? String(error.code) : '');

/**
 * 08 connection exception, 57P01 to 57P05 shutdown, start-up, idle sessions, 25P03 and 25P04 transactions that
 * lasted too long, 53300 too many connections: the session ends with it.
 */
const lostStates = /^(08...|57P0[1-5]|25P0[34]|53300)$/;

/** 40001 serialization failure, 40P01 deadlock: the server has undone the statement, or the transaction. */
const undoneStates = /^(40001|40P01)$/;

/**
 * What an error leaves open. `undone`: the server has undone it, it can be run again; `forgotten`: a prepared
 * statement that this connection has lost, nothing was run; `stale`: one that fits its tables no more, as on
 * every other connection; `lost`: the connection or the server ended, what was sent may have been done; `final`:
 * anything else.
 */
export type FailureKind = 'undone' | 'forgotten' | 'stale' | 'lost' | 'final';

export function kindOf(error: unknown): FailureKind {
  if (!(error instanceof Error)) return 'final';
  if (!(error instanceof pg.DatabaseError)) return isConnectionError(error) ? 'lost' : 'final';
  const code = error.code ?? '';
  if (undoneStates.test(code)) return 'undone';
  // 08P01 protocol violation: as an error it is about a wrong number of values, as the end of all a pooler's.
  if (lostStates.test(code)) return code === '08P01' && error.severity === 'ERROR' ? 'final' : 'lost';
  // After DISCARD or DEALLOCATE ALL.
  if (code === '26000') return 'forgotten';
  // "cached plan must not change result type", after ALTER TABLE.
  return code === '0A000' && error.routine === 'RevalidateCachedQuery' ? 'stale' : 'final';
}

/** What a server's error may hold of the values: still there to be read, but in no log line. */
const hidden = ['detail', 'hint', 'where', 'internalQuery'] as const;

/** Names the statement in a server's error, and keeps the values out of what logs show. */
export function dress(error: pg.DatabaseError, statement: string): void {
  for (const key of hidden) Object.defineProperty(error, key, { enumerable: false });
  // Class 22, data exception: `invalid input syntax for type integer: "…"` quotes the value.
  const message = error.code?.startsWith('22') ? error.message.replace(/".*"/s, '"…"') : error.message;
  error.message = `${message} (statement ${statement})`;
  Object.assign(error, { statement });
}
