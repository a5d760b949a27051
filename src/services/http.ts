/** The http service: owns a listener and drains it. */
import { z } from 'zod';
import { logLevels } from '../logging/options.ts';
import { counter, gauge, type Metric } from '../metrics.ts';
import { type Address, formatAddress } from '../net/listen.ts';
import { portNumber, refusePathWithPort } from '../net/listen-options.ts';
import { loadTls, tlsSchema } from '../net/tls.ts';
import { byteCount, limitMs } from '../options.ts';
import { type Scope, Service, type StopReason } from '../service.ts';
import { type Application, prepare } from './http/application.ts';
import { UpgradePathTakenError } from './http/errors.ts';
import { settingUpFastify } from './http/fastify.ts';
import { RequestMetrics } from './http/request-metrics.ts';
import { HttpServer, type UpgradeHandler } from './http/server.ts';
import type { Counters, HttpStatistics } from './http/statistics.ts';

export type {
  Application,
  FastifyApplication,
  RequestListener,
} from './http/application.ts';
export {
  ApplicationError,
  BodyTooLargeError,
  ClientGoneError,
  ResponseError,
  UpgradePathTakenError,
} from './http/errors.ts';
export type { FetchApplication } from './http/fetch.ts';
export { requestId } from './http/request-id.ts';
export type { AccessLogLevel, UpgradeHandler } from './http/server.ts';
export type { HttpStatistics } from './http/statistics.ts';

const defaults = { host: '127.0.0.1', port: 8080 };

const HttpOptions = Service.extend({
  /** `0.0.0.0` or `::` listens on all interfaces, as containers need it. */
  host: z.string().min(1).default(defaults.host),
  /** 0 takes any free port. */
  port: portNumber().default(defaults.port),
  /** A Unix socket to listen on instead. */
  path: z.string().min(1).optional(),
  tls: tlsSchema.optional(),
  /** From the connection, or the end of the previous request, until a request's header is complete: 408. */
  headersTimeoutMs: limitMs().default(15_000),
  /** From the connection, or the end of the previous request, until a request and its body are complete: 408. */
  requestTimeoutMs: limitMs().default(60_000),
  /**
   * How long the work for a request may take, from its header on: then `currentSignal()` aborts, and policies
   * and queries below end with `ERR_DEADLINE`, which is answered 503. `Infinity`: no limit.
   */
  deadlineMs: limitMs().default(Number.POSITIVE_INFINITY),
  /** How long a connection is kept without a request; longer than the 60 s of common load balancers. */
  keepAliveTimeoutMs: limitMs().default(72_000),
  /** Connections beyond that are closed as they come. */
  maxConnections: z.int().min(1).default(10_000),
  /** A larger request header is answered 431. */
  maxHeaderBytes: z.int().min(1_024).default(16_384),
  /** A larger body is answered 413. */
  maxBodyBytes: byteCount().default(1_048_576),
  /** The level of the one line that each request logs when it has been answered. */
  accessLog: z.enum(logLevels).default('debug'),
});

/**
 * Serves HTTP or HTTPS. Subclass it and say what answers the requests:
 *
 * ```ts
 * class Hello extends HttpService {
 *   protected override createApplication() {
 *     return { fetch: () => new Response('hello') };
 *   }
 * }
 * await run([new Hello({ port: 8080 })]);
 * ```
 *
 * A Fastify app is to be made in `createApplication` and must not listen; its `onClose` hooks run when the
 * requests have been drained.
 */
export abstract class HttpService extends HttpOptions {
  readonly #upgrades = new Map<string, UpgradeHandler>();
  readonly #counters: Counters = {
    byRoute: new RequestMetrics(),
    requests: 0,
    responses: [0, 0, 0, 0, 0, 0],
    aborted: 0,
    dropped: 0,
  };
  #server: HttpServer | undefined;
  #address: Address | undefined;
  #step: string | undefined;

  /** @throws {OptionsError} `ERR_OPTIONS` */
  constructor(...options: ConstructorParameters<typeof HttpOptions>) {
    super(...options);
    refusePathWithPort(`${new.target.name} "${this.name}"`, this.options, defaults);
  }

  /** Makes what answers the requests; called at every start. What it opens belongs to `scope.defer`. */
  protected abstract createApplication(scope: Scope): Application | Promise<Application>;

  /**
   * @throws {ListenError} `ERR_LISTEN`
   * @throws {CertificateError} `ERR_CERTIFICATE`
   * @throws {ApplicationError} `ERR_HTTP_APPLICATION`
   */
  override async start(scope: Scope): Promise<void> {
    scope.defer(() => {
      this.#step = undefined;
    });
    const { tls, path, host, port } = this.options;
    this.#step = 'the certificate';
    const secure = tls === undefined ? undefined : await loadTls(tls, scope);
    this.#step = 'createApplication()';
    const handler = await prepare(await settingUpFastify(scope.log, () => this.createApplication(scope)));
    scope.defer(async () => {
      this.#step = 'the close() of the application';
      await handler.close();
    });
    scope.signal.throwIfAborted();
    const server = new HttpServer(handler, this.options, secure, this.#upgrades, this.#counters, scope);
    scope.defer(() => {
      server.close();
      this.#server = undefined;
      this.#address = undefined;
    });
    const target = path === undefined ? { host, port } : { path };
    this.#step = `listening on ${formatAddress(target)}`;
    this.#address = await server.listen(target, scope.signal, scope.fail);
    this.#server = server;
    this.#step = undefined;
  }

  override async stop({ signal }: StopReason): Promise<void> {
    await this.#server?.drain(signal);
  }

  override waitingFor(): readonly string[] {
    if (this.#step !== undefined) return [this.#step];
    return this.#server?.describe() ?? [];
  }

  override get addresses(): readonly string[] {
    if (this.#address === undefined) return [];
    return [formatAddress(this.#address, this.options.tls === undefined ? 'http' : 'https')];
  }

  /** What it has done since it was made, across restarts. */
  get statistics(): HttpStatistics {
    const { responses, byRoute: _, ...counters } = this.#counters;
    return {
      ...counters,
      responses: [...responses],
      connections: this.#server?.connections ?? 0,
      inFlight: this.#server?.inFlight ?? 0,
    };
  }

  override metrics(): readonly Metric[] {
    const { connections, inFlight, aborted, dropped } = this.statistics;
    return [
      ...this.#counters.byRoute.metrics(),
      gauge('bosun_http_requests_in_flight', 'Requests taken and not answered yet.', inFlight),
      counter(
        'bosun_http_requests_aborted_total',
        'Requests whose client had gone before the answer.',
        aborted,
      ),
      gauge('bosun_http_connections', 'Open connections, without upgraded ones.', connections),
      counter(
        'bosun_http_connections_dropped_total',
        'Connections refused on account of maxConnections.',
        dropped,
      ),
    ];
  }

  /**
   * Gives a path's upgrade requests (WebSocket) to a handler, which owns the socket from then on: this service
   * neither drains nor closes it. Holds until it is disposed of, also across restarts. Upgrades of other paths
   * are answered 404, and 503 while the service drains.
   *
   * @throws {UpgradePathTakenError} `ERR_HTTP_UPGRADE_PATH_TAKEN`
   */
  mountUpgrade(path: string, handler: UpgradeHandler): Disposable {
    if (this.#upgrades.has(path)) throw new UpgradePathTakenError(path);
    this.#upgrades.set(path, handler);
    return {
      [Symbol.dispose]: () => {
        if (this.#upgrades.get(path) === handler) this.#upgrades.delete(path);
      },
    };
  }
}
