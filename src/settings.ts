import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { logSchema } from './logging/options.ts';
import { byteCount, countOrInfinity, durationMs } from './options.ts';
import { supervisionShape } from './supervisor/restart-policy.ts';

const MIN_HEAP_BYTES = 16 * 2 ** 20;

/** What an entrypoint can be told in a config file. */
export const settingsSchema = z.strictObject({
  /** For development: the log level is `debug` at least, and stacks are long (when the process is owned). */
  debug: z.boolean().default(false),
  log: logSchema.prefault({}),
  workers: z
    .strictObject({
      /** Default: the number of processors; no `default()`, as a schema would then show that of its machine. */
      threads: z
        .int()
        .min(1)
        .optional()
        .transform((threads) => threads ?? availableParallelism()),
      /** Processes for modules with `isolation: 'process'`. Default: the number of processors. */
      processes: z
        .int()
        .min(1)
        .optional()
        .transform((processes) => processes ?? availableParallelism()),
      /** Tasks that may wait for a thread, and for a process; more are refused. 0: none waits; `Infinity`: any number. */
      maxQueued: countOrInfinity(0).default(10_000),
      /** How large the old generation of a worker's heap may grow. Default: V8's own limit. */
      maxHeapBytes: byteCount()
        .refine((bytes) => bytes >= MIN_HEAP_BYTES, 'must be at least 16 MiB: V8 ends the process below that')
        .optional(),
    })
    .prefault({}),
  shutdown: z
    .strictObject({
      /** The budget of the whole shutdown, `delayMs` included; when it is spent, what still runs is forced. */
      timeoutMs: durationMs().default(30_000),
      /** Between *not ready any more* and the first stop, so that load balancers take notice. */
      delayMs: durationMs().default(0),
    })
    .refine(({ timeoutMs, delayMs }) => delayMs === 0 || delayMs < timeoutMs, {
      path: ['delayMs'],
      error: 'must be less than the timeout, of which it is a part',
    })
    .prefault({}),
  ...supervisionShape,
  /** Whether the process's signals and stray errors are this entrypoint's. */
  ownsProcess: z.boolean().default(true),
});

/** How an entrypoint ended. */
export interface Outcome {
  /**
   * 0: clean; 1: a service failed for good, the start failed, or a stop failed; 70: the shutdown had to be
   * forced; 128 + n: the third signal, number n, cut it off.
   */
  readonly exitCode: number;
  /** What went wrong, in the order in which it did. */
  readonly errors: readonly Error[];
}

export { exitCodes } from './exit-codes.ts';

/** The level at which an entrypoint logs. */
export const logLevelOf = ({ debug, log }: Pick<z.output<typeof settingsSchema>, 'debug' | 'log'>) =>
  debug && log.level !== 'trace' ? 'debug' : log.level;
