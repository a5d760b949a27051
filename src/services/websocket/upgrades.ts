import { createServer } from 'node:http';
import { formatAddress, type ListenOptions, listen } from '../../net/listen.ts';
import type { Scope } from '../../service.ts';
import { pathOf, refuse } from '../http/answers.ts';
import type { HttpService, UpgradeHandler } from '../http.ts';

/** Where upgrade requests come from, until it is disposed of. */
export interface UpgradeSource extends Disposable {
  readonly addresses: readonly string[];
}

/** The upgrade requests of one path of an http service. */
export function mountUpgrades(server: HttpService, path: string, handler: UpgradeHandler): UpgradeSource {
  const mount = server.mountUpgrade(path, handler);
  return {
    /** Asked anew each time: a restart may give the http service another port. */
    get addresses() {
      // A Unix socket is written as ws takes it.
      return server.addresses.map((address) =>
        address.startsWith('unix:') ? `ws+${address}:${path}` : `${address.replace(/^http/, 'ws')}${path}`,
      );
    },
    [Symbol.dispose]: () => mount[Symbol.dispose](),
  };
}

/** The upgrade requests of a port of its own, where plain requests are told to upgrade. */
export async function listenForUpgrades(
  { host, port }: ListenOptions,
  path: string,
  handler: UpgradeHandler,
  { signal, fail }: Scope,
): Promise<UpgradeSource> {
  const server = createServer((_request, response) => {
    response.writeHead(426, { connection: 'upgrade, close', upgrade: 'websocket' }).end();
  });
  server.on('upgrade', (request, socket, head) => {
    if (pathOf(request) === path) handler(request, socket, head);
    else refuse(socket, 404);
  });
  const address = await listen(server, { host, port }, signal);
  server.on('error', fail);
  return {
    addresses: [`${formatAddress(address, 'ws')}${path}`],
    [Symbol.dispose]: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
