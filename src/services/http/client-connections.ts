import type { Socket } from 'node:net';
import type { Clock, Timer } from '../../clock.ts';
import { Connection } from './connection.ts';
import type { Outgoing } from './messages.ts';
import { quietTurn } from './quiet-turn.ts';

/** Where a socket has its connection: to find it in a map by the socket costs several times as much. */
const key = Symbol('connection');

interface Carrying extends Socket {
  [key]?: Connection | undefined;
}

/** How many idle connections are ended between two looks at what has arrived. */
const BATCH = 32;
/** How often connections that nobody uses are looked for at most, as often as Node looks for late requests. */
const UNUSED_CHECK_MS = 1_000;

/** The connections of one run of a server: ends those that nobody uses, and drains them all. */
export class ClientConnections {
  readonly #clock: Clock;
  readonly #keepAliveTimeoutMs: number;
  readonly #open = new Set<Connection>();
  /** Accepted, but their TLS handshake is not done. */
  readonly #handshakes = new Map<string, Socket>();
  #accepted = 0;
  #draining = false;
  #changed = Promise.withResolvers<void>();
  #unusedTimer: Timer | undefined;

  constructor(clock: Clock, keepAliveTimeoutMs: number) {
    this.#clock = clock;
    this.#keepAliveTimeoutMs = keepAliveTimeoutMs;
  }

  get size(): number {
    return this.#open.size;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** The responses that are not sent yet. */
  get pending(): Outgoing[] {
    return [...this.#open].flatMap((connection) => connection.pending);
  }

  get inFlight(): number {
    let count = 0;
    for (const { pending } of this.#open) count += pending.length;
    return count;
  }

  of(socket: Carrying): Connection | undefined {
    return socket[key];
  }

  /** To be told of every connection that the kernel hands over. */
  accepted(): void {
    this.#accepted += 1;
  }

  awaitHandshake(socket: Socket): void {
    const peer = peerOf(socket);
    this.#handshakes.set(peer, socket);
    socket.once('close', () => {
      if (this.#handshakes.get(peer) === socket) this.#handshakes.delete(peer);
    });
  }

  /** Takes a connection; `onLost` is told of the responses that it has not taken when it closes. */
  add(socket: Carrying, onLost: (response: Outgoing) => void): void {
    this.#handshakes.delete(peerOf(socket));
    const connection = new Connection(socket, this.#clock);
    socket[key] = connection;
    this.#open.add(connection);
    socket.once('close', () => {
      for (const response of [...connection.pending]) onLost(response);
      this.remove(socket);
    });
    this.#unusedTimer ??= this.#clock.setTimer(() => this.#endUnused(), this.#keepAliveTimeoutMs);
    this.changed();
  }

  /** It is looked after by somebody else, or has closed. */
  remove(socket: Carrying): void {
    const connection = socket[key];
    if (connection === undefined) return;
    socket[key] = undefined;
    this.#open.delete(connection);
    this.changed();
  }

  /** To be told when a response has ended: while draining its connection may be done. */
  changed(): void {
    if (this.#draining) this.#changed.resolve();
  }

  /**
   * Calls `stopAccepting`, and resolves when all connections have closed: idle ones are ended at once, busy ones
   * after their last response. When `force` aborts, all are destroyed.
   */
  async drain(stopAccepting: () => void, force: AbortSignal): Promise<void> {
    this.#draining = true;
    const onForce = () => this.destroy();
    if (force.aborted) onForce();
    force.addEventListener('abort', onForce, { once: true });
    // What clients have sent so far counts as accepted, so it is read before anything is closed.
    await this.#quietTurn();
    stopAccepting();
    await this.#quietTurn();
    for (const socket of this.#handshakes.values()) socket.destroy();
    while (this.#open.size > 0) {
      this.#changed = Promise.withResolvers();
      using _timer = this.#clock.setTimer(this.#changed.resolve, this.#endIdle());
      await this.#changed.promise;
      await this.#quietTurn();
    }
    force.removeEventListener('abort', onForce);
  }

  /** Closes all of them at once. */
  destroy(): void {
    this.#unusedTimer?.cancel();
    for (const socket of this.#handshakes.values()) socket.destroy();
    for (const { socket } of this.#open) socket.destroy();
  }

  #quietTurn(): Promise<void> {
    return quietTurn(this.#clock, () => this.#accepted);
  }

  /** Ends some idle connections. Returns in how many milliseconds there may be more. */
  #endIdle(): number {
    const now = this.#clock.now();
    let next = Number.POSITIVE_INFINITY;
    let ended = 0;
    for (const connection of this.#open) {
      if (connection.closing || connection.pending.length > 0) continue;
      const idleIn = connection.idleIn(now);
      if (connection.partial) connection.hurry();
      else if (idleIn > 0) next = Math.min(next, idleIn);
      else if (ended === BATCH) return 0;
      else {
        connection.end();
        ended += 1;
      }
    }
    return next;
  }

  /** Ends the connections that have not been used for `keepAliveTimeoutMs`, or up to `UNUSED_CHECK_MS` longer. */
  #endUnused(): void {
    const now = this.#clock.now();
    let next = this.#keepAliveTimeoutMs;
    for (const connection of this.#open) {
      // One whose request is on its way has `headersTimeoutMs` for it.
      if (connection.closing || connection.pending.length > 0 || connection.partial) continue;
      const leftMs = connection.idleIn(now, this.#keepAliveTimeoutMs);
      if (leftMs === 0) connection.end();
      else next = Math.min(next, leftMs);
    }
    const atLeast = Math.min(this.#keepAliveTimeoutMs, UNUSED_CHECK_MS);
    this.#unusedTimer =
      this.#open.size === 0
        ? undefined
        : this.#clock.setTimer(() => this.#endUnused(), Math.max(next, atLeast));
  }
}

const peerOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`;
