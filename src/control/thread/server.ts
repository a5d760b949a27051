import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { doneWithin, orAborted } from '../../abort.ts';
import { systemClock, type Timer } from '../../clock.ts';
import { toError } from '../../errors.ts';
import { ListenError } from '../../net/errors.ts';
import { type Address, listen } from '../../net/listen.ts';
import { listenPrivately, type PrivateSocket } from '../../net/private-socket.ts';
import type { Listening } from '../protocol.ts';
import { Audit } from './audit.ts';
import { Guard } from './guard.ts';
import { Health } from './health.ts';
import { loadExposition } from './metrics.ts';
import type { Ask, ControlPlane, ServerParts } from './plane.ts';
import { Refusal, type Reply, sendReply } from './reply.ts';
import { type Route, routes } from './routes.ts';
import { statusOf } from './status.ts';
import { Streams } from './stream.ts';
import { type Target, targetOf } from './target.ts';

// An import of its names loads all of them, with a fetch client for WebSocket and others: 9 MiB more.
const { createServer } = process.getBuiltinModule('node:http');

/** Requests are small: who needs longer to send one is given up, at the next check. */
const limits = {
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  connectionsCheckingInterval: 5_000,
  maxHeaderSize: 16_384,
};
const MAX_BODY_BYTES = 16_384;
/** Of one connection; who sends on without waiting for answers would fill the memory. */
const MAX_PIPELINED = 64;

/** How long after it listens what the first scrape needs is loaded: that holds up all answers for some 40 ms. */
const LOAD_AFTER_MS = 200;
/** How long the last answers may take when it is closed. */
const LAST_ANSWERS_MS = 500;

/** An HTTP server of the control plane, off the main thread. */
export class ControlServer {
  readonly #plane: ControlPlane;
  readonly #server: Server;
  readonly #guard: Guard;
  readonly #audit: Audit;
  /** How many requests of each connection are being answered; the oldest connection first. */
  readonly #connections = new Map<Socket, number>();
  /** Answers to actions that are under way. */
  readonly #acting = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  #socket: PrivateSocket | undefined;
  #loading: Timer | undefined;

  constructor(parts: ServerParts) {
    const { main, heartbeat, options } = parts;
    const health = new Health(main, heartbeat, options.healthTimeoutMs);
    const streams = new Streams(parts.journal, () => statusOf({ ...parts, health }));
    this.#plane = { ...parts, health, streams };
    this.#guard = new Guard(options);
    this.#audit = new Audit(main, options.server);
    this.#server = createServer(limits, (request, response) => void this.#handle(request, response));
    // Bounded by their size; Node would leave out those that are too many, and one may be the Origin.
    this.#server.maxHeadersCount = 0;
    this.#server.on('connection', (socket) => this.#connected(socket));
  }

