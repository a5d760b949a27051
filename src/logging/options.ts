import { z } from 'zod';
import { byteCount, durationMs } from '../options.ts';

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export const logFormats = ['json', 'pretty', 'plain', 'journald'] as const;

/** Options of the log. */
export const logSchema = z.strictObject({
  level: z.enum(logLevels).default('info'),
  /** Unset: `pretty` on a terminal, `journald` under systemd's journal, `json` elsewhere. */
  format: z.enum(logFormats).optional(),
  /** What may wait to be written; what comes on top of it is dropped and counted. */
  bufferBytes: byteCount().default(8 * 1024 * 1024),
  /** How long a clean exit waits for the reader to take what is left. */
  flushTimeoutMs: durationMs().default(5_000),
  /** Paths of values that are never written, beside the built-in ones (pino's redaction syntax). */
  redact: z.array(z.string()).default([]),
});

export type LogOptions = z.output<typeof logSchema>;
