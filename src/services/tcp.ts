import type { Socket } from 'node:net';
import { endGracefully } from '../net/connections.ts';
import { type Session, SocketService } from '../net/socket-service.ts';
import { TcpConnection } from '../net/tcp-connection.ts';
import type { Scope } from '../service.ts';

export { ConnectionClosedError, ConnectionTimeoutError } from '../net/connection-errors.ts';
export { endGracefully } from '../net/connections.ts';
export { type Session, SocketService, type SocketStatistics } from '../net/socket-service.ts';
export { TcpConnection } from '../net/tcp-connection.ts';

/**
 * A TCP server, or a TLS server with the option `tls`. Write `handle`, which is called for every connection:
 *
 * ```ts
 * class Shouter extends TcpService {
 *   protected override async handle(connection: TcpConnection) {
 *     for await (const chunk of connection) await connection.write(chunk.toString().toUpperCase());
 *   }
 * }
 * ```
 *
 * On stop no more connections are taken, reading ends with what has arrived, the handlers finish, and what
 * they wrote is sent before the connections close.
 */
export abstract class TcpService extends SocketService {
  /**
   * Serves one connection, which is ended when this resolves. What it throws is logged and drops the
   * connection, never the service.
   *
   * `signal` aborts when the service stops or the connection has closed: begin nothing new, let what is under
   * way come to its end. To reject with the signal's reason is a way to come to an end.
   */
  protected abstract handle(connection: TcpConnection, signal: AbortSignal): Promise<void> | void;

  protected override accept(socket: Socket, scope: Scope): Session {
    const connection = new TcpConnection(socket, scope.log);
    const ending = new AbortController();
    socket.once('close', () => ending.abort(connection.signal.reason));
    return {
      drain: () => {
        connection.drain();
        ending.abort(scope.signal.reason);
      },
      done: this.#serve(connection, ending.signal, scope),
    };
  }

  async #serve(connection: TcpConnection, signal: AbortSignal, scope: Scope): Promise<void> {
    try {
      await this.handle(connection, signal);
    } catch (thrown) {
      if (!signal.aborted || !cameFrom(signal, thrown)) throw thrown;
    }
    endGracefully(connection.socket, scope.clock);
  }
}

/** Node's own functions reject with an AbortError whose cause is the signal's reason. */
const cameFrom = ({ reason }: AbortSignal, thrown: unknown) =>
  thrown === reason || (thrown instanceof Error && thrown.cause === reason);
