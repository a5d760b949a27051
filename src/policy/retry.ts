import { z } from 'zod';
import { countOrInfinity, parseOptions } from '../options.ts';
import { checkPauses } from './pauses.ts';
import type { Policy } from './policy.ts';
import { type RetryOptions, repeating, repeatShape } from './repeat.ts';

const schema = z
  .strictObject({
    ...repeatShape,
    maxTries: countOrInfinity(),
    retryOn: repeatShape.retryOn.default([Error]),
  })
  .check(checkPauses);

/**
 * Tries a call again when it fails, whatever the error, or those of `retryOn`: `backoff` without limits of time,
 * as aiomisc's `asyncretry`. That its caller gives up ends it; the end of a deadline is never tried again.
 *
 * ```ts
 * const get = retry({ maxTries: 3 })(fetchPrice);
 * ```
 *
 * @throws {OptionsError} `ERR_OPTIONS`
 */
export function retry(options: RetryOptions & { readonly maxTries: number }): Policy {
  const parsed = parseOptions('retry', schema, options);
  const unlimited = { attemptTimeoutMs: Number.POSITIVE_INFINITY, deadlineMs: Number.POSITIVE_INFINITY };
  return repeating('retry', { ...parsed, ...unlimited });
}
