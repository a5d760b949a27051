import { z } from 'zod';
import { durationMs, parseOptions } from '../options.ts';
import { checkPauses } from './pauses.ts';
import type { Policy } from './policy.ts';
import { type RetryOptions, repeating, repeatShape } from './repeat.ts';

/** How a call is tried, and how often. */
export interface BackoffOptions extends RetryOptions {
  /**
   * How long one attempt may take, in ms from its beginning on; then its signal aborts, and it counts as failed.
   * `Infinity`: no limit. 0 rejects without a call. Default: `Infinity`.
   */
  readonly attemptTimeoutMs?: number;
  /**
   * How long all attempts and pauses may take together, in ms from the call on. A pause that would end later is
   * not begun: the call fails at once. `Infinity`: no limit. 0 rejects without a call. Default: `Infinity`.
   */
  readonly deadlineMs?: number;
  /** How often the function is called in all, at least 1. Default: `Infinity`. */
  readonly maxTries?: number;
}

const schema = z
  .strictObject({
    ...repeatShape,
    retryOn: repeatShape.retryOn.default([]),
    attemptTimeoutMs: durationMs().default(Number.POSITIVE_INFINITY),
    deadlineMs: durationMs().default(Number.POSITIVE_INFINITY),
  })
  .check(checkPauses);

/**
 * Tries a call again while it fails with errors that may pass: after attempt timeouts always, after other errors
 * if `retryOn` lists them; any other is thrown at once. After a failure `maxTries` is looked at first, then
 * `giveUp`, then it pauses. The last error is thrown as it is; when the deadline ends it all, the last error that
 * the function itself has thrown. The rules are those of aiomisc's `asyncbackoff`.
 *
 * ```ts
 * const get = backoff({ attemptTimeoutMs: 500, deadlineMs: 5_000, retryOn: [UpstreamError], maxTries: 4 })(fetchPrice);
 * ```
 *
 * The wrapped function throws {TimeoutError} `ERR_TIMEOUT` when there was no error but timeouts.
 *
 * @throws {OptionsError} `ERR_OPTIONS`
 */
export function backoff(options: BackoffOptions = {}): Policy {
  return repeating('backoff', parseOptions('backoff', schema, options));
}
