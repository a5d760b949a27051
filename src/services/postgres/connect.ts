import pRetry from 'p-retry';
import pg from 'pg';
import type { Clock } from '../../clock.ts';
import { toError } from '../../errors.ts';

const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 2_000;

/**
 * Tries to connect until it succeeds, the signal aborts, or the database refuses for good; pauses 50 ms × 2 up
 * to 2 s in between.
 */
export async function persistently<Result>(
  connect: () => Promise<Result>,
  options: {
    readonly clock: Clock;
    readonly signal: AbortSignal;
    readonly onFailure: (error: Error, tries: number) => void;
  },
): Promise<Result> {
  const { clock, signal, onFailure } = options;
  return await pRetry(connect, {
    signal,
    retries: Number.POSITIVE_INFINITY,
    // The pauses are made below, by the clock.
    minTimeout: 0,
    shouldRetry: ({ error }) => isTransient(error),
    onFailedAttempt: async ({ error, attemptNumber }) => {
      if (!isTransient(error)) return;
      onFailure(error, attemptNumber);
      await clock.sleep(Math.min(FIRST_PAUSE_MS * 2 ** (attemptNumber - 1), MAX_PAUSE_MS), { signal });
    },
  });
}

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
const transientMessages = /^Connection terminated|^timeout e/;

function isTransient(error: Error): boolean {
  if (error instanceof pg.DatabaseError) return transientStates.test(error.code ?? '');
  return codeOf(error) in transientCodes || transientMessages.test(error.message);
}

/** Why a connection failed, in a few words. */
export function describeFailure(thrown: unknown): string {
  const error = toError(thrown);
  return transientCodes[codeOf(error)] ?? error.message;
}

const codeOf = (error: Error) => ('code' in error ? String(error.code) : '');
