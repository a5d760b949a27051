import { z } from 'zod';
import { durationMs } from '../options.ts';

/** How many failures a supervisor bears before it gives up, after OTP's `intensity` and `period`. */
export const intensitySchema = z.strictObject({
  /** More failures than this within the window exhaust the budget; 0 gives up at the first. */
  maxFailures: z.int().min(0).default(5),
  windowMs: durationMs().default(60_000),
});

/** The pause before a restart: `pauseMs * factor ** (attempt - 1)`, at most `maxPauseMs`, with full jitter. */
export const restartBackoffSchema = z.strictObject({
  pauseMs: durationMs().default(100),
  factor: z.number().min(1).default(2),
  maxPauseMs: durationMs().default(30_000),
  /** A run that was healthy for this long makes the next failure the first again. */
  resetAfterMs: durationMs().default(60_000),
  /** `full`: each pause is drawn between 0 and its bound, so that a crowd does not return at once. */
  jitter: z.enum(['full', 'none']).default('full'),
});

/** The options of supervision; the entrypoint takes the same. */
export const supervisionShape = {
  /**
   * What is restarted when a service fails: it alone (`one-for-one`), all (`one-for-all`), or it and those
   * that start after it (`rest-for-one`).
   */
  strategy: z.enum(['one-for-one', 'one-for-all', 'rest-for-one']).default('one-for-one'),
  intensity: intensitySchema.prefault({}),
  backoff: restartBackoffSchema.prefault({}),
};

export type SupervisionOptions = z.output<z.ZodObject<typeof supervisionShape>>;
export type Intensity = z.output<typeof intensitySchema>;
export type RestartBackoff = z.output<typeof restartBackoffSchema>;

/** The failures within the last `windowMs`. */
export class FailureWindow {
  readonly #intensity: Intensity;
  readonly #times: number[] = [];

  constructor(intensity: Intensity) {
    this.#intensity = intensity;
  }

  /** Counts a failure at `now`. Returns whether the budget is exhausted by it. */
  record(now: number): boolean {
    const { maxFailures, windowMs } = this.#intensity;
    const expired = this.#times.findIndex((time) => now - time < windowMs);
    this.#times.splice(0, expired < 0 ? this.#times.length : expired);
    this.#times.push(now);
    return this.#times.length > maxFailures;
  }

  get count(): number {
    return this.#times.length;
  }

  clear(): void {
    this.#times.length = 0;
  }
}

/** The pause before the `attempt`th restart in a row (from 1); `random` is in [0, 1). */
export function pauseBefore(
  attempt: number,
  backoff: Omit<RestartBackoff, 'resetAfterMs'>,
  random: () => number,
): number {
  // The power becomes Infinity in time, and 0 * Infinity would be no number.
  const growth = Math.min(backoff.factor ** (attempt - 1), Number.MAX_VALUE);
  const bound = Math.min(backoff.maxPauseMs, backoff.pauseMs * growth);
  return backoff.jitter === 'full' ? bound * random() : bound;
}
