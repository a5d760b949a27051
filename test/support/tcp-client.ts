import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';

/** A client that keeps what it receives. It ends its side only when it is told to. */
export class TcpClient implements AsyncDisposable {
  readonly socket: Socket;
  /** How the server has ended the connection: in order, or by a reset. */
  readonly ended: Promise<'end' | 'reset'>;
  readonly #chunks: Buffer[] = [];
  #notify: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#notify?.();
    });
    this.ended = new Promise((resolve) => {
      socket.once('end', () => resolve('end'));
      socket.once('error', () => resolve('reset'));
      socket.once('close', () => resolve('reset'));
    });
    void this.ended.then(() => this.#notify?.());
  }

  /** `address` is `tcp://127.0.0.1:5000`, `tls://127.0.0.1:5000` or `unix:/run/a.sock`. */
  static async to(address: string, tls: ConnectionOptions = {}): Promise<TcpClient> {
    if (address.startsWith('unix:')) {
      const socket = connect({ path: address.slice('unix:'.length), allowHalfOpen: true });
      await once(socket, 'connect');
      return new TcpClient(socket);
    }
    const { hostname: host, port, protocol } = new URL(address);
    const target = { host, port: Number(port), allowHalfOpen: true };
    const secure = protocol === 'tls:';
    const socket = secure ? connectTls({ ...target, ...tls }) : connect(target);
    await once(socket, secure ? 'secureConnect' : 'connect');
    return new TcpClient(socket);
  }

  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  /** Resolves when at least `bytes` have been received; rejects when the connection ends before. */
  async receive(bytes: number): Promise<Buffer> {
    let over = false;
    void this.ended.then(() => {
      over = true;
    });
    while (this.received.length < bytes) {
      if (over) throw new Error(`the connection ended after ${this.received.length} of ${bytes} bytes`);
      await new Promise<void>((resolve) => {
        this.#notify = resolve;
      });
    }
    return this.received;
  }

  /** Writes, and resolves when the bytes are with the kernel. */
  send(data: string | Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.write(data, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Ends our side; resolves with all that was received when the server has ended its own. */
  async end(data?: string | Uint8Array): Promise<Buffer> {
    if (data !== undefined) this.socket.write(data);
    this.socket.end();
    await this.ended;
    return this.received;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.socket.closed) return;
    this.socket.destroy();
    await once(this.socket, 'close');
  }
}
