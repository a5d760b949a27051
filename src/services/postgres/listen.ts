import { AsyncLocalStorage } from 'node:async_hooks';
import pg from 'pg';
import { type Call, inCall, orEnded } from '../../call.ts';
import type { Clock } from '../../clock.ts';
import { toError } from '../../errors.ts';
import type { Scope } from '../../service.ts';
import type { ListenEvent, ListenHandler, Subscription } from './client.ts';
import { Connection } from './connection.ts';
import { ChannelNameError } from './errors.ts';
import { describeFailure, mayConnectLater } from './failures.ts';

/** What a run of the service listens with. */
export interface ListenerRun {
  readonly config: pg.ClientConfig;
  /** `host:port/database` */
  readonly target: string;
  /** Bounds connecting, and each answer of the server. */
  readonly connectTimeoutMs: number;
  readonly scope: Scope;
  readonly notRunning: () => Error;
}

interface Subscriber {
  readonly tell: (event: ListenEvent) => void;
  readonly settled: PromiseWithResolvers<void>;
  /** LISTEN has been in force for it. */
  established: boolean;
}

interface Channel {
  readonly name: string;
  readonly subscribers: Set<Subscriber>;
  /** On the connection that there is now. */
  inForce: boolean;
}

const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 2_000;
/** How often the server is asked whether it is still there. */
const KEEPALIVE_MS = 30_000;
/** PostgreSQL cuts longer names (NAMEDATALEN), and one channel would become another. */
const MAX_NAME_BYTES = 63;

/** The subscriptions of a service, which outlive its runs, and the one connection that serves them. */
export class Listener {
  readonly #channels = new Map<string, Channel>();
  #run: ListenerRun | undefined;
  /** Outside of whatever has led to it, such as a request. */
  #detached = AsyncLocalStorage.snapshot();
  /** The run whose connection is there, or being made. */
  #served: ListenerRun | undefined;
  #wake: () => void = () => {};

  /** Takes up the subscriptions of the run before. */
  start(run: ListenerRun): void {
    this.#run = run;
    this.#detached = AsyncLocalStorage.snapshot();
    run.scope.defer(() => {
      this.#run = undefined;
      this.#refuse(run.notRunning());
    });
    this.#work();
  }

  /**
   * Resolves when LISTEN is in force.
   *
   * @throws {ChannelNameError} `ERR_POSTGRES_CHANNEL`; the reason of the call; the server's error.
   */
  async listen(name: string, handler: ListenHandler, call: Call): Promise<Subscription> {
    checkName(name);
    const subscriber = subscriberOf(handler);
    const channel = this.#channels.get(name) ?? { name, subscribers: new Set(), inForce: false };
    this.#channels.set(name, channel);
    channel.subscribers.add(subscriber);
    if (channel.inForce) establish(subscriber);
    const close = () => this.#leave(channel, subscriber);
    this.#work();
    try {
      await orEnded(subscriber.settled.promise, call);
    } catch (error) {
      close();
      throw error;
    }
    return { channel: name, close, [Symbol.dispose]: close };
  }

