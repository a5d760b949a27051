import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import type { Clock, Timer } from '../../clock.ts';
import { formatAddress } from '../../net/listen.ts';
import { Sequence } from './sequence.ts';

/** What is sent: a string as a text message, bytes as a binary one. */
export type Message = string | Uint8Array;

/** How a connection ended; codes after RFC 6455, section 7.4, and IANA's registry. */
export interface Closed {
  /** The code that was sent or received; 1006: the connection broke, 1013: too much was left unread. */
  readonly code: number;
  readonly reason: string;
}

/** A message in the form in which it goes to any number of clients. @internal */
export interface Encoded {
  readonly bytes: Uint8Array;
  readonly binary: boolean;
}

/** @internal */
export function encode(message: Message): Encoded {
  return typeof message === 'string'
    ? { bytes: Buffer.from(message), binary: false }
    : { bytes: message, binary: true };
}

/** What a connection needs of the hub that holds it. @internal */
export interface ClientOwner {
  readonly maxBufferedBytes: number;
  readonly closeTimeoutMs: number;
  readonly clock: Clock;
  received(client: WebSocketClient, data: string | Buffer): Promise<void> | undefined;
  sent(): void;
  /** A message was not sent, as too much is unread: the client is dropped. */
  overflowed(): void;
  joined(client: WebSocketClient, room: string): void;
  left(client: WebSocketClient, room: string): void;
  /** It is no longer served; its socket may still be open for the closing handshake. */
  ended(client: WebSocketClient, closed: Closed): void;
  disconnected(client: WebSocketClient): void;
}

/** One connection of a `WebSocketService`. */
export class WebSocketClient {
  /** The request that asked for the connection: its URL, headers and cookies. */
  readonly request: IncomingMessage;
  /** Where it came from: `127.0.0.1:50123`; of a Unix socket nothing is known. */
  readonly remote: string;
  /** Its handlers, one after another: while one is under way nothing is read. @internal */
  readonly handlers: Sequence;
  readonly #socket: WebSocket;
  readonly #owner: ClientOwner;
  readonly #rooms = new Set<string>();
  #open = true;
  #cutOff: Timer | undefined;
  #bytesReadBefore = -1;

  /** @internal */
  constructor(socket: WebSocket, request: IncomingMessage, owner: ClientOwner) {
    this.request = request;
    const { remoteAddress: host, remotePort: port } = request.socket;
    this.remote = host === undefined || port === undefined ? 'a Unix socket' : formatAddress({ host, port });
    this.#socket = socket;
    this.#owner = owner;
    this.handlers = new Sequence({
      onWait: () => this.#open && socket.pause(),
      onIdle: () => socket.resume(),
    });
    socket.on('message', (data: Buffer, binary) => {
      if (!this.#open) return;
      const message = binary ? data : data.toString();
      this.handlers.push('onMessage', () => (this.#open ? owner.received(this, message) : undefined));
    });
    // By now ws has answered the bad frame with a close frame, and waits for the peer's.
    socket.on('error', (error) => this.#end({ code: codeOf(error), reason: error.message }));
    socket.on('close', (code, reason) => {
      this.#end({ code, reason: reason.toString() });
      this.#cutOff?.cancel();
      owner.disconnected(this);
    });
  }

  /** Whether it is served: neither side has closed it, and it has not broken. */
  get open(): boolean {
    return this.#open;
  }

  /** The rooms it is in; none once it has ended. */
  get rooms(): ReadonlySet<string> {
    return this.#rooms;
  }

  /** The subprotocol that was agreed on; empty when there is none. */
  get protocol(): string {
    return this.#socket.protocol;
  }

  /**
   * Sends to this client alone; false when it is not open. A client that has left too much unread
   * (`maxBufferedBytes`) is dropped instead.
   */
  send(message: Message): boolean {
    return this.sendEncoded(encode(message));
  }

  /** From now on it gets what is broadcast to the room. */
  join(room: string): void {
    if (!this.#open || this.#rooms.has(room)) return;
    this.#rooms.add(room);
    this.#owner.joined(this, room);
  }

  leave(room: string): void {
    if (this.#rooms.delete(room)) this.#owner.left(this, room);
  }

  /**
   * Starts the closing handshake; nothing more is sent to the client or taken from it. `code` is 1000 or from
   * 3000 to 4999 for an application's own reasons, `reason` at most 123 bytes.
   */
  close(code = 1000, reason = ''): void {
    this.#socket.close(code, reason);
    this.#end({ code, reason });
  }

  /** Ends the connection at once, without a handshake. */
  terminate(reason = 'terminated', code = 1006): void {
    this.#end({ code, reason });
    this.#socket.terminate();
  }

  /** @internal */
  sendEncoded({ bytes, binary }: Encoded): boolean {
    if (!this.#open || this.#socket.readyState !== WebSocket.OPEN) return false;
    const unread = this.#socket.bufferedAmount;
    if (unread > 0 && unread + bytes.byteLength > this.#owner.maxBufferedBytes) {
      this.#owner.overflowed();
      // No handshake: a close frame would queue up behind what it does not read.
      this.terminate(`${unread} bytes unread`, 1013);
      return false;
    }
    this.#socket.send(bytes, { binary });
    this.#owner.sent();
    return true;
  }

  /** Asks for a sign of life; false when there was none since it was last asked. @internal */
  checkAlive(): boolean {
    const { bytesRead } = this.request.socket;
    // While a handler is under way nothing is read, so silence means nothing.
    if (bytesRead === this.#bytesReadBefore && this.handlers.current === undefined) return false;
    this.#bytesReadBefore = bytesRead;
    if (this.#open) this.#socket.ping();
    return true;
  }

  #end(closed: Closed): void {
    if (!this.#open) return;
    this.#open = false;
    for (const room of this.#rooms) this.leave(room);
    // The closing handshake need not wait for a handler under way.
    this.#socket.resume();
    this.#cutOff = this.#owner.clock.setTimer(() => this.#socket.terminate(), this.#owner.closeTimeoutMs);
    this.#owner.ended(this, closed);
  }
}

const closeCodes: Readonly<Record<string, number>> = {
  WS_ERR_INVALID_UTF8: 1007,
  WS_ERR_TOO_MANY_BUFFERED_PARTS: 1008,
  WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH: 1009,
  WS_ERR_UNSUPPORTED_MESSAGE_LENGTH: 1009,
};

/** The code with which ws closes on an error; other errors are violations of the protocol. */
const codeOf = (error: NodeJS.ErrnoException) => closeCodes[error.code ?? ''] ?? 1002;
