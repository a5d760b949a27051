import type { Socket } from 'node:net';
import type { Logger } from '../service.ts';
import { ConnectionClosedError } from './connection-errors.ts';
import { MOST_UNREAD_BYTES, peerOf, pollPhase, roomToWrite } from './connections.ts';

const written: Promise<void> = Promise.resolve();

/**
 * One connection of a `TcpService`: an async iterable of what arrives.
 *
 * While the loop's body runs nothing more is taken from the socket than its buffer of 64 KiB holds, so a peer
 * that sends faster than it is served is slowed down. The loop ends when the peer has ended its side, and when
 * the service stops, after all that had arrived by then; it throws when the connection breaks. Leaving it does
 * not close the connection: another loop goes on where it left off.
 */
export class TcpConnection implements AsyncIterable<Buffer> {
  /** The peer: `127.0.0.1:50001`. */
  readonly remoteAddress: string;
  readonly #socket: Socket;
  readonly #parentLog: Logger;
  #log: Logger | undefined;
  #closed: AbortController | undefined;
  #room: Promise<void> | undefined;
  #ended: Promise<void> | undefined;
  /** From the stop of the service on: up to which byte it is read. */
  #readUntil: number | undefined;
  #wake: (() => void) | undefined;

  /** @internal */
  constructor(socket: Socket, log: Logger) {
    this.remoteAddress = peerOf(socket);
    this.#socket = socket;
    this.#parentLog = log;
    socket.once('close', () => this.#closed?.abort(this.#closedError()));
  }

  /** The service's log, with `remoteAddress` on every line. */
  get log(): Logger {
    this.#log ??= this.#parentLog.child({ remoteAddress: this.remoteAddress });
    return this.#log;
  }

  /** Aborts when the connection has closed, whoever closed it: what is still done for it is in vain. */
  get signal(): AbortSignal {
    this.#closed ??= new AbortController();
    if (this.#socket.destroyed) this.#closed.abort(this.#closedError());
    return this.#closed.signal;
  }

  /** The socket itself, for what is not wrapped here: TLS details, keep-alive. */
  get socket(): Socket {
    return this.#socket;
  }

  /**
   * Sends; resolves when there is room for more, at once as long as the peer keeps up. Await it: what is
   * written without waiting piles up in memory. A rejection that nobody awaits is ignored.
   *
   * @throws {ConnectionClosedError} `ERR_CONNECTION_CLOSED` when the peer has gone, `end` was called, or the
   *   peer took nothing for `writeTimeoutMs` (the `cause` says which).
   */
  write(data: string | Uint8Array): Promise<void> {
    if (!this.#socket.writable) return ignorable(Promise.reject(this.#closedError()));
    return this.#socket.write(data) ? written : this.#whenThereIsRoom();
  }

  /**
   * Ends our side, once all that was written has been sent; resolves then. The peer can still be read. Called
   * by itself when the handler returns.
   *
   * @throws {ConnectionClosedError} `ERR_CONNECTION_CLOSED` when the connection closes before that.
   */
  end(): Promise<void> {
    this.#ended ??= ignorable(
      new Promise((resolve, reject) => {
        const socket = this.#socket;
        const settle = () => {
          socket.off('finish', settle);
          socket.off('close', settle);
          if (socket.writableFinished) resolve();
          else reject(this.#closedError());
        };
        if (socket.writableFinished || socket.destroyed) settle();
        else socket.on('finish', settle).on('close', settle).end();
      }),
    );
    return this.#ended;
  }

  /** Drops the connection, with what has not been sent yet. */
  destroy(): void {
    this.#socket.destroy();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    const socket = this.#socket;
    const wake = () => this.#wake?.();
    const events = ['readable', 'end', 'close'];
    for (const event of events) socket.on(event, wake);
    try {
      for (;;) {
        const chunk = this.#read();
        if (chunk !== null) {
          yield chunk;
        } else if (socket.readableEnded) {
          return;
        } else if (socket.destroyed) {
          throw this.#closedError();
        } else if (this.#readUntil === undefined) {
          await this.#somethingHappens();
        } else {
          await pollPhase();
          const last = this.#read();
          if (last === null) return;
          yield last;
        }
      }
    } finally {
      for (const event of events) socket.off(event, wake);
    }
  }

  /** The service stops: reading ends with what has arrived. @internal */
  drain(): void {
    this.#readUntil = this.#socket.bytesRead + MOST_UNREAD_BYTES;
    this.#wake?.();
  }

  #read(): Buffer | null {
    const socket = this.#socket;
    const enough =
      this.#readUntil !== undefined && socket.bytesRead - socket.readableLength >= this.#readUntil;
    return enough ? null : (socket.read() as Buffer | null);
  }

  #somethingHappens(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #whenThereIsRoom(): Promise<void> {
    this.#room ??= ignorable(
      roomToWrite(this.#socket).then(() => {
        this.#room = undefined;
        if (this.#socket.destroyed) throw this.#closedError();
      }),
    );
    return this.#room;
  }

  #closedError(): ConnectionClosedError {
    return new ConnectionClosedError(this.remoteAddress, this.#socket.errored);
  }
}

/** A connection that breaks while nobody looks is no stray error. */
function ignorable<Value>(promise: Promise<Value>): Promise<Value> {
  promise.catch(() => {});
  return promise;
}
