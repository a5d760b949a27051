import type { ToWorker } from './wire.ts';

/** Items that may be under way or wait for the consumer. */
export const WINDOW = 16;

type Step = IteratorResult<unknown, undefined>;
type End = { readonly error: unknown } | 'done';

/**
 * The items of a generator that runs on a worker. It is asked for as many as the window holds, beginning with
 * the first `next()`. @internal
 */
export class RemoteStream implements AsyncIterableIterator<unknown, undefined>, AsyncDisposable {
  readonly #task: number;
  readonly #tell: (message: ToWorker) => void;
  readonly #items: unknown[] = [];
  readonly #waiting: PromiseWithResolvers<Step>[] = [];
  /** Items asked for that have not come. */
  #asked = 0;
  #end: End | undefined;
  #returning: PromiseWithResolvers<Step> | undefined;

  constructor(task: number, tell: (message: ToWorker) => void) {
    this.#task = task;
    this.#tell = tell;
  }

  next(): Promise<Step> {
    if (this.#items.length > 0) {
      const value = this.#items.shift();
      this.#ask();
      return Promise.resolve({ done: false, value });
    }
    if (this.#end !== undefined) return this.#ended();
    const waiting = Promise.withResolvers<Step>();
    this.#waiting.push(waiting);
    this.#ask();
    return waiting.promise;
  }

  /** Resolves when the generator's `finally` has run. */
  return(): Promise<Step> {
    this.#items.length = 0;
    if (this.#end !== undefined) return this.#ended();
    if (this.#returning === undefined) {
      this.#returning = Promise.withResolvers<Step>();
      this.#tell({ kind: 'return', task: this.#task });
    }
    return this.#returning.promise;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  /** An item has come. */
  push(value: unknown): void {
    this.#asked -= 1;
    if (this.#returning !== undefined || this.#end !== undefined) return;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#items.push(value);
    else waiting.resolve({ done: false, value });
    if (this.#waiting.length > 0) this.#ask();
  }

  /** It has ended: nothing comes any more. The first end counts. */
  finish(end: End): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    for (const waiting of this.#waiting.splice(0)) waiting.resolve(this.#ended());
    this.#returning?.resolve(this.#ended());
  }

  /** It has to end now: what has come is not given any more. */
  abort(error: unknown): void {
    this.#items.length = 0;
    this.finish({ error });
  }

  /** The error is given once. */
  #ended(): Promise<Step> {
    const end = this.#end;
    this.#end = 'done';
    return end === undefined || end === 'done'
      ? Promise.resolve({ done: true, value: undefined })
      : Promise.reject(end.error);
  }

  #ask(): void {
    const open = WINDOW - this.#asked - this.#items.length;
    if (open < WINDOW / 2 || this.#end !== undefined || this.#returning !== undefined) return;
    this.#asked += open;
    this.#tell({ kind: 'pull', task: this.#task, count: open });
  }
}
