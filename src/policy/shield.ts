import { z } from 'zod';
import { orEnded } from '../call.ts';
import { parseOptions } from '../options.ts';
import { makePolicy } from './make-policy.ts';
import { callable, policyShape } from './options.ts';
import type { Policy, PolicyOptions } from './policy.ts';

/** What becomes of work whose caller has gone. */
export interface ShieldOptions extends PolicyOptions {
  /** Told what the work failed with after its caller had gone. Default: that is ignored. */
  readonly onLateError?: (error: unknown) => void;
}

const schema = z.strictObject({
  ...policyShape,
  onLateError: callable<(error: unknown) => void>().optional(),
});

/**
 * Lets work go on although its caller gives up, or its deadline passes: the caller is let go at once, and the
 * work knows nothing of it; its signal never aborts. What comes of it then is ignored, but for `onLateError`.
 *
 * ```ts
 * const save = shield({ onLateError: (error) => log.error(error) })(saveOrder);
 * ```
 *
 * @throws {OptionsError} `ERR_OPTIONS`
 */
export function shield(options: ShieldOptions = {}): Policy {
  const { onLateError, ...parts } = parseOptions('shield', schema, options);
  return makePolicy('shield', parts, (attempt, caller) => {
    if (caller === undefined) return attempt(undefined);
    const work = (async () => await attempt(undefined))();
    if (onLateError !== undefined) {
      work.catch((error: unknown) => {
        if (caller.aborted) onLateError(error);
      });
    }
    return orEnded(work, caller);
  });
}
