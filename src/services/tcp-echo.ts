import type { Socket } from 'node:net';
import { endGracefully, MOST_UNREAD_BYTES, pollPhase, roomToWrite } from '../net/connections.ts';
import { type Session, SocketService } from '../net/socket-service.ts';
import type { Scope } from '../service.ts';

/**
 * Sends back what it receives (RFC 862), over TLS with the option `tls`. A peer that ends its side still gets
 * the rest; one that does not read is not read from either.
 */
export class TcpEchoService extends SocketService {
  protected override accept(socket: Socket, { clock }: Scope): Session {
    socket.pipe(socket);
    return {
      drain: () =>
        void whenEchoed(socket).then(() => {
          socket.unpipe(socket);
          endGracefully(socket, clock);
        }),
    };
  }
}

/** Resolves when all that had arrived has been read and written, or the socket has closed. */
async function whenEchoed(socket: Socket): Promise<void> {
  const readUntil = socket.bytesRead + MOST_UNREAD_BYTES;
  for (let quiet = false; !quiet; ) {
    if (socket.writableNeedDrain) await roomToWrite(socket);
    const before = socket.bytesRead;
    await pollPhase();
    const moved = socket.bytesRead !== before || socket.writableNeedDrain;
    quiet = !moved || socket.destroyed || socket.bytesRead >= readUntil;
  }
}
