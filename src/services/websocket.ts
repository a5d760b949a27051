/** WebSockets, on a port of their own or on the path of an `http` service. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { z } from 'zod';
import { OptionsError } from '../errors.ts';
import { counter, gauge, type Metric } from '../metrics.ts';
import { portNumber } from '../net/listen-options.ts';
import { byteCount, durationMs } from '../options.ts';
import { type Scope, Service, type StopReason, service } from '../service.ts';
import { refuse } from './http/answers.ts';
import { HttpService } from './http.ts';
import { type Closed, encode, type Message, type WebSocketClient } from './websocket/client.ts';
import { type Counts, Hub } from './websocket/hub.ts';
import { Latest } from './websocket/latest.ts';
import { isAllowedOrigin, originsOption } from './websocket/origins.ts';
import { listenForUpgrades, mountUpgrades, type UpgradeSource } from './websocket/upgrades.ts';

export type { Closed, Message, WebSocketClient } from './websocket/client.ts';

/** To whom a message goes: to the members of a room, or, without one, to all. */
export interface Audience {
  readonly room?: string | undefined;
  /** Spread over several turns of the event loop; what is sent otherwise may overtake it. */
  readonly gradual?: boolean | undefined;
}

/** What one run of the service consists of. */
interface Live {
  readonly hub: Hub;
  readonly latest: Latest<() => void>;
  readonly upgrades: UpgradeSource;
}

const defaultHost = '127.0.0.1';

const WebSocketOptions = Service.extend({
  /** The http service to be mounted on. Either this or `port` is needed. */
  server: service(HttpService).optional(),
  /** A port to listen on instead, without TLS; 0 takes any free one. */
  port: portNumber().optional(),
  host: z.string().min(1).default(defaultHost),
  /** The path of the URL; requests to upgrade on another are answered with 404. */
  path: z.string().startsWith('/').default('/ws'),
  /** Subprotocols; of those that a client offers, the first that is among them is agreed on. */
  protocols: z.array(z.string()).default([]),
  /**
   * Pages of which origins may connect: `same-origin` (scheme and host of the page are those of the request),
   * `any`, or a list. Whoever sends no `Origin` is no browser, and may.
   */
  origins: originsOption().default('same-origin'),
  /** How many clients may be connected; one more is answered with 503. */
  maxClients: z.int().min(1).default(10_000),
  /** Of a message received; a longer one closes its client with 1009. */
  maxPayloadBytes: byteCount()
    .refine((bytes) => bytes >= 1, 'must be at least 1')
    .default(64 * 1024),
  /**
   * What a client may leave unread. A message that would exceed it is not sent, and the client is dropped; to
   * one that has read everything a message of any length is sent.
   */
  maxBufferedBytes: byteCount().default(1024 * 1024),
  /** How long a client may take to answer a close; then its connection is cut. */
  closeTimeoutMs: durationMs().default(2_000),
  /** Between two pings; a client that shows no sign of life from one to the next is dropped. 0: no pings. */
  heartbeatIntervalMs: durationMs().default(30_000),
  /** The least time between two values of one key, see `publish`; 0: once per turn of the event loop. */
  coalesceMs: durationMs().default(50),
});

/**
 * Serves WebSockets. Subclass it:
 *
 * ```ts
 * class Chat extends WebSocketService {
 *   protected override onConnect(client: WebSocketClient) {
 *     client.join('lobby');
 *     this.publish('present', () => `${this.clients.size} present`);
 *   }
 *   protected override onMessage(_client: WebSocketClient, data: string | Buffer) {
 *     this.broadcast(data, { room: 'lobby' });
 *   }
 * }
 * ```
 *
 * The handlers of one client run one after another, each when the promise of the one before has settled;
 * meanwhile the client is not read, so that it is held back. What a handler throws is logged and closes its
 * client with 1011.
 *
 * A stop takes no new clients, closes those there are with 1001, and waits for their closing handshakes and
 * for handlers under way.
 */
export abstract class WebSocketService extends WebSocketOptions {
  readonly #counts: Counts = { connected: 0, received: 0, sent: 0, dropped: 0 };
  #live: Live | undefined;

  /** @throws {OptionsError} `ERR_OPTIONS` */
  constructor(...options: ConstructorParameters<typeof WebSocketOptions>) {
    super(...options);
    const { server, port, host } = this.options;
    const refuseOption = (option: string, rule: string, received: unknown) => {
      throw new OptionsError(`${new.target.name} "${this.name}"`, [{ path: [option], rule, received }]);
    };
    if (server === undefined) {
      if (port === undefined) refuseOption('port', 'is required when there is no "server"', port);
      return;
    }
    if (port !== undefined) refuseOption('port', 'cannot be combined with "server"', port);
    if (host !== defaultHost) refuseOption('host', 'cannot be combined with "server"', host);
  }

  /** A client has connected. Its messages are held back until this has settled. */
  protected onConnect(_client: WebSocketClient): Promise<void> | void {}

  /** A message has come: a string when it was sent as text. */
  protected onMessage(_client: WebSocketClient, _data: string | Buffer): Promise<void> | void {}

