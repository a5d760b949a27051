import pRetry from 'p-retry';
import type { Clock } from '../../clock.ts';
import { mayConnectLater } from './failures.ts';

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
    shouldRetry: ({ error }) => mayConnectLater(error),
    onFailedAttempt: async ({ error, attemptNumber }) => {
      if (!mayConnectLater(error)) return;
      onFailure(error, attemptNumber);
      await clock.sleep(Math.min(FIRST_PAUSE_MS * 2 ** (attemptNumber - 1), MAX_PAUSE_MS), { signal });
    },
  });
}
