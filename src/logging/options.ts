import { z } from 'zod';
import { byteCount, durationMs } from '../options.ts';
import { logLevels } from './levels.ts';

export { logLevels } from './levels.ts';

export const logFormats = ['json', 'pretty', 'plain', 'journald'] as const;

export type LogFormat = (typeof logFormats)[number];

/** Options of the log. */
export const logSchema = z.strictObject({
  level: z.enum(logLevels).default('info'),
  /** Unset: `pretty` on a terminal, `journald` under systemd's journal, `json` elsewhere. */
  format: z.enum(logFormats).optional(),
  /**
   * What may wait to be written; what comes on top of it is dropped and counted. 0: what the reader does not
   * take at once is dropped, but for one line.
   */
  bufferBytes: byteCount()
    .refine(
      (bytes) => bytes !== Number.POSITIVE_INFINITY,
      'must be finite: the log may not grow without bound',
    )
    .default(8 * 1024 * 1024),
  /**
   * How long lines are gathered into one write, from the first one on; 64 KiB are written earlier. 0: a line
   * is written at once, and those that follow it in the same turn of the event loop at the turn's end.
   */
  flushIntervalMs: durationMs().default(0),
  /** How long a clean exit waits for the reader to take what is left. 0: not at all. */
  flushTimeoutMs: durationMs().default(5_000),
  /** Paths of values that are never written, beside the built-in names (pino's redaction syntax). */
  redact: z.array(z.string()).default([]),
});

export type LogOptions = z.output<typeof logSchema>;
