import { Worker } from 'node:worker_threads';
import { BosunError } from '../errors.ts';
import { workerEntry } from '../package-files.ts';
import type { Host } from '../supervisor/host.ts';
import { Heartbeat } from './heartbeat.ts';
import { LoopMeter } from './loop-meter.ts';
import type { MainMethods, ThreadData, ThreadMethods } from './protocol.ts';
import { Rpc } from './rpc.ts';

/** Enough for what it keeps; more would be a leak of its own. */
const MAX_HEAP_MIB = 128;
/** V8 does not give back what it took for a burst, and by default takes up to 48 MiB. */
const MAX_YOUNG_MIB = 6;

/** The thread ended by itself. */
export class WatcherEndedError extends BosunError {
  readonly code = 'ERR_WATCHER_ENDED';
}

/**
 * The thread that watches the daemon from outside: the services that need it share one per entrypoint. It runs
 * while one of them holds it.
 */
export class Watcher {
  readonly rpc: Rpc<ThreadMethods>;
  readonly #worker: Worker;
  readonly heartbeat = new Heartbeat();
  readonly meter = new LoopMeter(this.heartbeat);
  readonly #methods: { -readonly [Name in keyof MainMethods]?: MainMethods[Name] } = {};

  /** `onEnd` is called when the thread has ended, by itself or not. */
  constructor(onEnd: (error: WatcherEndedError) => void) {
    const workerData: ThreadData = { heartbeat: this.heartbeat.memory };
    this.#worker = new Worker(workerEntry('control/thread/main'), {
      name: 'bosun watcher',
      workerData,
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MIB, maxYoungGenerationSizeMb: MAX_YOUNG_MIB },
    });
    this.#worker.unref();
    this.rpc = new Rpc(this.#worker, this.#methods as MainMethods);
    let cause: unknown;
    this.#worker.once('error', (error) => {
      cause = error;
    });
    this.#worker.once('exit', (code) => {
      const error = new WatcherEndedError(`the watcher thread ended with exit code ${code}`, { cause });
      this.rpc.close(error);
      onEnd(error);
    });
  }

  /** What the thread may call. */
  offer(methods: Partial<MainMethods>): void {
    Object.assign(this.#methods, methods);
  }

  async close(): Promise<void> {
    this.heartbeat[Symbol.dispose]();
    await this.#worker.terminate();
  }
}

/** The entrypoint's watcher, for one of those who need it. */
export interface WatcherLease {
  readonly watcher: Watcher;
  /** The thread ends when nobody holds it any more. */
  release(): Promise<void>;
}

/** A watcher, and what is called, for each of those who hold it, when it has ended by itself. */
interface Shared {
  readonly watcher: Watcher;
  readonly holders: Set<(error: Error) => void>;
}

const shared = new WeakMap<Host, Shared>();

/** Starts the thread, unless it runs. `onEnd` is called when it has ended by itself, before the lease is released. */
export function acquireWatcher(host: Host, onEnd: (error: Error) => void): WatcherLease {
  const known = shared.get(host) ?? share(host);
  const { watcher, holders } = known;
  const holder = (error: Error) => onEnd(error);
  holders.add(holder);
  return {
    watcher,
    async release() {
      if (!holders.delete(holder) || holders.size > 0) return;
      if (shared.get(host) === known) shared.delete(host);
      await watcher.close();
    },
  };
}

function share(host: Host): Shared {
  const holders: Shared['holders'] = new Set();
  const watcher = new Watcher((error) => {
    // Who comes after its end gets another.
    if (shared.get(host) === known) shared.delete(host);
    for (const holder of [...holders]) holder(error);
  });
  const known = { watcher, holders };
  shared.set(host, known);
  return known;
}
