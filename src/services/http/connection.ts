import type { Socket } from 'node:net';
import type { Clock, Timer } from '../../clock.ts';
import type { Outgoing } from './messages.ts';

/** How long a connection that has been ended is still read, and an unfinished request header waited for. */
export const LINGER_MS = 1_000;

/** A client's connection and its requests under way. */
export class Connection {
  readonly socket: Socket;
  /** The responses that are not sent yet, in the order of their requests. */
  readonly pending: Outgoing[] = [];
  readonly #clock: Clock;
  /** More than that has been read: a request is on its way, though its header is not complete. */
  #bytesAtRest: number;
  #timer: Timer | undefined;
  #closing = false;
  #ended = false;

  constructor(socket: Socket, clock: Clock) {
    this.socket = socket;
    this.#clock = clock;
    this.#bytesAtRest = socket.bytesRead;
    socket.once('close', () => this.#timer?.cancel());
  }

  /** Nothing is asked of it. */
  get idle(): boolean {
    return this.pending.length === 0 && this.socket.bytesRead === this.#bytesAtRest;
  }

  /** No request is taken any more. */
  get closing(): boolean {
    return this.#closing;
  }

  /** Whether a request is taken: not after the client was told that the last response was the last. */
  take(response: Outgoing): boolean {
    if (this.#closing) return false;
    this.#timer?.cancel();
    this.pending.push(response);
    return true;
  }

  done(response: Outgoing): void {
    const index = this.pending.indexOf(response);
    if (index !== -1) this.pending.splice(index, 1);
    if (this.pending.length === 0) this.#bytesAtRest = this.socket.bytesRead;
  }

  /** Makes a response, whose headers are about to be sent, the last one of its connection. */
  closeAfter(response: Outgoing): void {
    response.shouldKeepAlive = false;
    this.#closing = true;
    // Node would close the connection at once, and what the client still sends would be answered by a reset,
    // which can take the response with it (RFC 9112, 9.6).
    this.socket.destroySoon = () => this.end();
  }

  /** Ends the connection: sends FIN, then reads on until the client ends it too, for `LINGER_MS` at most. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#closing = true;
    this.socket.end();
    this.socket.resume();
    this.#destroyLater();
  }

  /** Gives a request that has begun to come in the time to be complete. */
  hurry(): void {
    this.#destroyLater();
  }

  #destroyLater(): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(() => this.socket.destroy(), LINGER_MS);
  }
}
