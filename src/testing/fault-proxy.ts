import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { type Clock, systemClock } from '../clock.ts';
import { type Cut, FaultPipe, type Faults, noFaults } from './fault-pipe.ts';

export type { Cut } from './fault-pipe.ts';

/** Which way bytes go: requests `to-target`, answers `to-client`. */
export type Direction = 'to-target' | 'to-client';

/** Which bytes a fault is for. */
export interface DirectionOptions {
  /** Default: both. */
  readonly direction?: Direction;
}

/** How connections are cut. */
export interface CutOptions {
  /** Default: `reset`. */
  readonly how?: Cut;
}

/** Where a proxy leads to. */
export interface FaultProxyOptions {
  /** `host` is 127.0.0.1 by default. It is connected to anew for each client. */
  readonly target: { readonly host?: string; readonly port: number };
  /** Measures delays. Default: the real time. */
  readonly clock?: Clock;
}

interface Link {
  readonly near: Socket;
  readonly far: Socket | undefined;
  readonly pipes: Readonly<Record<Direction, FaultPipe>> | undefined;
}

const directions = ['to-target', 'to-client'] as const;

/**
 * A TCP proxy on 127.0.0.1 that does to the connections through it what networks and dying peers do. Each fault
 * is in force when its method has returned (or its promise has resolved), for the connections that there are and
 * for those that come, until `restore`.
 *
 * ```ts
 * await using proxy = await FaultProxy.listen({ target: { port: 5432 } });
 * const database = new PostgresService({ url: `postgres://app@127.0.0.1:${proxy.port}/app` });
 * // …
 * proxy.pause(); // now the server is there and says nothing
 * ```
 *
 * A client whose target cannot be connected to sees its own connection reset.
 */
