import { Call, currentCall } from '../call.ts';
import type { Timer } from '../clock.ts';
import type { RemoteStream } from './stream.ts';
import { transferredWith } from './transfer.ts';
import type { Baggage, Request } from './wire.ts';

let lastId = 0;

/** What a task is made of. @internal */
export interface TaskParts {
  readonly url: string;
  readonly name: string;
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
  readonly name: string;
  /** Resolves with the result, or with a `RemoteStream`. */
  readonly answer: Promise<unknown>;
  /** What ends it from outside. */
  readonly call: Call | undefined;
  stream: RemoteStream | undefined;
  aborted = false;
  /** Ends its worker, when it has been aborted and goes on. */
  grace: Timer | undefined;
  /** When it began to wait, then to run. */
  since: number;
  readonly #parts: TaskParts;
  readonly #settle: PromiseWithResolvers<unknown>;
  #unfollow: (() => void) | undefined;

  constructor(parts: TaskParts, now: number) {
    this.#parts = parts;
    this.name = parts.name;
    this.since = now;
    this.#settle = Promise.withResolvers();
    this.answer = this.#settle.promise;
    const { signal } = parts;
    const around = currentCall();
    this.call = signal === undefined ? around : new Call({ parent: around });
  }

  /** Calls `listener` when it is to end, until `settle`. */
  follow(listener: (reason: unknown) => void): void {
    const { call } = this;
    if (call === undefined) return;
    const { signal } = this.#parts;
    const onSignal = () => call.abort(signal?.reason);
    signal?.addEventListener('abort', onSignal);
    this.#unfollow = () => {
      signal?.removeEventListener('abort', onSignal);
      call.offAbort(listener);
    };
    if (signal?.aborted) onSignal();
    call.onAbort(listener);
  }

  /** What a worker is sent, with what the deadline leaves now. */
  request(): Request {
    const { url, name, args, logger, logLevel, fields, carried } = this.#parts;
    const remainingMs = this.call?.remainingMs;
    const baggage =
      fields === undefined && carried === undefined && remainingMs === undefined
        ? undefined
        : { fields, carried, remainingMs };
    return [this.id, url, name, args, logger, logLevel, baggage];
  }

  transferList() {
    return this.#parts.args.flatMap((argument) => transferredWith(argument) ?? []);
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
    this.#unfollow?.();
  }
}
