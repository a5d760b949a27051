import { backoff, timeout } from 'bosun/policy';
import { read, StorageError, showAll } from './storage.ts';

/**
 * The same four, and a plain time limit, as decorators of methods. Node itself does not run the syntax: compile
 * the file with tsc or esbuild.
 */
class Storage {
  readonly #base: string;

  constructor(base: string) {
    this.#base = base;
  }

  @backoff({ attemptTimeoutMs: 200, deadlineMs: 2_000, pauseMs: 20 })
  async slow(path: string): Promise<string> {
    return await read(this.#base + path);
  }

  @backoff({ attemptTimeoutMs: 200, deadlineMs: 2_000, pauseMs: 20, retryOn: [StorageError] })
  async failing(path: string): Promise<string> {
    return await read(this.#base + path);
  }

  @backoff({ deadlineMs: 2_000, pauseMs: 20, maxTries: 3, retryOn: [StorageError] })
  async broken(path: string): Promise<string> {
    return await read(this.#base + path);
  }

  @backoff({
    deadlineMs: 2_000,
    pauseMs: 20,
    retryOn: [Error],
    giveUp: (error) => ['ECONNRESET', 'UND_ERR_SOCKET'].includes((error as { code?: string }).code ?? ''),
  })
  async reset(path: string): Promise<string> {
    return await read(this.#base + path);
  }

  @timeout(100)
  async never(path: string): Promise<string> {
    return await read(this.#base + path);
  }
}

const base = process.argv[2] ?? 'http://127.0.0.1:8080';
const storage = new Storage(base);
const pathOf = (url: string) => url.slice(base.length);
await showAll(
  {
    slow: (url) => storage.slow(pathOf(url)),
    failing: (url) => storage.failing(pathOf(url)),
    broken: (url) => storage.broken(pathOf(url)),
    reset: (url) => storage.reset(pathOf(url)),
    never: (url) => storage.never(pathOf(url)),
  },
  base,
);
