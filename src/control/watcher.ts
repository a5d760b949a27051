import { Worker } from 'node:worker_threads';
import { BosunError } from '../errors.ts';
import { workerEntry } from '../package-files.ts';
import type { Host } from '../supervisor/host.ts';
import { Heartbeat } from './heartbeat.ts';
import type { MainMethods, ThreadData, ThreadMethods } from './protocol.ts';
import { Rpc } from './rpc.ts';

/** Enough for what it keeps; more would be a leak of its own. */
const MAX_HEAP_MIB = 128;

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
  /** Resolves when the thread has ended by itself. */
  readonly ended: Promise<Error>;
  readonly #worker: Worker;
  readonly heartbeat = new Heartbeat();
  readonly #methods: { -readonly [Name in keyof MainMethods]?: MainMethods[Name] } = {};

  constructor() {
    const workerData: ThreadData = { heartbeat: this.heartbeat.memory };
    this.#worker = new Worker(workerEntry('control/thread/main'), {
      name: 'bosun watcher',
      workerData,
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MIB },
    });
    this.#worker.unref();
    this.rpc = new Rpc(this.#worker, this.#methods as MainMethods);
    const { promise, resolve } = Promise.withResolvers<Error>();
    this.ended = promise;
    let cause: unknown;
    this.#worker.once('error', (error) => {
      cause = error;
    });
    this.#worker.once('exit', (code) => {
      const error = new WatcherEndedError(`the watcher thread ended with exit code ${code}`, { cause });
      this.rpc.close(error);
      resolve(error);
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

const shared = new WeakMap<Host, { watcher: Watcher; holders: number }>();

/** Starts the thread, unless it runs. */
export function acquireWatcher(host: Host): WatcherLease {
  const known = shared.get(host) ?? { watcher: new Watcher(), holders: 0 };
  shared.set(host, known);
  known.holders += 1;
  const forget = () => {
    if (shared.get(host) === known) shared.delete(host);
  };
  // Who comes after its end gets another.
  void known.watcher.ended.then(forget);
  let released = false;
  return {
    watcher: known.watcher,
    async release() {
      if (released) return;
      released = true;
      known.holders -= 1;
      if (known.holders > 0) return;
      forget();
      await known.watcher.close();
    },
  };
}
