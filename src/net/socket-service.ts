import { AsyncLocalStorage } from 'node:async_hooks';
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { z } from 'zod';
import { toError } from '../errors.ts';
import { counter, gauge, type Metric } from '../metrics.ts';
import { limitMs } from '../options.ts';
import { type Scope, Service, type StopReason } from '../service.ts';
import { atMostEvery } from './at-most-every.ts';
import { Connections, peerOf, pollPhase } from './connections.ts';
import { type Address, formatAddress, listen } from './listen.ts';
import { portNumber, refusePathWithPort } from './listen-options.ts';
import { loadTls, tlsSchema } from './tls.ts';
import { watch } from './watch.ts';

/** So that a peer that has vanished is noticed, the machine's defaults (9 probes, 75 s apart) following. */
const KEEP_ALIVE_MS = 60_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** How often it is logged that connections are refused. */
const LOG_EVERY_MS = 60_000;

const socketOptions = {
  allowHalfOpen: true,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: KEEP_ALIVE_MS,
} as const;

const defaults = { host: '127.0.0.1', port: 0 };

/** What a service does with one connection. */
export interface Session {
  /** The service stops: take in what has arrived, answer it, and end. */
  drain(): void;
  /**
   * Settles when the work for this connection is over; a stop waits for it. A rejection is logged and closes
   * the connection.
   */
  readonly done?: Promise<void>;
}

/** What has happened to the connections of a service since it was made, across restarts. */
export interface SocketStatistics {
  /** Open now, or still being worked for. */
  readonly connections: number;
  readonly accepted: number;
  /** Beyond `maxConnections`. */
  readonly refused: number;
  /** Ended by an error of the connection: a reset, a time-out. */
  readonly broken: number;
  /** Ended by an error of the work that was done for it. */
  readonly failed: number;
  /** TLS handshakes that came to nothing. */
  readonly failedHandshakes: number;
}

/** One run of a service. */
interface Running {
  readonly scope: Scope;
  readonly server: Server;
  readonly connections: Connections;
  readonly sessions: Map<Socket, Session>;
  /** Connections whose TLS handshake is under way, by peer. */
  readonly handshakes: Map<string, Socket>;
  address?: Address;
}

/**
 * A server of bare sockets: what `TcpService` stands on, for protocols that want nothing between them and
 * `node:net`. It listens, counts, limits and watches the connections and drains them; `accept` does the rest.
 */
