import * as http from 'node:http';
import * as https from 'node:https';
import { Server as NetServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TlsOptions as NodeTlsOptions } from 'node:tls';
import { Call, surroundings } from '../../call.ts';
import type { Clock } from '../../clock.ts';
import { withLogFields } from '../../logging/fields.ts';
import { type Address, type ListenOptions, listen } from '../../net/listen.ts';
import type { Logger, Scope } from '../../service.ts';
import {
  answerError,
  endWith,
  notNow,
  pathOf,
  refuse,
  retryAfterOf,
  statusOfClientError,
} from './answers.ts';
import type { Handler } from './application.ts';
import { Connection } from './connection.ts';
import { BodyTooLargeError, ClientGoneError } from './errors.ts';
import { type Exchange, Incoming, Outgoing } from './messages.ts';
import { quietTurn } from './quiet-turn.ts';
import { requestId } from './request-id.ts';
import { type Counters, describeRequests } from './statistics.ts';

/** Takes over a connection whose client asks for another protocol; `head` is what it has sent already. */
export type UpgradeHandler = (request: http.IncomingMessage, socket: Duplex, head: Buffer) => unknown;

/** What an http server is told. */
export interface HttpServerOptions {
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly deadlineMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly maxConnections: number;
  readonly maxHeaderBytes: number;
  readonly maxBodyBytes: number;
  readonly accessLog: AccessLogLevel;
}

export type AccessLogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** How many idle connections are ended between two looks at what has arrived. */
const BATCH = 32;
/** How often a full server is logged at most. */
const DROP_LOG_MS = 10_000;
/** One run of an http server: dispatches requests, knows its connections, drains. */
export class HttpServer implements Exchange {
  readonly #server: http.Server<typeof Incoming, typeof Outgoing>;
  readonly #connections = new Map<Socket, Connection>();
  /** Accepted, but their TLS handshake is not done. */
  readonly #handshakes = new Map<string, Socket>();
  readonly #handler: Handler;
  readonly #options: HttpServerOptions;
  readonly #upgrades: ReadonlyMap<string, UpgradeHandler>;
  readonly #counters: Counters;
  readonly #log: Logger;
  readonly #clock: Clock;
  #draining = false;
  #accepted = 0;
  #changed = Promise.withResolvers<void>();
  #dropsLoggedAt = Number.NEGATIVE_INFINITY;

  constructor(
    handler: Handler,
    options: HttpServerOptions,
    tls: NodeTlsOptions | undefined,
    upgrades: ReadonlyMap<string, UpgradeHandler>,
    counters: Counters,
    { log, clock }: Scope,
  ) {
    this.#handler = handler;
    this.#options = options;
    this.#upgrades = upgrades;
    this.#counters = counters;
    this.#log = log;
    this.#clock = clock;
    const { headersTimeoutMs, requestTimeoutMs, keepAliveTimeoutMs, maxHeaderBytes } = options;
    const shortest = Math.min(headersTimeoutMs, requestTimeoutMs);
    const settings = {
      IncomingMessage: Incoming,
      ServerResponse: Outgoing,
      headersTimeout: nodeTimeout(shortest),
      requestTimeout: nodeTimeout(requestTimeoutMs),
      keepAliveTimeout: nodeTimeout(keepAliveTimeoutMs),
      connectionsCheckingInterval: Math.min(Math.max(Math.ceil(shortest / 4), 10), 1_000),
      maxHeaderSize: maxHeaderBytes,
      // Others, such as a browser's h2c, are answered as if they had not asked, as RFC 9110, 7.8 has it.
      shouldUpgradeCallback: (request: Incoming) =>
        request.headers.upgrade?.toLowerCase() === 'websocket' || upgrades.has(pathOf(request)),
    };
    this.#server =
      tls === undefined
        ? http.createServer(settings)
        : https.createServer({ ...tls, ...settings, handshakeTimeout: nodeTimeout(shortest) || 120_000 });
    this.#server.maxConnections = options.maxConnections;
    this.#listen(tls !== undefined);
  }