  /** @throws {ListenError} `ERR_LISTEN` @throws the signal's reason; then nothing is left. */
  async listen(signal: AbortSignal): Promise<Listening> {
    const { main, options } = this.#plane;
    try {
      const address = await this.#open(signal);
      this.#server.on('error', ({ message }) =>
        main.tell('serverFailed', { server: options.server, message }),
      );
      this.#loading = systemClock.setTimer(() => void loadExposition(), LOAD_AFTER_MS).unref();
      return { address };
    } catch (thrown) {
      if (thrown instanceof ListenError && thrown.reason === 'in-use') return { inUse: thrown.message };
      throw thrown;
    }
  }

  async #open(signal: AbortSignal): Promise<Address> {
    const { host, port, path } = this.#plane.options;
    if (path === undefined) return await listen(this.#server, { host, port }, signal);
    this.#socket = await listenPrivately(this.#server, path, signal);
    return { path };
  }

  /** Who waits for an action is told that it goes on, or that it does not. */
  async close(): Promise<void> {
    this.#loading?.cancel();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    const answered = Promise.all(this.#acting);
    const headers = { connection: 'close' };
    this.#closing.abort(new Refusal(503, 'ERR_CLOSING', 'the control plane is being closed', headers));
    await doneWithin(answered, LAST_ANSWERS_MS, systemClock);
    this.#server.closeAllConnections();
    await closed;
    this.#audit[Symbol.dispose]();
    await this.#socket?.remove();
  }

  /**
   * Whoever comes gets a connection, so that a probe gets one: of too many, the one that has been idle for longest
   * goes, or, if all are in use, the oldest.
   */
  #connected(socket: Socket): void {
    if (this.#connections.size >= this.#plane.options.maxConnections) {
      const all = [...this.#connections];
      const [victim] = all.find(([, requests]) => requests === 0) ?? (all[0] as (typeof all)[0]);
      this.#connections.delete(victim);
      victim.destroy();
    }
    this.#connections.set(socket, 0);
    socket.once('close', () => this.#connections.delete(socket));
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request;
    // What was received with the request that was too much still comes here.
    if (socket.destroyed) return;
    if (this.#count(socket, 1) > MAX_PIPELINED) {
      socket.destroy();
      return;
    }
    const gone = new AbortController();
    response.once('close', () => {
      this.#count(socket, -1);
      gone.abort(new Error('the client has gone'));
    });
    try {
      sendReply(response, await this.#answer(request, response, gone.signal));
    } catch (thrown) {
      const refusal =
        thrown instanceof Refusal ? thrown : new Refusal(500, 'ERR_CONTROL', toError(thrown).message);
      const { status, code, message, headers } = refusal;
      if (response.headersSent) response.destroy();
      else sendReply(response, { status, headers, body: { error: code, message } });
    }
  }

  /** How many requests of a connection are under way now. One that is used again becomes the youngest. */
  #count(socket: Socket, change: 1 | -1): number {
    const requests = this.#connections.get(socket);
    if (requests === undefined) return 0;
    this.#connections.delete(socket);
    this.#connections.set(socket, requests + change);
    return requests + change;
  }

  async #answer(request: IncomingMessage, response: ServerResponse, signal: AbortSignal): Promise<Reply> {
    const { target, trusted } = await this.#admit(request, signal);
    const { route, parameter } = routeOf(request, target);
    await this.#orAudited(request, () => readBody(request));
    const ask = { request, url: target.url, parameter, trusted, signal };
    if (route.method === 'GET' && !route.audited) return await route.handle(this.#plane, ask);
    const audit = this.#audit.begin(request);
    try {
      const reply = await (route.method === 'GET'
        ? route.handle(this.#plane, ask)
        : this.#act(route, ask, response));
      audit(reply.status ?? 200);
      return reply;
    } catch (thrown) {
      audit(thrown instanceof Refusal ? thrown.status : 500, toError(thrown).message);
      throw thrown;
    }
  }

  /** What a reload does to this server must not look as if the reload had failed. */
  async #act({ handle, goesOn }: Route, ask: Ask, response: ServerResponse): Promise<Reply> {
    const { signal } = this.#closing;
    const answered = Promise.withResolvers<void>();
    this.#acting.add(answered.promise);
    response.once('close', answered.resolve);
    void answered.promise.then(() => this.#acting.delete(answered.promise));
    const work = (async () => handle(this.#plane, ask))();
    return await orAborted(work, signal).catch((thrown) => {
      if (thrown !== signal.reason || !goesOn) throw thrown;
      return { status: 202, headers: { connection: 'close' }, body: { detached: true } };
    });
  }

  /** @throws {Refusal} */
  async #admit(
    request: IncomingMessage,
    signal: AbortSignal,
  ): Promise<{ readonly target: Target; readonly trusted: boolean }> {
    return await this.#orAudited(request, async () => {
      const target = targetOf(request.url ?? '');
      return { target, trusted: await this.#guard.admit(request, target.path, signal) };
    });
  }

  /** Has it logged when the request is refused. */
  async #orAudited<Result>(request: IncomingMessage, check: () => Promise<Result>): Promise<Result> {
    try {
      return await check();
    } catch (thrown) {
      if (thrown instanceof Refusal) this.#audit.refused(request, thrown.status, thrown.message);
      throw thrown;
    }
  }
}

/** @throws {Refusal} 404 `ERR_NOT_FOUND`, 405 `ERR_METHOD` */
function routeOf({ method }: IncomingMessage, { path }: Target): { route: Route; parameter: string } {
  const found = routes.filter((route) => matches(route.path, path));
  const wanted = method === 'HEAD' ? 'GET' : method;
  const route = found.find((candidate) => candidate.method === wanted);
  if (route !== undefined) return { route, parameter: path[route.path.indexOf('*')] ?? '' };
  if (found.length === 0) throw new Refusal(404, 'ERR_NOT_FOUND', `there is no /${path.join('/')}`);
  const allow = found.map((candidate) => candidate.method).join(', ');
  throw new Refusal(405, 'ERR_METHOD', `only ${allow} is offered here`, { allow });
}

const matches = (pattern: readonly string[], path: readonly string[]) =>
  pattern.length === path.length && pattern.every((part, index) => part === '*' || part === path[index]);

/** No request needs its body; a small one is read, so that the connection can be used again. @throws {Refusal} 413 */
async function readBody(request: IncomingMessage): Promise<void> {
  const { headers } = request;
  if (headers['content-length'] === undefined && headers['transfer-encoding'] === undefined) return;
  let left = MAX_BODY_BYTES - Number(headers['content-length'] ?? 0);
  if (left >= 0) {
    left = MAX_BODY_BYTES;
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      left -= (chunk as Buffer).length;
      if (left < 0) break;
    }
  }
  if (left >= 0) return;
  throw new Refusal(413, 'ERR_BODY_TOO_LARGE', `at most ${MAX_BODY_BYTES} bytes are taken`, {
    connection: 'close',
  });
}
