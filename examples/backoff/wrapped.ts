import { backoff } from 'bosun/policy';
import { read, StorageError, showAll } from './storage.ts';

/** Four ways to try again, as wrapped functions. */
await showAll(
  {
    /** An attempt may take 200 ms, all of them 2 s, with a pause of 20 ms in between: only time-outs are retried. */
    slow: backoff({ attemptTimeoutMs: 200, deadlineMs: 2_000, pauseMs: 20 })(read),
    /** The same, and certain errors are retried as well. */
    failing: backoff({ attemptTimeoutMs: 200, deadlineMs: 2_000, pauseMs: 20, retryOn: [StorageError] })(
      read,
    ),
    /** At most three tries; then the last error is thrown. */
    broken: backoff({ deadlineMs: 2_000, pauseMs: 20, maxTries: 3, retryOn: [StorageError] })(read),
    /** Any error is retried but that of a connection that broke. */
    reset: backoff({
      deadlineMs: 2_000,
      pauseMs: 20,
      retryOn: [Error],
      giveUp: (error) => ['ECONNRESET', 'UND_ERR_SOCKET'].includes((error as { code?: string }).code ?? ''),
    })(read),
  },
  process.argv[2] ?? 'http://127.0.0.1:8080',
);
