import { fileURLToPath } from 'node:url';
import type { Piscina } from 'piscina';
import type { Workers, WorkerTaskOptions } from './workers.ts';

/** The entrypoint's worker threads, on piscina, which is loaded with the first task. @internal */
export class WorkerPool implements Workers {
  readonly #threads: number;
  #pool: Promise<Piscina> | undefined;
  #closed = false;

  constructor(threads: number) {
    this.#threads = threads;
  }

  async run<Result = unknown>(
    url: URL | string,
    name: string,
    argument?: unknown,
    { signal, transfer }: WorkerTaskOptions = {},
  ): Promise<Result> {
    signal?.throwIfAborted();
    if (this.#closed) throw new Error('the worker threads have been stopped');
    this.#pool ??= this.#open();
    const pool = await this.#pool;
    try {
      return await pool.run(argument, {
        filename: String(url).startsWith('file:') ? fileURLToPath(url) : String(url),
        name,
        ...(signal === undefined ? {} : { signal }),
        ...(transfer === undefined ? {} : { transferList: [...transfer] }),
      });
    } catch (error) {
      throw signal?.aborted ? signal.reason : error;
    }
  }

  /** Ends the threads. Tasks that run are given until `force` aborts. */
  async close(force: AbortSignal): Promise<void> {
    this.#closed = true;
    const pool = await this.#pool;
    if (pool === undefined) return;
    const drained = pool.close();
    const forced = Promise.withResolvers<void>();
    const onForce = () => forced.resolve(pool.destroy());
    if (force.aborted) onForce();
    else force.addEventListener('abort', onForce, { once: true });
    await Promise.race([drained, forced.promise]);
    force.removeEventListener('abort', onForce);
  }

  async #open(): Promise<Piscina> {
    const { Piscina } = await import('piscina');
    return new Piscina({ minThreads: 0, maxThreads: this.#threads, idleTimeout: 30_000 });
  }
}
