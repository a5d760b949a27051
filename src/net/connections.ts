import type { Socket } from 'node:net';
import { isIPv6 } from 'node:net';
import type { Clock } from '../clock.ts';

/** How long a peer may take to close its side after ours has ended, before the socket is destroyed. */
export const LINGER_MS = 1_000;

/** How many peers `describe` names. */
const MOST_NAMED = 3;

interface Entry {
  readonly peer: string;
  /** What keeps it here: the open socket, and the work that is done for it. */
  holds: number;
}

/** The open connections of a server, and those whose work goes on after their socket has closed. */
export class Connections {
  readonly #entries = new Map<Socket, Entry>();
  #empty: PromiseWithResolvers<void> | undefined;

  /** Holds a socket until it has closed. */
  add(socket: Socket): void {
    this.#entries.set(socket, { peer: peerOf(socket), holds: 1 });
    socket.once('close', () => this.#release(socket));
  }

  /** Holds a socket that has been added until `work` has settled, too. `work` must not reject. */
  hold(socket: Socket, work: Promise<void>): void {
    const entry = this.#entries.get(socket);
    if (entry === undefined) return;
    entry.holds++;
    void work.finally(() => this.#release(socket));
  }

  get size(): number {
    return this.#entries.size;
  }

  [Symbol.iterator](): Iterator<Socket> {
    return this.#entries.keys();
  }

  /** Resolves when none is left. */
  empty(): Promise<void> {
    if (this.size === 0) return Promise.resolve();
    this.#empty ??= Promise.withResolvers();
    return this.#empty.promise;
  }

  destroy(): void {
    for (const socket of this) socket.destroy();
  }

  /** For `waitingFor`: `5 connections (127.0.0.1:50001, 127.0.0.1:50002, 127.0.0.1:50003 and 2 more)`. */
  describe(): readonly string[] {
    if (this.size === 0) return [];
    const entries = [...this.#entries.values()];
    const named = entries.slice(0, MOST_NAMED).map(({ peer }) => peer);
    const more = this.size > MOST_NAMED ? ` and ${this.size - MOST_NAMED} more` : '';
    return [`${this.size} connection${this.size === 1 ? '' : 's'} (${named.join(', ')}${more})`];
  }

  #release(socket: Socket): void {
    const entry = this.#entries.get(socket);
    if (entry === undefined || --entry.holds > 0) return;
    this.#entries.delete(socket);
    if (this.size > 0) return;
    this.#empty?.resolve();
    this.#empty = undefined;
  }
}

/** A socket's other end: `127.0.0.1:50001`, or `a local peer` on a Unix socket. */
export function peerOf({ remoteAddress, remotePort }: Socket): string {
  if (remoteAddress === undefined) return 'a local peer';
  return `${isIPv6(remoteAddress) ? `[${remoteAddress}]` : remoteAddress}:${remotePort}`;
}

/**
 * Ends a socket when all that was written to it has been sent. What still arrives is discarded, since closing
 * a socket with unread data resets the connection, and the peer may lose what it has not read yet; a peer that
 * does not close its side within `LINGER_MS` is cut off (lingering close, as nginx has it).
 */
export function endGracefully(socket: Socket, clock: Clock): void {
  if (socket.destroyed) return;
  const linger = () => {
    if (socket.destroyed) return;
    const timer = clock.setTimer(() => socket.destroy(), LINGER_MS);
    socket.once('close', () => timer.cancel());
  };
  socket.removeAllListeners('readable');
  socket.resume();
  if (socket.writableFinished) linger();
  else socket.once('finish', linger);
  socket.end();
}

/**
 * What one connection can have in the kernel when a stop begins, and so what is still read of it: the default
 * maximum of Linux's `tcp_rmem`. A peer that sends without end does not hold the stop any longer.
 */
export const MOST_UNREAD_BYTES = 6 * 1024 * 1024;

/** Resolves after a whole poll phase of the event loop: what had arrived at the call has been read then. */
export async function pollPhase(): Promise<void> {
  for (let i = 0; i < 2; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** Resolves when a socket whose `write` has returned false takes more, or has closed. */
export function roomToWrite(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      socket.off('drain', settle);
      socket.off('close', settle);
      resolve();
    };
    socket.on('drain', settle).on('close', settle);
  });
}
