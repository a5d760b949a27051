import type { Socket } from 'node:net';
import type { Clock, Timer } from '../../clock.ts';
import type { Outgoing } from './messages.ts';

/** How long a connection that has been ended is still read, and an unfinished request header waited for. */
const LINGER_MS = 1_000;

/**
 * How long after a request, or its beginning, a connection is not idle yet: a client that uses it again at once
 * is about to, and what it sends while the FIN is on its way would be lost.
 */
const RECENT_MS = 100;

/** A client's connection and its requests under way. */
export class Connection {
  readonly socket: Socket;
  /** The responses that are not sent yet, in the order of their requests. */
  readonly pending: Outgoing[] = [];
  readonly #clock: Clock;
  /** More than that has been read: a request is on its way, though its header is not complete. */
  #bytesAtRest: number;
  #usedAt: number;
  #timer: Timer | undefined;
  #closing = false;
  #ended = false;

  constructor(socket: Socket, clock: Clock) {
    this.socket = socket;
    this.#clock = clock;
    this.#bytesAtRest = socket.bytesRead;
    this.#usedAt = clock.now();
    socket.once('close', () => this.#timer?.cancel());
  }

  /** Whether a part of a request's header has arrived. */
  get partial(): boolean {
    return this.pending.length === 0 && this.socket.bytesRead !== this.#bytesAtRest;
  }

  /** How long it takes from `now` until nothing has been asked of it for `unusedMs`; 0: nothing has. */
  idleIn(now: number, unusedMs = RECENT_MS): number {
    return Math.max(0, this.#usedAt + unusedMs - now);
  }

  /** No request is taken any more. */
  get closing(): boolean {
    return this.#closing;
  }

  /** Whether a request is taken: not after the client was told that the last response was the last. */
  take(response: Outgoing): boolean {
    if (this.#closing) return false;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.pending.push(response);
    return true;
  }

  done(response: Outgoing): void {
    // Mostly it is the only one.
    if (this.pending.at(-1) === response) this.pending.pop();
    else {
      const index = this.pending.indexOf(response);
      if (index !== -1) this.pending.splice(index, 1);
    }
    if (this.pending.length > 0) return;
    this.#bytesAtRest = this.socket.bytesRead;
    this.#usedAt = this.#clock.now();
    if (this.#closing) this.end();
  }

  /** Makes a response the last one of its connection; says so, unless its headers have been sent. */
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
    this.#timer?.cancel();
    this.#timer = undefined;
    this.hurry();
  }

  /** Destroys the connection when `LINGER_MS` have passed since the first call without a request. */
  hurry(): void {
    this.#timer ??= this.#clock.setTimer(() => this.socket.destroy(), LINGER_MS);
  }
}
