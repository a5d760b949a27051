import { once } from 'node:events';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { type ClientOptions, WebSocket } from 'ws';

/** A client that keeps what it is sent. */
export class Peer implements AsyncDisposable {
  readonly socket: WebSocket;
  /** Code and reason with which it was closed. */
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  readonly #messages: string[] = [];
  readonly #waiting: ((message: string) => void)[] = [];

  constructor(url: string, options: ClientOptions = {}, protocols: string[] = []) {
    this.socket = new WebSocket(url, protocols, options);
    const { promise, resolve } = Promise.withResolvers<{ code: number; reason: string }>();
    this.closed = promise;
    this.socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    this.socket.on('error', () => {});
    this.socket.on('message', (data) => {
      const message = data.toString();
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#messages.push(message);
      else waiting(message);
    });
  }

  static async connect(url: string, options: ClientOptions = {}, protocols: string[] = []): Promise<Peer> {
    const peer = new Peer(url, options, protocols);
    await Promise.race([
      once(peer.socket, 'open'),
      once(peer.socket, 'unexpected-response').then(([, { statusCode }]) => {
        peer.socket.terminate();
        throw new Error(`answered with ${statusCode}`);
      }),
    ]);
    return peer;
  }

  /** The next message, in order. */
  async next(): Promise<string> {
    const message = this.#messages.shift();
    if (message !== undefined) return message;
    return await new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** What has come and was not asked for. */
  get unread(): readonly string[] {
    return this.#messages;
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.terminate();
    if (this.socket.readyState !== WebSocket.CLOSED) await this.closed;
  }
}

/** A client that has done the handshake and then speaks bytes. */
export class RawPeer implements AsyncDisposable {
  readonly socket: Socket;
  /** What it has been sent since the handshake. */
  received: Buffer = Buffer.alloc(0);

  constructor(socket: Socket, head: Buffer) {
    this.socket = socket;
    this.received = head;
    socket.on('error', () => {});
  }

  static async connect(url: string): Promise<RawPeer> {
    const asking = request(url.replace(/^ws/, 'http'), {
      headers: {
        connection: 'upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': Buffer.alloc(16).toString('base64'),
      },
      agent: false,
    });
    asking.end();
    const [, socket, head] = await once(asking, 'upgrade');
    return new RawPeer(socket, head);
  }

  /** The code of the close frame with which the server ends. Does not end its own side. */
  async closeCode(): Promise<number> {
    while (this.received.length < 4) {
      const [chunk] = await once(this.socket, 'data');
      this.received = Buffer.concat([this.received, chunk]);
    }
    return this.received[0] === 0x88 ? this.received.readUInt16BE(2) : 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.socket.closed) return;
    this.socket.destroy();
    await once(this.socket, 'close');
  }
}

/** A frame as a client sends it, masked with zeros. */
export function frame(firstByte: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  return Buffer.concat([Buffer.from([firstByte, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}

/** Asks a port for something, also with a socket that is refused; gives the status and the headers. */
export async function statusOf(
  url: string,
  headers: Record<string, string> = {},
): Promise<{ readonly status: number | undefined; readonly upgrade: string | undefined }> {
  const asking = request(url.replace(/^ws/, 'http'), { headers, agent: false });
  asking.end();
  const [response] = await once(asking, 'response');
  response.resume();
  await once(response, 'end');
  return { status: response.statusCode, upgrade: response.headers.upgrade };
}

/** Whether a port takes connections. */
export async function isListening(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
