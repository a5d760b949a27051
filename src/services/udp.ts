import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { z } from 'zod';
import { BosunError, ServiceStopped, toError } from '../errors.ts';
import { counter, gauge, type Metric } from '../metrics.ts';
import { atMostEvery } from '../net/at-most-every.ts';
import { pollPhase } from '../net/connections.ts';
import { formatAddress, listenError } from '../net/listen.ts';
import { portNumber } from '../net/listen-options.ts';
import { byteCount } from '../options.ts';
import { type Scope, Service, type StopReason } from '../service.ts';

export type { RemoteInfo } from 'node:dgram';

/** How often failing handlers are logged. */
const LOG_EVERY_MS = 1_000;

/** What fits into 65 535 bytes beside the headers: IPv4 counts its own (20) and UDP's (8), IPv6 UDP's alone. */
const MAX_DATAGRAM_BYTES = { udp4: 65_507, udp6: 65_527 } as const;

/** Where a datagram goes; what `handle` is given as the sender is one. */
export interface Destination {
  readonly address: string;
  readonly port: number;
}

/** A datagram is larger than the protocol allows. */
export class DatagramTooLargeError extends BosunError {
  readonly code = 'ERR_DATAGRAM_TOO_LARGE';
  readonly bytes: number;
  readonly maxBytes: number;

  constructor(bytes: number, maxBytes: number) {
    super(`a datagram of ${bytes} bytes cannot be sent: UDP takes at most ${maxBytes}`);
    this.bytes = bytes;
    this.maxBytes = maxBytes;
  }
}

/** What has happened to the datagrams of a service since it was made, across restarts. */
export interface UdpStatistics {
  readonly received: number;
  /** Not handled: `maxInFlight` handlers were busy, or the service was stopping. */
  readonly dropped: number;
  /** Their handler threw or rejected. */
  readonly failed: number;
  /** Handlers that are busy. */
  readonly inFlight: number;
}

const isInt32 = (value: number) => Number.isInteger(value) && value > 0 && value < 2 ** 31;

/** One run of a service. */
interface Running {
  readonly scope: Scope;
  readonly socket: Socket;
  readonly maxBytes: number;
  address?: Destination;
  inFlight: number;
  draining: boolean;
  closed: boolean;
  /** Called when the last handler has finished. */
  onIdle?: () => void;
}

/**
 * A UDP server. Write `handle`, which is called for every datagram:
 *
 * ```ts
 * class Printer extends UdpService {
 *   protected override handle(message: Buffer, { address }: RemoteInfo, { log }: Scope) {
 *     log.info({ from: address }, message.toString());
 *   }
 * }
 * ```
 *
 * On stop what has arrived is handled, and the handlers finish and send what they have to. UDP knows no
 * back-pressure: what comes faster than it is handled is dropped, here or in the kernel.
 */