export class FaultProxy implements AsyncDisposable {
  readonly #target: { readonly host: string; readonly port: number };
  readonly #clock: Clock;
  readonly #faults: Readonly<Record<Direction, Faults>> = {
    'to-target': noFaults(),
    'to-client': noFaults(),
  };
  readonly #links = new Set<Link>();
  #server: Server | undefined;
  #port = 0;
  #blackHole = false;

  private constructor({ target: { host = '127.0.0.1', port }, clock = systemClock }: FaultProxyOptions) {
    this.#target = { host, port };
    this.#clock = clock;
  }

  /** A proxy that accepts connections, on a free port. */
  static async listen(options: FaultProxyOptions): Promise<FaultProxy> {
    const proxy = new FaultProxy(options);
    await proxy.accept();
    return proxy;
  }

  /** Where it listens; stays the same when it refuses connections in between. */
  get port(): number {
    return this.#port;
  }

  /** How many there are, those in a black hole included; one ends when it is closed on both sides. */
  get connections(): number {
    return this.#links.size;
  }

  /** Everything arrives `delayMs` later, in its order: bytes, and the end of a connection. 0: at once. */
  delay(delayMs: number, { direction }: DirectionOptions = {}): void {
    atLeast(0, 'delayMs', delayMs);
    this.#change(direction, (faults) => {
      faults.delayMs = delayMs;
    });
  }

  /** Of each connection no more than `bytes` at a time go through, `everyMs` apart. */
  trickle(bytes: number, everyMs: number, { direction }: DirectionOptions = {}): void {
    atLeast(1, 'bytes', bytes);
    atLeast(0, 'everyMs', everyMs);
    this.#change(direction, (faults) => {
      faults.trickle = { bytes, everyMs };
    });
  }

  /**
   * Nothing goes through, but connections stay, and new ones are accepted: a peer that is stopped, or a route
   * that is gone. Senders notice when their buffers are full.
   */
  pause({ direction }: DirectionOptions = {}): void {
    this.#change(direction, (faults) => {
      faults.paused = true;
    });
  }

  /** Ends `pause`: what was held back goes through. */
  resume({ direction }: DirectionOptions = {}): void {
    this.#change(direction, (faults) => {
      faults.paused = false;
    });
  }

  /**
   * Cuts each connection in front of the byte that follows the next `bytes` ones, which still arrive. Counted
   * from now on, and from the beginning for a new connection.
   */
  cutAfter(bytes: number, direction: Direction, { how = 'reset' }: CutOptions = {}): void {
    atLeast(0, 'bytes', bytes);
    this.#faults[direction].cutAfter = { bytes, how };
    for (const { pipes } of this.#links) pipes?.[direction].count();
  }

  /** Cuts all connections, on both sides; what is under way is lost. New ones are accepted still. */
  async cut({ how = 'reset' }: CutOptions = {}): Promise<void> {
    await Promise.all([...this.#links].map((link) => cutLink(link, how)));
  }

  /** Sends a FIN on all connections there are, that way only; what comes later that way is lost. */
  async halfClose(direction: Direction): Promise<void> {
    const ended = [...this.#links].map(async ({ near, far, pipes }) => {
      pipes?.[direction].drop();
      const sink = direction === 'to-client' ? near : far;
      if (sink !== undefined && !sink.destroyed) await new Promise<void>((resolve) => sink.end(resolve));
    });
    await Promise.all(ended);
  }

  /**
   * The connections that there are lead nowhere any more, for good, and nobody says so: something on the way has
   * forgotten them, as a NAT does after a while. New ones are forwarded.
   */
  strand(): void {
    for (const { pipes } of this.#links) for (const way of directions) pipes?.[way].drop();
  }

  /** New connections are refused, as where nobody listens; those that there are stay. */
  refuse(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  /** New connections are accepted and never answered, also not after `restore`; those that there are go on. */
  async blackHole(): Promise<void> {
    await this.accept();
    this.#blackHole = true;
  }

  /** Ends `refuse` and `blackHole`: new connections are forwarded. */
  async accept(): Promise<void> {
    this.#blackHole = false;
    if (this.#server !== undefined) return;
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => this.#connected(near));
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
  }

  /** Ends all faults: what was held back goes through, and new connections are forwarded. */
  async restore(): Promise<void> {
    this.#change(undefined, (faults) => Object.assign(faults, noFaults()));
    for (const { pipes } of this.#links) for (const way of directions) pipes?.[way].count();
    await this.accept();
  }

  /** Stops listening, and resets the connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.refuse();
    await this.cut();
  }

  #change(direction: Direction | undefined, change: (faults: Faults) => void): void {
    for (const way of direction === undefined ? directions : [direction]) {
      change(this.#faults[way]);
      for (const { pipes } of this.#links) pipes?.[way].flush();
    }
  }

  #connected(near: Socket): void {
    const link = this.#blackHole ? swallow(near) : this.#forward(near);
    this.#links.add(link);
    const sockets = socketsOf(link);
    for (const socket of sockets) {
      socket.on('error', () => {}); // The 'close' that follows tells.
      socket.on('close', () => {
        if (sockets.every(({ closed }) => closed)) this.#links.delete(link);
      });
    }
  }

  #forward(near: Socket): Link {
    const far = connect({ ...this.#target, allowHalfOpen: true, noDelay: true });
    const onCut = (how: Cut) => void cutLink(link, how);
    const pipe = (source: Socket, sink: Socket, way: Direction) =>
      new FaultPipe(source, sink, this.#faults[way], this.#clock, onCut);
    const link: Link = {
      near,
      far,
      pipes: { 'to-target': pipe(near, far, 'to-target'), 'to-client': pipe(far, near, 'to-client') },
    };
    return link;
  }
}

function atLeast(minimum: number, name: string, value: number): void {
  if (!(value >= minimum)) throw new RangeError(`${name} must be at least ${minimum}, received ${value}`);
}

/** Reads, as that is how the client's end is noticed. */
function swallow(near: Socket): Link {
  near.resume().once('end', () => near.destroy());
  return { near, far: undefined, pipes: undefined };
}

const socketsOf = ({ near, far }: Link): Socket[] => (far === undefined ? [near] : [near, far]);

/** Resolves when both sockets are closed. */
async function cutLink(link: Link, how: Cut): Promise<void> {
  for (const way of directions) link.pipes?.[way].drop();
  const closed = socketsOf(link).map(async (socket) => {
    if (socket.closed) return;
    const closing = new Promise((resolve) => socket.once('close', resolve));
    if (how === 'reset') socket.resetAndDestroy();
    else socket.destroySoon();
    await closing;
  });
  await Promise.all(closed);
}
