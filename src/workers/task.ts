import type { Transferable } from 'node:worker_threads';
import { Call, currentCall } from '../call.ts';
import type { Timer } from '../clock.ts';
import type { Place } from './list.ts';
import type { RemoteStream } from './stream.ts';
import { transferredWithAny } from './transfer.ts';
import type { Baggage, Request } from './wire.ts';

let lastId = 0;

/** What a task is made of. @internal */
export interface TaskParts {
  /** The module's URL, `#`, and the function's name. */
  readonly what: string;
  readonly args: readonly unknown[];
  readonly signal: AbortSignal | undefined;
  readonly logger: number;
  readonly logLevel: number;
  readonly fields: Baggage['fields'];
  readonly carried: Baggage['carried'];
}

/** One call of a function on a worker. @internal */
export class Task {
  readonly id = ++lastId;
  /** What a worker is sent. */
  readonly request: Request;
  /** Resolves with the result, or with a `RemoteStream`. */
  readonly answer: Promise<unknown>;
  stream: RemoteStream | undefined;
  /** Its place among the tasks that have not ended. */
  place: Place<Task> | undefined;
  /** Its place among those that wait for a thread. */
  waiting: Place<object> | undefined;
  aborted = false;
  /** Whether a worker has been handed it. */
  begun = false;
  /** The thread that was handed it; -1: none. */
  thread = -1;
  /** Ends its worker, when it has been aborted and goes on. */
  grace: Timer | undefined;
  /** When it began to wait, then to run. */
  since: number;
  /** What ends it from outside. */
  readonly #call: Call | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #settle: PromiseWithResolvers<unknown>;
  #unfollow: (() => void) | undefined;

  constructor({ what, args, signal, logger, logLevel, fields, carried }: TaskParts, now: number) {
    const around = currentCall();
    this.#call = signal === undefined ? around : new Call({ parent: around });
    this.#signal = signal;
    this.#settle = Promise.withResolvers();
    this.answer = this.#settle.promise;
    this.since = now;
    const bare = this.#call === undefined && fields === undefined && carried === undefined;
    const baggage = bare ? undefined : { fields, carried, remainingMs: undefined };
    this.request = [this.id, what, logger, logLevel, baggage, ...args];
  }

  /** What it calls, for people. */
  get what(): string {
    return this.request[1];
  }

  /** Calls `listener` when it is to end, until `settle`. */
  follow(listener: (reason: unknown) => void): void {
    const call = this.#call;
    if (call === undefined) return;
    const signal = this.#signal;
    const onSignal = () => call.abort(signal?.reason);
    signal?.addEventListener('abort', onSignal);
    this.#unfollow = () => {
      signal?.removeEventListener('abort', onSignal);
      call.offAbort(listener);
    };
    if (signal?.aborted) onSignal();
    call.onAbort(listener);
  }

  /** A worker is handed it: what it is sent says what the deadline leaves now. */
  begin(now: number): void {
    this.begun = true;
    this.since = now;
    const baggage = this.request[4];
    if (this.#call !== undefined && baggage !== undefined) baggage.remainingMs = this.#call.remainingMs;
  }

  get transferList(): readonly Transferable[] {
    return transferredWithAny(this.request);
  }

  succeed(value: unknown): void {
    this.#settle.resolve(value);
  }

  /** It has given a generator. */
  open(stream: RemoteStream): void {
    this.stream = stream;
    this.#settle.resolve(stream);
  }

  fail(error: unknown): void {
    if (this.stream === undefined) this.#settle.reject(error);
    else this.stream.finish({ error });
  }

  abort(reason: unknown): void {
    this.aborted = true;
    if (this.stream === undefined) this.#settle.reject(reason);
    else this.stream.abort(reason);
  }

  /** Nothing can end it from outside any more. */
  close(): void {
    this.grace?.cancel();
    this.#unfollow?.();
  }
}