export abstract class UdpService extends Service.extend({
  /** An IPv6 address makes it a server for IPv6. Default: 127.0.0.1, this machine alone. */
  host: z.string().default('127.0.0.1'),
  port: portNumber().default(0),
  /** What the kernel holds until it is read; capped by `net.core.rmem_max`. Default: the system's. */
  recvBufferBytes: byteCount().refine(isInt32, 'must be a whole number from 1 to 2147483647').optional(),
  /** Handlers that may be busy at once, those that return a promise; what comes beyond is dropped. */
  maxInFlight: z.int().min(1).default(1_000),
}) {
  readonly #counts = { received: 0, dropped: 0, failed: 0 };
  #running: Running | undefined;
  /** What `start` waits for. */
  #step: string | undefined;

  /**
   * Handles one datagram, which is its own to keep. What it throws is logged, at most once a second, and
   * counted. A handler that returns nothing costs no promise.
   */
  protected abstract handle(message: Buffer, remote: RemoteInfo, scope: Scope): Promise<void> | void;

  /**
   * Sends a datagram; resolves when the kernel has taken it, which says nothing of its arrival.
   *
   * @throws {DatagramTooLargeError} `ERR_DATAGRAM_TOO_LARGE` above 65 507 bytes (IPv6: 65 527).
   * @throws {ServiceStopped} `ERR_SERVICE_STOPPED` when the service does not run.
   */
  send(data: string | Uint8Array, to: Destination): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = this.#socketFor(data);
      socket.send(data, to.port, to.address, (error) => (error ? reject(error) : resolve()));
    });
  }

  /**
   * Sends a datagram and forgets it, which costs less than `send`: for handlers that answer much. One that the
   * kernel does not take is lost, as any datagram may be.
   *
   * @throws {DatagramTooLargeError} `ERR_DATAGRAM_TOO_LARGE` above 65 507 bytes (IPv6: 65 527).
   * @throws {ServiceStopped} `ERR_SERVICE_STOPPED` when the service does not run.
   */
  protected reply(data: string | Uint8Array, to: Destination): void {
    this.#socketFor(data).send(data, to.port, to.address);
  }

  override async start(scope: Scope): Promise<void> {
    const { host, port, recvBufferBytes } = this.options;
    const type = isIPv6(host) ? 'udp6' : 'udp4';
    const socket = createSocket({
      type,
      ...(recvBufferBytes === undefined ? {} : { recvBufferSize: recvBufferBytes }),
    });
    const maxBytes = MAX_DATAGRAM_BYTES[type];
    const running: Running = { scope, socket, maxBytes, inFlight: 0, draining: false, closed: false };
    this.#running = running;
    scope.defer(() => close(running));
    this.#receive(running);
    this.#step = `listening on ${formatAddress({ host, port })}`;
    running.address = await bind(socket, { address: host, port }, scope.signal);
    this.#step = undefined;
    // A bound socket only tells here of datagrams that it could not send: nothing that ends it.
    socket.on('error', (error) => scope.log.debug({ err: error }, 'a datagram could not be sent'));
  }

  /** Handles what has arrived, waits for the handlers that are busy, and sends what they left to be sent. */
  override async stop({ signal }: StopReason): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    const force = () => close(running);
    signal.addEventListener('abort', force, { once: true });
    if (signal.aborted) force();
    await pollPhase();
    running.draining = true;
    if (running.inFlight > 0) {
      await new Promise<void>((resolve) => {
        running.onIdle = resolve;
      });
    }
    while (!running.closed && running.socket.getSendQueueCount() > 0) await pollPhase();
    signal.removeEventListener('abort', force);
    close(running);
  }

  override waitingFor(): readonly string[] {
    if (this.#step !== undefined) return [this.#step];
    const { inFlight = 0 } = this.#running ?? {};
    return inFlight === 0 ? [] : [`${inFlight} handler${inFlight === 1 ? '' : 's'} of datagrams`];
  }

  override get addresses(): readonly string[] {
    const { address } = this.#running ?? {};
    return address === undefined ? [] : [formatAddress({ host: address.address, port: address.port }, 'udp')];
  }

  /** A copy. */
  get statistics(): UdpStatistics {
    return { ...this.#counts, inFlight: this.#running?.inFlight ?? 0 };
  }

  override metrics(): readonly Metric[] {
    const { received, dropped, failed, inFlight } = this.statistics;
    return [
      counter('bosun_udp_datagrams_received_total', 'Datagrams that came, dropped ones included.', received),
      counter('bosun_udp_datagrams_dropped_total', 'Datagrams that were not handled.', dropped),
      counter('bosun_udp_datagrams_failed_total', 'Datagrams whose handler failed.', failed),
      gauge('bosun_udp_datagrams_in_flight', 'Datagrams whose handler is busy.', inFlight),
    ];
  }

  #receive(running: Running): void {
    const { scope, socket } = running;
    const counts = this.#counts;
    const { maxInFlight } = this.options;
    let lastError: unknown;
    const report = atMostEvery(LOG_EVERY_MS, scope.clock, () =>
      scope.log.error({ err: toError(lastError), failed: counts.failed }, 'the handler of a datagram failed'),
    );
    const failed = (thrown: unknown) => {
      counts.failed++;
      lastError = thrown;
      report();
    };
    const done = () => {
      if (--running.inFlight === 0) running.onIdle?.();
    };
    // Called in the async context in which the socket was made, so a stray error is put down to this run.
    socket.on('message', (message, remote) => {
      counts.received++;
      if (running.draining || running.inFlight >= maxInFlight) {
        counts.dropped++;
        return;
      }
      try {
        const handled = this.handle(message, remote, scope);
        if (handled === undefined) return;
        void handled.catch(failed).finally(done);
        running.inFlight++;
      } catch (thrown) {
        failed(thrown);
      }
    });
  }

  #socketFor(data: string | Uint8Array): Socket {
    const running = this.#running;
    if (running === undefined || running.closed) throw new ServiceStopped(this.name, 'its socket is closed');
    const bytes = typeof data === 'string' ? Buffer.byteLength(data) : data.byteLength;
    if (bytes > running.maxBytes) throw new DatagramTooLargeError(bytes, running.maxBytes);
    return running.socket;
  }
}

function close(running: Running): void {
  if (running.closed) return;
  running.closed = true;
  running.socket.close();
  delete running.address;
}

/**
 * @throws {ListenError} `ERR_LISTEN`
 * @throws `signal.reason` when the signal aborts first.
 */
async function bind(
  socket: Socket,
  { address, port }: Destination,
  signal: AbortSignal,
): Promise<Destination> {
  const bound = Promise.withResolvers<void>();
  const onAbort = () => bound.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  socket.once('listening', bound.resolve);
  socket.once('error', bound.reject);
  try {
    signal.throwIfAborted();
    socket.bind({ address, port });
    await bound.promise;
  } catch (thrown) {
    signal.throwIfAborted();
    throw await listenError(toError(thrown), { host: address, port });
  } finally {
    signal.removeEventListener('abort', onAbort);
    socket.off('listening', bound.resolve);
    socket.off('error', bound.reject);
  }
  return socket.address();
}
