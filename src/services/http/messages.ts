import { EventEmitter } from 'node:events';
import { IncomingMessage, ServerResponse } from 'node:http';
import type { Call } from '../../call.ts';
import type { Connection } from './connection.ts';
import { BodyTooLargeError } from './errors.ts';

/** Several times per request: `super` would look it up each time. */
const { emit } = EventEmitter.prototype;

/** Emits an event; what a listener throws is the exchange's, once there is one. */
function emitted(
  emitter: EventEmitter,
  event: string | symbol,
  args: readonly unknown[],
  response: Outgoing | undefined,
): boolean {
  try {
    // Most have no arguments, and to spread none costs as much as to spread some.
    return args.length === 0 ? emit.call(emitter, event) : emit.call(emitter, event, ...args);
  } catch (error) {
    if (response?.exchange === undefined) throw error;
    response.exchange.threw(response, error);
    return true;
  }
}

/** What a request and its response tell the server that they belong to. */
export interface Exchange {
  /** The last chance to decide whether the connection is kept alive. */
  beforeHead(response: Outgoing): void;
  /** The response has been sent, or its connection has closed. */
  closed(response: Outgoing): void;
  /** A listener of the application threw. */
  threw(response: Outgoing, error: unknown): void;
  /** The body got too large and the application does not look after it. */
  overflowed(response: Outgoing): void;
}

/**
 * A request that limits its body and catches what the application's listeners throw: an exception in an event
 * of a socket would end the process.
 */
export class Incoming extends IncomingMessage {
  /** Not public: Express and others have a `route` of their own there. */
  #route: string | undefined;
  #response: Outgoing | undefined;
  #maxBodyBytes = Number.POSITIVE_INFINITY;
  #bodyBytes = 0;
  #overflow: 'none' | 'handled' | 'unhandled' = 'none';

  /** Connects the request with its response. */
  static open(request: Incoming, response: Outgoing, maxBodyBytes: number): void {
    request.#response = response;
    request.#maxBodyBytes = maxBodyBytes;
  }

  /** Tells the pattern of the route that a request has been given to; nothing when it is not a server's. */
  static routed(request: IncomingMessage, pattern: string | undefined): void {
    if (#route in request) request.#route = pattern;
  }

  /** What `routed` was told. */
  static routeOf(request: Incoming): string | undefined {
    return request.#route;
  }

  override push(chunk: Buffer | null, encoding?: BufferEncoding): boolean {
    if (this.#overflow !== 'none') return true;
    if (chunk !== null) {
      this.#bodyBytes += chunk.length;
      if (this.#bodyBytes > this.#maxBodyBytes) {
        this.destroy(new BodyTooLargeError(this.#maxBodyBytes));
        return true;
      }
    }
    return super.push(chunk, encoding);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (error === null || !(error instanceof BodyTooLargeError)) {
      super._destroy(error, callback);
      return;
    }
    // The connection stays: the rest of the body is read and dropped, so that the client gets the answer
    // instead of a reset.
    this.#overflow = this.listenerCount('error') > 0 ? 'handled' : 'unhandled';
    process.nextTick(callback, this.#overflow === 'handled' ? error : null);
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const heard = emitted(this, event, args, this.#response);
    if (event === 'close' && this.#overflow === 'unhandled') {
      this.#response?.exchange?.overflowed(this.#response);
    }
    return heard;
  }
}

/** A response that reports its end, and catches what the application's listeners throw. */
export class Outgoing extends ServerResponse<Incoming> {
  /** Set when the server takes the request. */
  exchange: Exchange | undefined;
  /** What it is sent on. */
  carrier: Connection | undefined;
  /** When the request came, by the service's clock. */
  since = 0;
  /** What is done for it: ends with the response, and is given up when the client goes before that. @internal */
  call: Call | undefined;
  /** Whether its end has been reported. */
  done = false;
  /** Node's own name for what its `Keep-Alive` header tells the client, in ms. */
  declare _keepAliveTimeout: number;

  // biome-ignore lint/suspicious/noExplicitAny: it has several signatures, all passed on
  override writeHead(...args: any[]): this {
    this.exchange?.beforeHead(this);
    return super.writeHead(...(args as [number]));
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const heard = emitted(this, event, args, this);
    if (event === 'close') this.exchange?.closed(this);
    return heard;
  }
}