  /** @throws as `listen` of src/net/listen.ts. */
  async listen(
    options: ListenOptions,
    signal: AbortSignal,
    onError: (error: Error) => void,
  ): Promise<Address> {
    const address = await listen(this.#server, options, signal);
    this.#server.on('error', onError);
    return address;
  }

  get inFlight(): number {
    let count = 0;
    for (const { pending } of this.#connections.values()) count += pending.length;
    return count;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** The requests in flight, the oldest first. */
  describe(): string[] {
    const pending = [...this.#connections.values()].flatMap((connection) => connection.pending);
    if (pending.length > 0) return [describeRequests(pending, this.#clock.now())];
    const { size } = this.#connections;
    return size === 0 ? [] : [`${size} ${size === 1 ? 'connection' : 'connections'} without a request`];
  }

  /**
   * Stops accepting and resolves when all connections have closed: idle ones are ended at once, busy ones after
   * their last response. When `force` aborts, all are destroyed.
   */
  async drain(force: AbortSignal): Promise<void> {
    this.#draining = true;
    const onForce = () => this.#destroyAll();
    if (force.aborted) onForce();
    force.addEventListener('abort', onForce, { once: true });
    // What clients have sent so far counts as accepted, so it is read before anything is closed.
    await quietTurn(this.#clock, () => this.#accepted);
    // Not http's own close: that destroys idle connections whatever is on its way.
    NetServer.prototype.close.call(this.#server);
    await quietTurn(this.#clock, () => this.#accepted);
    for (const socket of this.#handshakes.values()) socket.destroy();
    while (this.#connections.size > 0) {
      this.#changed = Promise.withResolvers();
      using _timer = this.#clock.setTimer(this.#changed.resolve, this.#endIdle());
      await this.#changed.promise;
      await quietTurn(this.#clock, () => this.#accepted);
    }
    force.removeEventListener('abort', onForce);
  }

  /** Closes what is open still. */
  close(): void {
    this.#server.close();
    this.#destroyAll();
  }

  beforeHead(response: Outgoing): void {
    if (!this.#draining) return;
    const { carrier } = response;
    if (carrier?.pending.at(-1) === response) carrier.closeAfter(response);
  }

  closed(response: Outgoing): void {
    if (response.done) return;
    response.done = true;
    response.carrier?.done(response);
    if (!response.writableFinished) {
      this.#counters.aborted += 1;
      response.call?.abort(new ClientGoneError());
    } else {
      response.call?.end();
      const { req, statusCode } = response;
      const kind = Math.trunc(statusCode / 100);
      this.#counters.responses[kind] = (this.#counters.responses[kind] ?? 0) + 1;
      const durationMs = this.#clock.now() - response.since;
      this.#counters.byRoute.record(Incoming.routeOf(req), req.method, statusCode, durationMs);
    }
    const { accessLog } = this.#options;
    if (accessLog !== 'silent' && this.#log.isLevelEnabled(accessLog)) this.#logAccess(response, accessLog);
    if (this.#draining) this.#changed.resolve();
  }

  threw(response: Outgoing, error: unknown): void {
    const { req } = response;
    const fields = { err: error, reqId: requestId(req), method: req.method, path: pathOf(req) };
    if (response.destroyed || req.socket.destroyed) {
      this.#log.debug(fields, 'a request failed whose client had gone');
    } else if (error instanceof BodyTooLargeError && !response.headersSent) {
      answerError(response, 413);
    } else if (retryAfterOf(error) !== undefined && !response.headersSent) {
      this.#log.warn({ reqId: fields.reqId }, notNow(req, error));
      answerError(response, 503, retryAfterOf(error));
    } else {
      this.#log.error(fields, `${req.method} ${fields.path} failed`);
      if (!response.headersSent) answerError(response, 500);
      // Half an answer must not pass for a whole one.
      else if (!response.writableEnded) req.socket.destroy();
    }
  }

  overflowed(response: Outgoing): void {
    if (!response.headersSent) answerError(response, 413);
  }

  #listen(secure: boolean): void {
    const server = this.#server;
    server.on('connection', () => {
      this.#accepted += 1;
    });
    if (secure) {
      server.on('connection', (socket) => this.#awaitHandshake(socket));
      server.on('tlsClientError', (error) => this.#log.debug({ err: error }, 'a TLS handshake failed'));
    }
    server.on(secure ? 'secureConnection' : 'connection', (socket: Socket) => this.#track(socket));
    server.on('request', (request, response) => this.#take(request, response));
    server.on('checkContinue', (request, response) => {
      if (!this.#declaresTooMuch(request)) response.writeContinue();
      this.#take(request, response);
    });
    server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket as Socket, head));
    server.on('clientError', (error, socket) => this.#clientError(error, socket as Socket));
    server.on('drop', () => this.#drop());
  }

  #track(socket: Socket): void {
    this.#handshakes.delete(peerOf(socket));
    const connection = new Connection(socket, this.#clock);
    this.#connections.set(socket, connection);
    socket.once('close', () => {
      for (const response of [...connection.pending]) this.closed(response);
      this.#connections.delete(socket);
      this.#changed.resolve();
    });
    if (this.#draining) this.#changed.resolve();
  }

  #awaitHandshake(socket: Socket): void {
    const peer = peerOf(socket);
    this.#handshakes.set(peer, socket);
    socket.once('close', () => {
      if (this.#handshakes.get(peer) === socket) this.#handshakes.delete(peer);
    });
  }

  #take(request: Incoming, response: Outgoing): void {
    const connection = this.#connections.get(request.socket);
    if (connection?.take(response) !== true) {
      request.resume();
      return;
    }
    response.carrier = connection;
    this.#counters.requests += 1;
    response.exchange = this;
    response.since = this.#clock.now();
    Incoming.open(request, response, this.#options.maxBodyBytes);
    if (this.#declaresTooMuch(request)) answerError(response, 413);
    else {
      const call = new Call({
        limitMs: this.#options.deadlineMs,
        clock: this.#clock,
        beganAt: response.since,
      });
      response.call = call;
      const fields = { reqId: requestId(request) };
      surroundings.run({ call, fields }, () => this.#handle(request, response));
    }
  }

  #handle(request: Incoming, response: Outgoing): void {
    try {
      const result = this.#handler.handle(request, response);
      // Fastify gives nothing: it deals with what its handlers reject with.
      if (result !== undefined && result instanceof Promise) {
        result.catch((error) => this.threw(response, error));
      }
    } catch (error) {
      this.threw(response, error);
    }
  }

  #declaresTooMuch(request: Incoming): boolean {
    const length = request.headers['content-length'];
    return length !== undefined && Number(length) > this.#options.maxBodyBytes;
  }

  #upgrade(request: Incoming, socket: Socket, head: Buffer): void {
    // From here on the connection is its handler's.
    this.#connections.delete(socket);
    this.#changed.resolve();
    const handler = this.#upgrades.get(pathOf(request));
    const status = this.#draining ? 503 : handler === undefined ? 404 : undefined;
    if (handler === undefined || status !== undefined) {
      refuse(socket, status ?? 404);
      return;
    }
    const reqId = requestId(request);
    const failed = (error: unknown) => {
      this.#log.error({ err: error, reqId }, `the upgrade of ${pathOf(request)} failed`);
      refuse(socket, 500);
    };
    withLogFields({ reqId }, () => {
      try {
        const result = handler(request, socket, head);
        if (result instanceof Promise) result.catch(failed);
      } catch (error) {
        failed(error);
      }
    });
  }

  /** The connection is at fault, not a request: malformed, too slow, or lost. */
  #clientError(error: NodeJS.ErrnoException, socket: Socket): void {
    const connection = this.#connections.get(socket);
    const current = connection?.pending[0];
    if (connection === undefined || !socket.writable || current?.headersSent === true) {
      socket.destroy(error);
      return;
    }
    this.#log.debug({ err: error, client: socket.remoteAddress }, 'a bad request');
    if (current?.req.complete === true) {
      // What is malformed comes after requests that are not: they are answered, then it ends.
      const last = connection.pending.at(-1);
      if (last !== undefined) connection.closeAfter(last);
      return;
    }
    endWith(socket, statusOfClientError(error));
    connection.end();
  }

  #drop(): void {
    this.#counters.dropped += 1;
    const now = this.#clock.now();
    if (now - this.#dropsLoggedAt < DROP_LOG_MS) return;
    this.#dropsLoggedAt = now;
    this.#log.warn(
      { maxConnections: this.#options.maxConnections, dropped: this.#counters.dropped },
      'connections are refused: maxConnections is reached',
    );
  }

  /** Ends some idle connections. Returns in how many milliseconds there may be more. */
  #endIdle(): number {
    const now = this.#clock.now();
    let next = Number.POSITIVE_INFINITY;
    let ended = 0;
    for (const connection of this.#connections.values()) {
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

  #destroyAll(): void {
    for (const socket of this.#handshakes.values()) socket.destroy();
    for (const { socket } of this.#connections.values()) socket.destroy();
  }

  #logAccess(response: Outgoing, level: Exclude<AccessLogLevel, 'silent'>): void {
    const { req, statusCode } = response;
    const path = pathOf(req);
    const fields = {
      reqId: requestId(req),
      method: req.method,
      path,
      status: statusCode,
      durationMs: Math.round((this.#clock.now() - response.since) * 10) / 10,
      client: req.socket.remoteAddress,
      ...(response.writableFinished ? {} : { aborted: true }),
    };
    this.#log[level](fields, `${req.method} ${path} ${statusCode}`);
  }
}

const peerOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`;

/** Node takes whole milliseconds that setTimeout can wait, and 0 for no limit. */
const nodeTimeout = (ms: number) =>
  ms === Number.POSITIVE_INFINITY ? 0 : Math.min(Math.ceil(ms), 2 ** 31 - 1);