  #leave(channel: Channel, subscriber: Subscriber): void {
    channel.subscribers.delete(subscriber);
    this.#wake();
  }

  /** Keeps a connection for as long as there are channels. */
  #work(): void {
    this.#wake();
    const run = this.#run;
    if (run === undefined || this.#served === run || !this.#isNeeded) return;
    this.#served = run;
    this.#detached(() => run.scope.spawn('listen', (signal) => this.#keepConnected(run, signal)));
  }

  async #keepConnected(run: ListenerRun, signal: AbortSignal): Promise<void> {
    const { target, scope } = run;
    let failures = 0;
    while (this.#isNeeded && !signal.aborted) {
      const connected = () => {
        if (failures > 0) scope.log.info(`listens to postgres at ${target} again`);
        failures = 0;
      };
      try {
        await this.#serve(run, signal, connected);
      } catch (thrown) {
        if (signal.aborted) break;
        const error = toError(thrown);
        // The error itself may hold what pg was configured with.
        const why = describeFailure(error);
        if (failures === 0) scope.log.warn(`listening to postgres at ${target} was interrupted: ${why}`);
        if (!mayConnectLater(error)) this.#refuse(error);
        const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** failures, MAX_PAUSE_MS);
        failures += 1;
        await scope.clock.sleep(pauseMs, { signal }).catch(() => {});
      }
    }
    // In the same turn as the last look: whoever comes after it needs another connection.
    if (this.#served === run) this.#served = undefined;
  }

  /** Listens over one connection; rejects when it is lost. */
  async #serve(
    { config, connectTimeoutMs, scope }: ListenerRun,
    signal: AbortSignal,
    connected: () => void,
  ): Promise<void> {
    const connection = new Connection(config, scope.clock);
    const { client } = connection;
    const closed = Promise.withResolvers<void>();
    const onAbort = () => {
      this.#wake();
      connection.close();
    };
    client.on('notification', ({ channel, payload = '', processId: pid }) => {
      this.#tell(channel, { kind: 'notification', channel, payload, pid });
    });
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await connection.open(connectTimeoutMs, { onLost: () => this.#wake(), onClosed: closed.resolve });
      while (this.#isNeeded && !signal.aborted) {
        if (connection.lost !== undefined) throw connection.lost;
        const changed = this.#changed();
        if (changed !== undefined) await this.#apply(changed, connection, connectTimeoutMs, scope.clock);
        else {
          connected();
          if (await this.#idle(scope.clock)) await ask(connection, 'SELECT 1', connectTimeoutMs, scope.clock);
        }
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      for (const channel of this.#channels.values()) channel.inForce = false;
      connection.close();
      await closed.promise;
    }
  }

  get #isNeeded(): boolean {
    return [...this.#channels.values()].some(({ subscribers }) => subscribers.size > 0);
  }

  /** A channel of which the server does not know what we want. */
  #changed(): Channel | undefined {
    for (const channel of this.#channels.values()) {
      const wanted = channel.subscribers.size > 0;
      if (channel.inForce !== wanted) return channel;
      if (!wanted) this.#channels.delete(channel.name);
    }
    return undefined;
  }

  async #apply(channel: Channel, connection: Connection, limitMs: number, clock: Clock): Promise<void> {
    const { name, subscribers } = channel;
    if (channel.inForce) {
      // From now on: who subscribes meanwhile needs another LISTEN.
      channel.inForce = false;
      await ask(connection, `UNLISTEN ${pg.escapeIdentifier(name)}`, limitMs, clock);
      return;
    }
    await ask(connection, `LISTEN ${pg.escapeIdentifier(name)}`, limitMs, clock);
    channel.inForce = true;
    for (const subscriber of subscribers) {
      if (subscriber.established) subscriber.tell({ kind: 'reconnected', channel: name });
      else establish(subscriber);
    }
  }

  /** Waits until something has changed; `true` when nothing has for so long that the server is to be asked. */
  async #idle(clock: Clock): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    using _timer = clock.setTimer(() => resolve(true), KEEPALIVE_MS);
    this.#wake = () => resolve(false);
    return await promise;
  }

  #tell(name: string, event: ListenEvent): void {
    for (const { tell } of this.#channels.get(name)?.subscribers ?? []) tell(event);
  }

  /** Lets go who waits for LISTEN. */
  #refuse(error: Error): void {
    for (const { subscribers } of this.#channels.values()) {
      for (const { established, settled } of subscribers) if (!established) settled.reject(error);
    }
  }
}

function subscriberOf(handler: ListenHandler): Subscriber {
  // What it throws is a stray error of whoever subscribed, but nothing of the request that has led to it.
  const inScope = inCall(undefined, () => AsyncLocalStorage.snapshot());
  return {
    tell: (event) => void inScope(async () => await handler(event)),
    settled: Promise.withResolvers(),
    established: false,
  };
}

function establish(subscriber: Subscriber): void {
  subscriber.established = true;
  subscriber.settled.resolve();
}

/** A connection whose server does not answer in time is lost. */
async function ask(connection: Connection, text: string, limitMs: number, clock: Clock): Promise<void> {
  using _timer = clock.setTimer(() => connection.destroy(), limitMs);
  await connection.client.query(text);
}

function checkName(name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || bytes > MAX_NAME_BYTES || name.includes('\0')) {
    throw new ChannelNameError(name, `must have 1 to ${MAX_NAME_BYTES} bytes, none of them 0`);
  }
}
