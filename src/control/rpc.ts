import type { Transferable } from 'node:worker_threads';
import { systemClock } from '../clock.ts';
import { BosunError, toError } from '../errors.ts';

/** What one side offers to the other: each function takes one value and a signal that aborts when nobody waits. */
// biome-ignore lint/suspicious/noExplicitAny: of any argument and result
export type Methods = Readonly<Record<string, (argument: any, signal: AbortSignal) => unknown>>;

type Argument<Method> = Method extends (argument: infer First, ...rest: never[]) => unknown ? First : never;
type Result<Method> = Method extends (...args: never[]) => infer Given ? Awaited<Given> : never;

/** What is thrown, as it is sent. */
interface Failure {
  readonly name: string;
  readonly message: string;
  readonly code: string | undefined;
}

type Message =
  | { readonly kind: 'call'; readonly id: number; readonly method: string; readonly argument: unknown }
  | { readonly kind: 'tell'; readonly method: string; readonly argument: unknown }
  | { readonly kind: 'cancel'; readonly id: number }
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly failure: Failure };

/** A call of the other side failed there. */
export class RemoteError extends BosunError {
  /** The code of what was thrown there, if it had one. */
  readonly code: string;

  constructor({ name, message, code }: Failure) {
    super(message);
    this.name = name;
    this.code = code ?? 'ERR_REMOTE';
  }
}

/** A call was not answered in time, or the other side has ended. */
export class NoAnswerError extends BosunError {
  readonly code = 'ERR_NO_ANSWER';
}

/** The other side has no such function: the service that offers it does not run. */
export class NotOfferedError extends BosunError {
  readonly code = 'ERR_NOT_OFFERED';
}

/** How long a call may take, and who gives it up. */
export interface CallOptions {
  /** Default: no limit. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A `Worker`, or a `MessagePort`. */
interface Port {
  postMessage(message: unknown, transfer?: readonly Transferable[]): void;
  on(event: 'message', listener: (message: Message) => void): unknown;
}

/** Calls between two threads: `Remote` are the functions of the other side. */
export class Rpc<Remote extends Methods> {
  readonly #port: Port;
  readonly #methods: Methods;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #running = new Map<number, AbortController>();
  #lastId = 0;
  #closed: Error | undefined;

  constructor(port: Port, methods: Methods) {
    this.#port = port;
    this.#methods = methods;
    port.on('message', (message: Message) => this.#receive(message));
  }

  /**
   * @throws {RemoteError} with the code of what was thrown there.
   * @throws {NoAnswerError} `ERR_NO_ANSWER`: in time, or at all, as the other side has ended.
   * @throws the signal's reason.
   */
  async call<Name extends keyof Remote & string>(
    method: Name,
    argument: Argument<Remote[Name]>,
    { timeoutMs, signal }: CallOptions = {},
  ): Promise<Result<Remote[Name]>> {
    signal?.throwIfAborted();
    if (this.#closed !== undefined) throw this.#closed;
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<unknown>();
    this.#waiting.set(id, answer);
    const giveUp = (reason: unknown) => {
      answer.reject(reason);
      this.#post({ kind: 'cancel', id });
    };
    const onAbort = () => giveUp(signal?.reason);
    signal?.addEventListener('abort', onAbort);
    const timer =
      timeoutMs === undefined
        ? undefined
        : systemClock.setTimer(
            () => giveUp(new NoAnswerError(`no answer within ${timeoutMs} ms`)),
            timeoutMs,
          );
    try {
      this.#post({ kind: 'call', id, method, argument });
      return (await answer.promise) as Result<Remote[Name]>;
    } finally {
      timer?.cancel();
      signal?.removeEventListener('abort', onAbort);
      this.#waiting.delete(id);
    }
  }

  /** Calls without waiting for anything. */
  tell<Name extends keyof Remote & string>(
    method: Name,
    argument: Argument<Remote[Name]>,
    transfer?: readonly Transferable[],
  ): void {
    this.#post({ kind: 'tell', method, argument }, transfer);
  }

  /** The other side has ended: what waits, and what comes, is rejected. */
  close(error: Error): void {
    this.#closed = error;
    for (const { reject } of this.#waiting.values()) reject(error);
    for (const controller of this.#running.values()) controller.abort(error);
  }

  #post(message: Message, transfer?: readonly Transferable[]): void {
    if (this.#closed === undefined) this.#port.postMessage(message, transfer);
  }

  #receive(message: Message): void {
    switch (message.kind) {
      case 'call':
        void this.#answer(message.id, message.method, message.argument);
        break;
      case 'tell':
        void this.#methods[message.method]?.(message.argument, new AbortController().signal);
        break;
      case 'cancel':
        this.#running.get(message.id)?.abort(new NoAnswerError('nobody waits for the answer'));
        break;
      case 'result':
        this.#waiting.get(message.id)?.resolve(message.value);
        break;
      case 'failure':
        this.#waiting.get(message.id)?.reject(new RemoteError(message.failure));
    }
  }

  async #answer(id: number, method: string, argument: unknown): Promise<void> {
    const controller = new AbortController();
    this.#running.set(id, controller);
    try {
      const known = this.#methods[method];
      if (known === undefined) throw new NotOfferedError(`${method} is not offered`);
      const value = await known(argument, controller.signal);
      this.#post({ kind: 'result', id, value });
    } catch (thrown) {
      const error = toError(thrown);
      const { code } = error as { readonly code?: unknown };
      const failure = {
        name: error.name,
        message: error.message,
        code: typeof code === 'string' ? code : undefined,
      };
      this.#post({ kind: 'failure', id, failure });
    } finally {
      this.#running.delete(id);
    }
  }
}
