import { createServer, type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { type Address, type ListenOptions, listen } from '../../net/listen.ts';
import type { Scope } from '../../service.ts';

/** Takes over a request to upgrade, as `http.Server` emits it. */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** A server of its own for WebSockets; plain requests are told to upgrade. It stops listening when disposed of. */
export interface UpgradeServer extends Disposable {
  readonly address: Address;
}

/** Serves upgrades on one path; other paths are answered with 404. */
export async function serveUpgrades(
  options: ListenOptions & { readonly path: string },
  handler: UpgradeHandler,
  { signal, fail }: Scope,
): Promise<UpgradeServer> {
  const server = createServer((_request, response) => {
    response.writeHead(426, { connection: 'upgrade, close', upgrade: 'websocket' }).end();
  });
  server.on('upgrade', (request, socket, head) => {
    if (request.url?.split('?', 1)[0] === options.path) handler(request, socket, head);
    else refuse(socket, 404);
  });
  const address = await listen(server, { host: options.host, port: options.port }, signal);
  server.on('error', fail);
  return {
    address,
    [Symbol.dispose]: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Answers a request to upgrade with an error, and closes. */
export function refuse(socket: Duplex, status: number): void {
  socket.on('error', () => socket.destroy());
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
