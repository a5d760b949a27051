import { once } from 'node:events';
import { connect, type NetConnectOpts, type Socket } from 'node:net';

/** A client that says exactly what it is told to, and keeps what it is answered. */
export class RawClient implements AsyncDisposable {
  readonly socket: Socket;
  /** All that has been received. */
  received = '';
  /** Resolves when the server has ended or reset the connection. */
  readonly ended: Promise<'fin' | 'reset'>;
  readonly #waiters = new Set<() => void>();

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      this.received += chunk;
      for (const check of [...this.#waiters]) check();
    });
    this.ended = new Promise((resolve) => {
      socket.once('end', () => resolve('fin'));
      socket.once('error', () => resolve('reset'));
      socket.once('close', () => resolve('reset'));
    });
  }

  /** `address` is `http://127.0.0.1:5000` or `unix:/run/a.sock`. */
  static async to(address: string, options: Partial<NetConnectOpts> = {}): Promise<RawClient> {
    const socket = connect({ ...targetOf(address), ...options } as NetConnectOpts);
    await once(socket, 'connect');
    return new RawClient(socket);
  }

  /** Writes, and resolves when the bytes are with the kernel. */
  send(text: string | Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.write(text, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Resolves with all that was received when that matches; rejects when the connection ends before. */
  async until(pattern: RegExp | string): Promise<string> {
    const matches = () =>
      typeof pattern === 'string' ? this.received.includes(pattern) : pattern.test(this.received);
    if (!matches()) {
      await new Promise<void>((resolve, reject) => {
        const check = () => {
          if (!matches()) return;
          this.#waiters.delete(check);
          resolve();
        };
        this.#waiters.add(check);
        void this.ended.then((how) => {
          const got = JSON.stringify(this.received);
          if (!matches()) reject(new Error(`the connection ended (${how}) before ${pattern}: got ${got}`));
        });
      });
    }
    return this.received;
  }

  /** All that was received when the server has ended the connection. */
  async all(): Promise<string> {
    await this.ended;
    return this.received;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.socket.closed) return;
    this.socket.destroy();
    await once(this.socket, 'close');
  }
}

function targetOf(address: string): NetConnectOpts {
  if (address.startsWith('unix:')) return { path: address.slice('unix:'.length) };
  const { hostname, port } = new URL(address);
  return { host: hostname, port: Number(port) };
}
