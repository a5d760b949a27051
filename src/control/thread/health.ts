import { toError } from '../../errors.ts';
import type { HeartbeatReader } from '../heartbeat.ts';
import type { HealthReport, MainMethods } from '../protocol.ts';
import type { Rpc } from '../rpc.ts';
import { Kept } from './kept.ts';

/** `health()` may cost a query. */
const FRESH_MS = 5_000;
/** How long a service may take to be shown, as whoever reads is to be told every second; and with the way to it. */
const SHOWN_LIMIT_MS = 400;
const SHOWN_ANSWER_MS = 500;
/** The main thread answers in time when it can: this is for the way. */
const WAY_MS = 250;

/** What the services say of themselves, which the main thread is asked for. */
export class Health {
  readonly #shown: Kept<HealthReport>;
  readonly #now: Kept<HealthReport | string>;

  constructor(main: Rpc<MainMethods>, heartbeat: HeartbeatReader, healthTimeoutMs: number) {
    const shownLimitMs = Math.min(healthTimeoutMs, SHOWN_LIMIT_MS);
    this.#shown = new Kept(FRESH_MS, () =>
      main.call('health', shownLimitMs, { timeoutMs: SHOWN_ANSWER_MS }).catch(() => ({})),
    );
    this.#now = new Kept(0, async () => {
      const blockedMs = Math.round(heartbeat.blockedMs);
      if (blockedMs > healthTimeoutMs) return `the main loop has been blocked for ${blockedMs} ms`;
      try {
        return await main.call('health', healthTimeoutMs, { timeoutMs: healthTimeoutMs + WAY_MS });
      } catch (thrown) {
        return `the main loop does not answer: ${toError(thrown).message}`;
      }
    });
  }

  /** A few seconds old at most, and soon there; nothing while the main loop does not answer. */
  shown(): Promise<HealthReport> {
    return this.#shown.get();
  }

  /** As it is now, or why the services could not be asked. */
  now(): Promise<HealthReport | string> {
    return this.#now.get();
  }
}
