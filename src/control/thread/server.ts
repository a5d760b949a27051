import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { toError } from '../../errors.ts';
import { type Address, listen } from '../../net/listen.ts';
import type { HeartbeatReader } from '../heartbeat.ts';
import type { MainMethods, ServerOptions } from '../protocol.ts';
import type { Rpc } from '../rpc.ts';
import type { Journal } from './journal.ts';
import { Refusal, type Reply, sendReply } from './reply.ts';
import { type Route, routes } from './routes.ts';
import { Samples } from './samples.ts';
import { statusOf } from './status.ts';
import { Streams } from './stream.ts';

/** What the server is made with. */
export interface ServerParts {
  readonly options: ServerOptions;
  readonly journal: Journal;
  readonly main: Rpc<MainMethods>;
  readonly heartbeat: HeartbeatReader;
}

/** What the routes work with. */
export interface ControlPlane extends ServerParts {
  readonly samples: Samples;
  readonly streams: Streams;
}

/** Time in which a client has to send a request: they are all small. */
const REQUEST_TIMEOUT_MS = 10_000;

/** The control plane's HTTP server, off the main thread. */
export class ControlServer {
  readonly #plane: ControlPlane;
  readonly #server: Server;
  readonly #routes: readonly Route[];

  constructor(parts: ServerParts) {
    const { main, heartbeat, options } = parts;
    const samples = new Samples(main, heartbeat, options.healthTimeoutMs);
    const streams = new Streams(parts.journal, () => statusOf({ ...parts, samples }));
    this.#plane = { ...parts, samples, streams };
    this.#routes = routes;
    this.#server = createServer(
      { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS, maxHeaderSize: 16_384 },
      (request, response) => void this.#handle(request, response),
    );
  }

  async listen(): Promise<Address> {
    const { host, port, path } = this.#plane.options;
    const target = path === undefined ? { host, port } : { path };
    return await listen(this.#server, target, new AbortController().signal);
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      sendReply(response, await this.#answer(request));
    } catch (thrown) {
      const { status, code, message } =
        thrown instanceof Refusal ? thrown : new Refusal(500, 'ERR_CONTROL', toError(thrown).message);
      sendReply(response, { status, body: { error: code, message } });
    }
  }

  async #answer(request: IncomingMessage): Promise<Reply> {
    const url = new URL(request.url ?? '/', 'http://control.invalid');
    const path = url.pathname.split('/').slice(1).map(decodeURIComponent);
    const found = this.#routes.filter((route) => matches(route.path, path));
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    const route = found.find((candidate) => candidate.method === method);
    if (route === undefined) {
      if (found.length === 0) throw new Refusal(404, 'ERR_NOT_FOUND', `there is no ${url.pathname}`);
      throw new Refusal(405, 'ERR_METHOD', `${request.method} is not offered here`);
    }
    const gone = new AbortController();
    request.once('close', () => gone.abort(new Error('the client has gone')));
    const parameter = path[route.path.indexOf('*')];
    return await route.handle(this.#plane, { request, url, parameter: parameter ?? '', signal: gone.signal });
  }
}

const matches = (pattern: readonly string[], path: readonly string[]) =>
  pattern.length === path.length && pattern.every((part, index) => part === '*' || part === path[index]);
