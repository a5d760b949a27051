import { z } from 'zod';
import { durationMs } from '../options.ts';
import { pauseBefore } from '../supervisor/restart-policy.ts';
import { callable } from './options.ts';

/** How long the pauses between tries are. */
export interface PauseOptions {
  /** The first pause, in ms; 0: none. Default: 100. */
  readonly pauseMs?: number;
  /**
   * `fixed`: each pause is `pauseMs`. `exponential`: each is `factor` times the one before. `decorrelated`: each
   * is drawn between `pauseMs` and `factor` times the one before (AWS, "Exponential Backoff and Jitter").
   * Default: `exponential`.
   */
  readonly strategy?: 'fixed' | 'exponential' | 'decorrelated';
  /** At least 1. Default: 2; with `decorrelated` 3. */
  readonly factor?: number;
  /** No pause is longer, in ms, but for one that a `Retry-After` asks for. Default: 30 000. */
  readonly maxPauseMs?: number;
  /** `full`: each pause is drawn between 0 and its length, so that a crowd does not return at once. Default: `full`. */
  readonly jitter?: 'full' | 'none';
  /** In [0, 1): what pauses are drawn with. Default: `Math.random`. */
  readonly random?: () => number;
}

export const pauseShape = {
  pauseMs: durationMs().default(100),
  strategy: z.enum(['fixed', 'exponential', 'decorrelated']).default('exponential'),
  factor: z.number().min(1).optional(),
  maxPauseMs: durationMs().default(30_000),
  jitter: z.enum(['full', 'none']).optional(),
  random: callable<() => number>().optional(),
};

/** Options that contradict each other are refused rather than ignored. */
export function checkPauses({ issues, value }: z.core.ParsePayload<ParsedPauses>): void {
  const { strategy, factor, jitter } = value;
  const refuse = (option: string, message: string) =>
    issues.push({ code: 'custom', input: value, path: [option], message });
  if (strategy === 'fixed' && factor !== undefined) refuse('factor', 'has no meaning with strategy "fixed"');
  if (strategy === 'decorrelated' && jitter !== undefined) {
    refuse('jitter', 'has no meaning with strategy "decorrelated", which draws each pause');
  }
}

type ParsedPauses = z.output<z.ZodObject<typeof pauseShape>>;

/** The pauses of one call, one after the other. */
export function pausesOf(options: ParsedPauses): () => number {
  const { pauseMs, strategy, maxPauseMs, jitter = 'full', random = Math.random } = options;
  if (strategy === 'decorrelated') {
    const { factor = 3 } = options;
    let bound = pauseMs;
    return () => {
      bound = Math.min(maxPauseMs, pauseMs + random() * (bound * factor - pauseMs));
      return bound;
    };
  }
  const { factor = strategy === 'fixed' ? 1 : 2 } = options;
  let tries = 0;
  return () => pauseBefore(++tries, { pauseMs, factor, maxPauseMs, jitter }, random);
}
