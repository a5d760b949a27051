import { createLogging } from '../../logging/logging.ts';
import type { HeartbeatMemory } from '../heartbeat.ts';
import type { MainMethods, StallOptions } from '../protocol.ts';
import type { Rpc } from '../rpc.ts';
import type { Journal } from './journal.ts';
import { stallFields, stallText } from './stall-text.ts';
import { StallWatch } from './stalls.ts';

/** How long the last lines may take to be written. */
const FLUSH_TIMEOUT_MS = 1_000;

/** Tells of stalls: the log, while the main thread cannot; the readers of the control plane; the main thread. */
export class StallReporter {
  readonly watch: StallWatch;
  readonly #close: () => Promise<void>;

  constructor(memory: HeartbeatMemory, options: StallOptions, journal: Journal, main: Rpc<MainMethods>) {
    const { log, service, keep } = options;
    const settings = { ...log.options, flushIntervalMs: 0, flushTimeoutMs: FLUSH_TIMEOUT_MS };
    const logging = createLogging(settings, log.target);
    logging.tap((line) => journal.addLines([line]));
    const logger = logging.logger.child({ service });
    this.watch = new StallWatch(memory, options, {
      newId: () => journal.newStallId(),
      changed: (stall) => journal.setStall(stall, keep),
      tell: (stall, inNative) => logger.warn(stallFields(stall), stallText(stall, inNative)),
      over: (stall) => main.tell('stalled', stall),
    });
    this.#close = () => logging.close();
  }

  async close(): Promise<void> {
    await this.watch.close();
    await this.#close();
  }
}
