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
import { ClientConnections } from './client-connections.ts';
import { BodyTooLargeError, ClientGoneError } from './errors.ts';
import { type Exchange, Incoming, Outgoing } from './messages.ts';
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

/** How often a full server is logged at most. */
const DROP_LOG_MS = 10_000;
/** One run of an http server: takes its connections' requests, dispatches them, accounts for the answers. */
export class HttpServer implements Exchange {
  readonly #server: http.Server<typeof Incoming, typeof Outgoing>;
  readonly #connections: ClientConnections;
  readonly #handler: Handler;
  readonly #options: HttpServerOptions;
  readonly #keepAliveHint: number;
  readonly #upgrades: ReadonlyMap<string, UpgradeHandler>;
  readonly #counters: Counters;
  readonly #log: Logger;
  readonly #clock: Clock;
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
    this.#keepAliveHint = nodeTimeout(options.keepAliveTimeoutMs);
    this.#upgrades = upgrades;
    this.#counters = counters;
    this.#log = log;
    this.#clock = clock;
    this.#connections = new ClientConnections(clock, options.keepAliveTimeoutMs);
    const { headersTimeoutMs, requestTimeoutMs, maxHeaderBytes } = options;
    const shortest = Math.min(headersTimeoutMs, requestTimeoutMs);
    const settings = {
      IncomingMessage: Incoming,
      ServerResponse: Outgoing,
      headersTimeout: nodeTimeout(shortest),
      requestTimeout: nodeTimeout(requestTimeoutMs),
      // It would set a timer of its own twice per request; `ClientConnections` has one for all.
      keepAliveTimeout: 0,
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
    return this.#connections.inFlight;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** The requests in flight, the oldest first. */
  describe(): string[] {
    const { pending } = this.#connections;
    if (pending.length > 0) return [describeRequests(pending, this.#clock.now())];
    const { size } = this.#connections;
    return size === 0 ? [] : [`${size} ${size === 1 ? 'connection' : 'connections'} without a request`];
  }

  /**
   * Stops accepting and resolves when all connections have closed: idle ones are ended at once, busy ones after
   * their last response. When `force` aborts, all are destroyed.
   */
  drain(force: AbortSignal): Promise<void> {
    // Not http's own close: that destroys idle connections whatever is on its way.
    return this.#connections.drain(() => NetServer.prototype.close.call(this.#server), force);
  }

  /** Closes what is open still. */
  close(): void {
    this.#server.close();
    this.#connections.destroy();
  }

  beforeHead(response: Outgoing): void {
    if (!this.#connections.draining) return;
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
    this.#connections.changed();
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
    const connections = this.#connections;
    server.on('connection', () => connections.accepted());
    if (secure) {
      server.on('connection', (socket) => connections.awaitHandshake(socket));
      server.on('tlsClientError', (error) => this.#log.debug({ err: error }, 'a TLS handshake failed'));
    }
    server.on(secure ? 'secureConnection' : 'connection', (socket: Socket) =>
      connections.add(socket, (response) => this.closed(response)),
    );
    server.on('request', (request, response) => this.#take(request, response));
    server.on('checkContinue', (request, response) => {
      if (!this.#declaresTooMuch(request)) response.writeContinue();
      this.#take(request, response);
    });
    server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket as Socket, head));
    server.on('clientError', (error, socket) => this.#clientError(error, socket as Socket));
    server.on('drop', () => this.#drop());
  }

  #take(request: Incoming, response: Outgoing): void {
    const connection = this.#connections.of(request.socket);
    if (connection?.take(response) !== true) {
      request.resume();
      return;
    }
    response.carrier = connection;
    this.#counters.requests += 1;
    response.exchange = this;
    response.since = this.#clock.now();
    response._keepAliveTimeout = this.#keepAliveHint;
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
      // For the rest of the parser's callback: Node leaves its frame after each, also when several requests come in one
      // piece. `run` would make a frame to leave it, a twentieth of what a short request costs.
      surroundings.enterWith({ call, fields });
      this.#handle(request, response);
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
    this.#connections.remove(socket);
    const handler = this.#upgrades.get(pathOf(request));
    const status = this.#connections.draining ? 503 : handler === undefined ? 404 : undefined;
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
    const connection = this.#connections.of(socket);
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

/** Node takes whole milliseconds that setTimeout can wait, and 0 for no limit. */
const nodeTimeout = (ms: number) =>
  ms === Number.POSITIVE_INFINITY ? 0 : Math.min(Math.ceil(ms), 2 ** 31 - 1);
