import { z } from 'zod';
import { Call } from '../call.ts';
import { durationMs, parseOptions } from '../options.ts';
import { TimeoutError } from './errors.ts';
import { attemptInOwn, makePolicy } from './make-policy.ts';
import { policyShape } from './options.ts';
import type { Policy, PolicyOptions } from './policy.ts';

const schema = z.strictObject({ ...policyShape, ms: durationMs() });

/**
 * Bounds each call to `ms`, counted from the call on. When they have passed, the caller is let go, the signal of
 * the call aborts, and what the function comes to later is ignored. 0 rejects without a call; `Infinity` sets no
 * limit.
 *
 * ```ts
 * const price = timeout(500)(fetchPrice);
 * ```
 *
 * The wrapped function throws {TimeoutError} `ERR_TIMEOUT`.
 *
 * @throws {OptionsError} `ERR_OPTIONS`
 */
export function timeout(ms: number, options: PolicyOptions = {}): Policy {
  const { ms: limitMs, ...parts } = parseOptions('timeout', schema, { ...options, ms });
  const onLimit = () => new TimeoutError('the call', limitMs);
  return makePolicy('timeout', parts, (attempt, caller, clock) => {
    if (limitMs === 0) throw onLimit();
    return attemptInOwn(new Call({ parent: caller, limitMs, clock, onLimit }), attempt);
  });
}