  /** A client is no longer served; called once for each that was handed to `onConnect`. */
  protected onClose(_client: WebSocketClient, _closed: Closed): Promise<void> | void {}

  /** The clients that are served by this process. */
  get clients(): ReadonlySet<WebSocketClient> {
    return this.#live?.hub.clients ?? new Set();
  }

  /** How many messages have been sent in this run, counted per client. */
  get sentMessages(): number {
    return this.#live?.hub.sentMessages ?? 0;
  }

  override get addresses(): readonly string[] {
    return this.#live?.upgrades.addresses ?? [];
  }

  /**
   * Sends a message to everyone, now. All sending to more than one client comes through here: to reach the
   * clients of other processes, override it to pass the message on, and `deliver` it where it arrives.
   */
  broadcast(message: Message, to: Audience = {}): void {
    this.deliver(message, to);
  }

  /**
   * Broadcasts, gradually, a value of which only the newest counts, such as a state: at most once per
   * `coalesceMs` for each key and room, whatever the number of calls. `message` is called when it is sent, so that N clients
   * who join at once cost N messages and not N².
   */
  publish(key: string, message: () => Message, to: Pick<Audience, 'room'> = {}): void {
    this.#live?.latest.set(JSON.stringify([key, to.room]), () =>
      this.broadcast(message(), { ...to, gradual: true }),
    );
  }

  /** Sends a message to clients of this process; it is encoded once for all of them. */
  protected deliver(message: Message, { room, gradual = false }: Audience = {}): void {
    const hub = this.#live?.hub;
    if (gradual) hub?.deliverGradually(encode(message), room);
    else hub?.deliver(encode(message), room);
  }

  override async start(scope: Scope): Promise<void> {
    const { log, clock, signal } = scope;
    const { heartbeatIntervalMs, coalesceMs } = this.options;
    const hub = this.#hub(scope);
    const latest = new Latest<() => void>(clock, coalesceMs, async (sends) => {
      for (const send of sends) {
        try {
          send();
        } catch (error) {
          log.error({ err: error }, 'publish failed');
        }
      }
      await hub.delivered;
    });
    const upgrades = await this.#upgrades(hub, scope);
    this.#live = { hub, latest, upgrades };
    scope.defer(() => {
      upgrades[Symbol.dispose]();
      latest.cancel();
      hub.terminate('stopped');
      this.#live = undefined;
    });
    if (heartbeatIntervalMs > 0) {
      scope.spawn('heartbeat', async () => {
        for (;;) {
          await clock.sleep(heartbeatIntervalMs, { signal });
          await hub.sweep();
        }
      });
    }
  }

  override async stop({ signal }: StopReason): Promise<void> {
    if (this.#live === undefined) return;
    const { latest, hub } = this.#live;
    await latest.flush();
    await hub.close(1001, 'going away', signal);
  }

  override waitingFor(): readonly string[] {
    return this.#live?.hub.waitingFor() ?? [];
  }

  override metrics(): readonly Metric[] {
    const { connected, received, sent, dropped } = this.#counts;
    return [
      gauge('bosun_websocket_clients', 'Clients that are served.', this.clients.size),
      counter('bosun_websocket_clients_connected_total', 'Clients that have connected.', connected),
      counter('bosun_websocket_clients_dropped_total', 'Clients dropped as they read too slowly.', dropped),
      counter('bosun_websocket_messages_received_total', 'Messages that came.', received),
      counter('bosun_websocket_messages_sent_total', 'Messages sent, counted per client.', sent),
    ];
  }

  #hub(scope: Scope): Hub {
    // Events of a socket may carry the context of whoever caused it, such as another service.
    const inScope = AsyncLocalStorage.snapshot();
    const handlers = {
      onConnect: (client: WebSocketClient) => inScope(() => this.onConnect(client)),
      onMessage: (client: WebSocketClient, data: string | Buffer) =>
        inScope(() => this.onMessage(client, data)),
      onClose: (client: WebSocketClient, closed: Closed) => inScope(() => this.onClose(client, closed)),
    };
    return new Hub(handlers, this.options, this.#counts, scope);
  }

  async #upgrades(hub: Hub, scope: Scope): Promise<UpgradeSource> {
    const { server, host, port, path, maxPayloadBytes, maxClients, origins, protocols } = this.options;
    const handshake = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      // ws takes 0 for no limit.
      maxPayload: Number.isFinite(maxPayloadBytes) ? maxPayloadBytes : 0,
      // Every connection would hold a compressor's memory, and small messages gain nothing.
      perMessageDeflate: false,
      handleProtocols: (offered) => [...offered].find((protocol) => protocols.includes(protocol)) ?? false,
    });
    const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      if (scope.signal.aborted || hub.size >= maxClients) refuse(socket, 503);
      else if (!isAllowedOrigin(request, origins)) {
        scope.log.info({ origin: request.headers.origin }, 'refused a page of another origin');
        refuse(socket, 403);
      } else handshake.handleUpgrade(request, socket, head, (client) => hub.add(client, request));
    };
    if (server !== undefined) return mountUpgrades(server, path, onUpgrade);
    return await listenForUpgrades({ host, port }, path, onUpgrade, scope);
  }
}
