import { systemClock } from '../../clock.ts';
import { toError } from '../../errors.ts';
import type { HeartbeatReader } from '../heartbeat.ts';
import type { MainMethods, SystemdOptions } from '../protocol.ts';
import type { Rpc } from '../rpc.ts';
import { NotifySender } from './notify-sender.ts';

/** A ping goes out at half of the time, see sd_watchdog_enabled(3); a withheld one is tried again by a part of it. */
const RETRIES_PER_PERIOD = 20;

/**
 * Speaks to systemd; the unit needs `NotifyAccess=all` for that. Off the main thread, so that the watchdog is right
 * when the main loop is blocked.
 */
export class SystemdNotifier {
  readonly #sender: NotifySender;
  readonly #main: Rpc<MainMethods>;
  readonly #heartbeat: HeartbeatReader;
  /** Messages go out one after the other. */
  #sent: Promise<void> = Promise.resolve();
  #status = '';

  constructor(options: SystemdOptions, main: Rpc<MainMethods>, heartbeat: HeartbeatReader) {
    this.#sender = new NotifySender(options.socket);
    this.#main = main;
    this.#heartbeat = heartbeat;
    if (options.watchdogMs !== undefined) void this.#watch(options.watchdogMs);
  }

  /** Resolves when these, and all before them, are with systemd; or were tried, as an error is only logged. */
  notify(assignments: readonly string[]): Promise<void> {
    this.#status = assignments.find((assignment) => assignment.startsWith('STATUS=')) ?? this.#status;
    return this.#enqueue(assignments);
  }

  #enqueue(assignments: readonly string[]): Promise<void> {
    this.#sent = this.#sent.then(async () => {
      try {
        if (assignments.length > 0) await this.#sender.send(assignments);
      } catch (thrown) {
        this.#main.tell('notifyFailed', toError(thrown).message);
      }
    });
    return this.#sent;
  }

  /** Pings as long as the main loop turns and what is critical is well. */
  async #watch(periodMs: number): Promise<never> {
    let withheld: string | undefined;
    for (;;) {
      const begun = systemClock.now();
      const why = await this.#unwell(periodMs / 2);
      if (why === undefined) {
        await this.#enqueue(withheld === undefined ? ['WATCHDOG=1'] : ['WATCHDOG=1', this.#status]);
      } else if (withheld === undefined) {
        await this.#enqueue([`STATUS=not well: ${why}`]);
      }
      withheld = why;
      const pauseMs = why === undefined ? periodMs / 2 : periodMs / RETRIES_PER_PERIOD;
      await systemClock.sleep(Math.max(0, begun + pauseMs - systemClock.now()));
    }
  }

  async #unwell(limitMs: number): Promise<string | undefined> {
    const blockedMs = Math.round(this.#heartbeat.blockedMs);
    if (blockedMs > limitMs) return `the main loop has been blocked for ${blockedMs} ms`;
    try {
      return await this.#main.call('vital', limitMs, { timeoutMs: limitMs });
    } catch (thrown) {
      return `the main loop does not answer: ${toError(thrown).message}`;
    }
  }
}
