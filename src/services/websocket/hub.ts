import type { IncomingMessage } from 'node:http';
import type { WebSocket } from 'ws';
import type { Clock } from '../../clock.ts';
import type { Logger, Scope } from '../../service.ts';
import { type ClientOwner, type Closed, type Encoded, WebSocketClient } from './client.ts';
import { inSlices } from './slices.ts';

/** What a service does when something happens to a client. @internal */
export interface Handlers {
  onConnect(client: WebSocketClient): unknown;
  onMessage(client: WebSocketClient, data: string | Buffer): unknown;
  onClose(client: WebSocketClient, closed: Closed): unknown;
}

/** @internal */
export interface HubLimits {
  readonly maxBufferedBytes: number;
  readonly closeTimeoutMs: number;
}

/** What has happened in all runs of a service. @internal */
export interface Counts {
  connected: number;
  received: number;
  sent: number;
  dropped: number;
}

/** How many remote ends `waitingFor` names. */
const NAMED = 3;

/** The clients and rooms of one run of a `WebSocketService`. @internal */
export class Hub implements ClientOwner {
  readonly maxBufferedBytes: number;
  readonly closeTimeoutMs: number;
  readonly clock: Clock;
  /** Those that are served. */
  readonly clients = new Set<WebSocketClient>();
  sentMessages = 0;
  readonly #handlers: Handlers;
  readonly #log: Logger;
  readonly #counts: Counts;
  #gradual = Promise.resolve();
  readonly #rooms = new Map<string, Set<WebSocketClient>>();
  /** All that still hold a socket or have a handler under way, and what tells the end of either. */
  readonly #held = new Map<
    WebSocketClient,
    { readonly handled: () => void; readonly disconnected: () => void; readonly gone: Promise<unknown> }
  >();

  constructor(
    handlers: Handlers,
    limits: HubLimits,
    counts: Counts,
    { log, clock }: Pick<Scope, 'log' | 'clock'>,
  ) {
    this.#handlers = handlers;
    this.maxBufferedBytes = limits.maxBufferedBytes;
    this.closeTimeoutMs = limits.closeTimeoutMs;
    this.#counts = counts;
    this.#log = log;
    this.clock = clock;
  }

  /** How many sockets are open, those in their closing handshake included. */
  get size(): number {
    return this.#held.size;
  }

  add(socket: WebSocket, request: IncomingMessage): void {
    const client = new WebSocketClient(socket, request, this);
    const handled = Promise.withResolvers<void>();
    const disconnected = Promise.withResolvers<void>();
    const gone = Promise.all([handled.promise, disconnected.promise]).then(() => this.#held.delete(client));
    this.#held.set(client, { handled: handled.resolve, disconnected: disconnected.resolve, gone });
    this.clients.add(client);
    this.#counts.connected += 1;
    client.handlers.push('onConnect', () =>
      this.#call('onConnect', client, () => this.#handlers.onConnect(client)),
    );
  }

  /** Sends, now, to all clients of this process or to those in a room. */
  deliver(message: Encoded, room: string | undefined): void {
    for (const client of this.#audience(room)) client.sendEncoded(message);
  }

  /** Sends over several turns of the event loop, in the order of the calls. */
  deliverGradually(message: Encoded, room: string | undefined): void {
    this.#gradual = this.#gradual.then(() =>
      inSlices(this.#audience(room), (client) => client.sendEncoded(message)),
    );
  }

  /** Resolves when what was to be delivered gradually has been. */
  get delivered(): Promise<void> {
    return this.#gradual;
  }

  /** Drops who gave no sign of life since the last time, and asks the others for one. */
  async sweep(): Promise<void> {
    await inSlices(this.#held.keys(), (client) => {
      if (!client.checkAlive()) client.terminate('no sign of life');
    });
  }

  /** Closes all; resolves when every socket is closed and every handler has settled. */
  async close(code: number, reason: string, force: AbortSignal): Promise<void> {
    for (const client of this.clients) client.close(code, reason);
    const onForce = () => this.terminate('forced to stop');
    if (force.aborted) onForce();
    force.addEventListener('abort', onForce, { once: true });
    await Promise.all([...this.#held.values()].map(({ gone }) => gone));
    force.removeEventListener('abort', onForce);
  }

  terminate(reason: string): void {
    for (const client of this.#held.keys()) client.terminate(reason);
  }

  waitingFor(): string[] {
    const held = [...this.#held.keys()];
    if (held.length === 0) return [];
    const named = held
      .slice(0, NAMED)
      .map(({ remote, handlers: { current } }) =>
        current === undefined ? remote : `${remote} in ${current}`,
      );
    const more = held.length > NAMED ? ', …' : '';
    return [`${held.length} ${held.length === 1 ? 'client' : 'clients'} (${named.join(', ')}${more})`];
  }

  received(client: WebSocketClient, data: string | Buffer): Promise<void> | undefined {
    this.#counts.received += 1;
    return this.#call('onMessage', client, () => this.#handlers.onMessage(client, data));
  }

  sent(): void {
    this.sentMessages += 1;
    this.#counts.sent += 1;
  }

  overflowed(): void {
    this.#counts.dropped += 1;
  }

  joined(client: WebSocketClient, room: string): void {
    const members = this.#rooms.get(room) ?? new Set();
    this.#rooms.set(room, members.add(client));
  }

  left(client: WebSocketClient, room: string): void {
    const members = this.#rooms.get(room);
    members?.delete(client);
    if (members?.size === 0) this.#rooms.delete(room);
  }

  ended(client: WebSocketClient, closed: Closed): void {
    this.clients.delete(client);
    this.#log.debug({ client: client.remote, ...closed }, 'client closed');
    client.handlers.push('onClose', () => {
      const pending = this.#call('onClose', client, () => this.#handlers.onClose(client, closed));
      const handled = this.#held.get(client)?.handled;
      if (pending === undefined) handled?.();
      return pending?.then(handled);
    });
  }

  disconnected(client: WebSocketClient): void {
    this.#held.get(client)?.disconnected();
  }

  #audience(room: string | undefined): Iterable<WebSocketClient> {
    return (room === undefined ? this.clients : this.#rooms.get(room)) ?? [];
  }

  /** Calls a handler of the service's; what it throws ends this client alone. */
  #call(name: keyof Handlers, client: WebSocketClient, handler: () => unknown): Promise<void> | undefined {
    const onError = (error: unknown) => {
      this.#log.error({ err: error, client: client.remote }, `${name} failed`);
      if (client.open) client.close(1011, 'internal error');
    };
    try {
      const result = handler();
      return result instanceof Promise ? result.then(() => {}, onError) : undefined;
    } catch (error) {
      onError(error);
      return undefined;
    }
  }
}