export abstract class SocketService extends Service.extend({
  /** Default: 127.0.0.1, this machine alone; `::` or `0.0.0.0` for all interfaces. */
  host: z.string().default(defaults.host),
  port: portNumber().default(defaults.port),
  /** A Unix socket, in place of host and port. */
  path: z.string().min(1).optional(),
  /** Serves TLS. */
  tls: tlsSchema.optional(),
  /** Connections beyond that are closed as they come. */
  maxConnections: z.int().min(1).default(10_000),
  /** Closes a connection on which nothing came or went for so long. */
  idleTimeoutMs: limitMs().default(Number.POSITIVE_INFINITY),
  /** Closes a connection whose peer takes nothing of what is written to it for so long. */
  writeTimeoutMs: limitMs().default(30_000),
}) {
  readonly #counts = { accepted: 0, refused: 0, broken: 0, failed: 0, failedHandshakes: 0 };
  #running: Running | undefined;
  /** What `start` waits for. */
  #step: string | undefined;

  /** @throws {OptionsError} `ERR_OPTIONS` */
  constructor(options: z.input<typeof SocketService.schema> = {}) {
    super(options);
    refusePathWithPort(`${new.target.name} "${this.name}"`, this.options, defaults);
  }

  /**
   * Takes a new connection. The socket is half-open: it has to be ended when its peer has ended. What it emits
   * as `error` is dealt with; what `accept` throws is logged and closes the connection.
   */
  protected abstract accept(socket: Socket, scope: Scope): Session;

  override async start(scope: Scope): Promise<void> {
    const { host, port, path, tls, maxConnections, idleTimeoutMs, writeTimeoutMs } = this.options;
    this.#step = 'the certificate';
    const server =
      tls === undefined
        ? createServer(socketOptions)
        : createTlsServer({
            ...socketOptions,
            ...(await loadTls(tls, scope)),
            handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
          });
    server.maxConnections = maxConnections;
    const connections = new Connections();
    const running: Running = {
      scope,
      server,
      connections,
      sessions: new Map(),
      handshakes: new Map(),
    };
    this.#running = running;
    scope.defer(() => {
      server.close();
      destroy(running);
      delete running.address;
    });
    this.#listenTo(running);
    const target = path === undefined ? { host, port } : { path };
    this.#step = `listening on ${formatAddress(target)}`;
    running.address = await listen(server, target, scope.signal);
    this.#step = undefined;
    server.on('error', (error) => scope.fail(error));
    const watching = watch(connections, { idleTimeoutMs, writeTimeoutMs }, scope.clock);
    scope.defer(() => watching[Symbol.dispose]());
  }

  /**
   * Takes no more connections, drains those that are open, and resolves when the last has closed and its work
   * is over. When `signal` aborts they are destroyed.
   */
  override async stop({ signal }: StopReason): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    const { server, connections, sessions, handshakes } = running;
    const force = () => destroy(running);
    signal.addEventListener('abort', force, { once: true });
    // Who is connected already, as the kernel sees it, is served.
    if (!signal.aborted) await pollPhase();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of handshakes.values()) socket.destroy();
    for (const session of sessions.values()) session.drain();
    if (signal.aborted) force();
    await Promise.all([closed, connections.empty()]);
    signal.removeEventListener('abort', force);
  }

  override waitingFor(): readonly string[] {
    if (this.#step !== undefined) return [this.#step];
    return this.#running?.connections.describe() ?? [];
  }

  override get addresses(): readonly string[] {
    const address = this.#running?.address;
    return address === undefined ? [] : [formatAddress(address, this.options.tls ? 'tls' : 'tcp')];
  }

  /** A copy. */
  get statistics(): SocketStatistics {
    return { ...this.#counts, connections: this.#running?.connections.size ?? 0 };
  }

  override metrics(): readonly Metric[] {
    const { connections, accepted, refused, broken, failed, failedHandshakes } = this.statistics;
    return [
      gauge(
        'bosun_socket_connections',
        'Open connections, and those that are still worked for.',
        connections,
      ),
      counter('bosun_socket_connections_accepted_total', 'Connections that were accepted.', accepted),
      counter('bosun_socket_connections_refused_total', 'Connections beyond maxConnections.', refused),
      counter('bosun_socket_errors_total', 'Connections that ended with an error.', [
        { labels: { kind: 'broken' }, value: broken },
        { labels: { kind: 'failed' }, value: failed },
        { labels: { kind: 'handshake' }, value: failedHandshakes },
      ]),
    ];
  }

  #listenTo(running: Running): void {
    const { scope, server, handshakes } = running;
    const counts = this.#counts;
    // What comes from a socket does not carry the run that a stray error is put down to.
    const inScope = AsyncLocalStorage.snapshot();
    const accept = (socket: Socket) => inScope(() => this.#accept(running, socket));
    if (this.options.tls === undefined) {
      server.on('connection', accept);
    } else {
      server.on('connection', (socket) => {
        const peer = peerOf(socket);
        handshakes.set(peer, socket);
        socket.once('close', () => handshakes.delete(peer));
      });
      server.on('secureConnection', (socket: Socket) => {
        handshakes.delete(peerOf(socket));
        accept(socket);
      });
      server.on('tlsClientError', (error: Error, socket: Socket) => {
        counts.failedHandshakes++;
        scope.log.debug({ err: error, remoteAddress: peerOf(socket) }, 'a TLS handshake failed');
      });
    }
    const report = atMostEvery(LOG_EVERY_MS, scope.clock, () =>
      scope.log.warn({ refused: counts.refused }, 'connections are refused: maxConnections are open'),
    );
    server.on('drop', () => {
      counts.refused++;
      report();
    });
  }

  #accept(running: Running, socket: Socket): void {
    const { scope, connections, sessions } = running;
    const counts = this.#counts;
    counts.accepted++;
    const peer = peerOf(socket);
    connections.add(socket);
    socket.on('error', (error) => {
      counts.broken++;
      scope.log.debug({ err: error, remoteAddress: peer }, 'a connection broke');
    });
    const failed = (thrown: unknown) => {
      const about = { err: toError(thrown), remoteAddress: peer };
      // The peer has gone, or the stop was forced: what the work makes of that is no fault of its own.
      if (socket.destroyed) {
        scope.log.debug(about, 'the work for a closed connection ended with an error');
        return;
      }
      counts.failed++;
      scope.log.error(about, 'the work for a connection failed');
      socket.destroy();
    };
    try {
      const session = this.accept(socket, scope);
      sessions.set(socket, session);
      socket.once('close', () => sessions.delete(socket));
      if (session.done !== undefined) connections.hold(socket, session.done.catch(failed));
    } catch (thrown) {
      failed(thrown);
    }
  }
}

function destroy({ connections, handshakes }: Running): void {
  for (const socket of handshakes.values()) socket.destroy();
  connections.destroy();
}
