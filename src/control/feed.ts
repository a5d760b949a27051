import type { Host } from '../supervisor/host.ts';
import { logAction, logRefusal } from './audit-log.ts';
import { Collector } from './collect.ts';
import { askHealth } from './health.ts';
import { LinePump } from './line-pump.ts';
import { LoopReader } from './loop-figures.ts';
import { operations } from './operations.ts';
import type { ThreadMethods } from './protocol.ts';
import type { Rpc } from './rpc.ts';
import { StatusWriter } from './status.ts';
import { acquireWatcher, type Watcher } from './watcher.ts';

/** The thread that serves control planes, for one of them. */
export interface PlaneLease {
  readonly rpc: Rpc<ThreadMethods>;
  /** Tells the thread, now, the daemon's state and the lines of the log that have been gathered. */
  tell(): void;
  /** The thread ends when nobody holds it any more. */
  release(): Promise<void>;
}

/** Tells the thread of the daemon, and answers it: once, however many control planes there are. */
class Feed {
  holders = 0;
  readonly #rpc: Rpc<ThreadMethods>;
  readonly #writer: StatusWriter;
  readonly #ending = new AsyncDisposableStack();
  readonly #pump: LinePump;
  #due: NodeJS.Immediate | undefined;

  constructor(host: Host, watcher: Watcher) {
    const { control } = host;
    this.#rpc = watcher.rpc;
    this.#writer = new StatusWriter(control);
    const reader = new LoopReader(host, watcher.meter);
    const collector = this.#ending.adopt(new Collector(host, watcher.meter), (made) => made.close());
    watcher.offer({
      figures: () => reader.read(),
      health: (limitMs) => askHealth(host, limitMs),
      collect: () => collector.collect(),
      ...operations(host, this.#ending),
      audit: (entry) => logAction(host.loggerFor(entry.server), entry),
      refused: (entry) => logRefusal(host.loggerFor(entry.server), entry),
      serverFailed: ({ server, message }) =>
        host.loggerFor(server).error(`the server has failed: ${message}`),
    });
    this.#pump = new LinePump(control, (lines) => this.#rpc.tell('lines', lines));
    this.#ending.defer(() => this.#pump.close());
    this.#ending.defer(() => clearImmediate(this.#due));
    this.#ending.defer(
      control.on((event) => {
        this.#rpc.tell('event', this.#writer.event(event));
        // A thousand services that start at a time are one change; that the daemon stops is known at once.
        if (event.type.startsWith('entrypoint-')) this.tellStatus();
        else this.#due ??= setImmediate(() => this.tellStatus());
      }),
    );
    this.tellStatus();
  }

  tellStatus(): void {
    clearImmediate(this.#due);
    this.#due = undefined;
    this.#rpc.tell('status', this.#writer.status());
  }

  tell(): void {
    this.tellStatus();
    this.#pump.flush();
  }

  close(): Promise<void> {
    return this.#ending.disposeAsync();
  }
}

const feeds = new WeakMap<Watcher, Feed>();

/** Starts the thread, unless it runs. `onEnd` is called when it has ended by itself, before the lease is released. */
export function acquirePlane(host: Host, onEnd: (error: Error) => void): PlaneLease {
  const lease = acquireWatcher(host, onEnd);
  const { watcher } = lease;
  const feed = feeds.get(watcher) ?? new Feed(host, watcher);
  feeds.set(watcher, feed);
  feed.holders += 1;
  return {
    rpc: watcher.rpc,
    tell: () => feed.tell(),
    async release() {
      feed.holders -= 1;
      if (feed.holders === 0) {
        feeds.delete(watcher);
        await feed.close();
      }
      await lease.release();
    },
  };
}
