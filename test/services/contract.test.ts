import { once } from 'node:events';
import { connect } from 'node:net';
import { CacheService } from 'bosun/services/cache';
import { HttpService } from 'bosun/services/http';
import { PeriodicService } from 'bosun/services/periodic';
import { PostgresService } from 'bosun/services/postgres';
import { type TcpConnection, TcpService } from 'bosun/services/tcp';
import { TcpEchoService } from 'bosun/services/tcp-echo';
import { UdpService } from 'bosun/services/udp';
import { WebSocketService } from 'bosun/services/websocket';
import { type ContractSubject, contractCases } from 'bosun/testing';
import { afterAll, beforeAll, describe, test } from 'vitest';
import WebSocket from 'ws';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

class Http extends HttpService {
  protected override createApplication() {
    return () => {}; // It never answers.
  }
}

class Tcp extends TcpService {
  protected override handle(connection: TcpConnection): Promise<void> {
    return new Promise((resolve) => connection.signal.addEventListener('abort', () => resolve()));
  }
}

class Udp extends UdpService {
  protected override handle(): void {}
}

class Sockets extends WebSocketService {}

class Periodic extends PeriodicService {
  protected override callback(): void {}
}

class Cache extends CacheService<number> {
  protected override load(): number {
    return 1;
  }
}

/** A connection to what a service serves, with something sent on it. */
async function connection(address: string | undefined, text: string): Promise<() => unknown> {
  const { hostname, port } = new URL(address as string);
  const socket = connect({ port: Number(port), host: hostname });
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.write(text);
  return () => socket.destroy();
}

let postgres: TestPostgres;

beforeAll(async () => {
  postgres = await startPostgres();
});

afterAll(() => postgres[Symbol.asyncDispose]());

const subjects: readonly (ContractSubject & { readonly type: string })[] = [
  {
    type: 'http',
    make: () => new Http({ port: 0 }),
    badOptions: [{ port: 65_536 }, { port: -1 }, { port: '80' }, { accessLog: 'loud' }, { host: '' }],
    hold: (service) => connection(service.addresses[0], 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'),
  },
  {
    type: 'tcp',
    make: () => new Tcp({ port: 0 }),
    badOptions: [{ port: 65_536 }, { maxConnections: 0 }, { idleTimeoutMs: -1 }],
    hold: (service) => connection(service.addresses[0], 'x'),
  },
  {
    type: 'tcp-echo',
    make: () => new TcpEchoService({ port: 0 }),
    badOptions: [{ port: 1.5 }],
    hold: (service) => connection(service.addresses[0], 'x'.repeat(100_000)),
  },
  { type: 'udp', make: () => new Udp({ port: 0 }), badOptions: [{ port: 65_536 }, { maxInFlight: 0 }] },
  {
    type: 'websocket',
    make: () => new Sockets({ port: 0 }),
    badOptions: [{}, { port: 0, path: 'no-slash' }, { port: 0, maxPayloadBytes: -1 }],
    hold: async (service) => {
      const socket = new WebSocket(service.addresses[0] as string);
      socket.on('error', () => {});
      await once(socket, 'open');
      return () => socket.terminate();
    },
  },
  {
    type: 'websocket on an http service',
    make: () => new Sockets({ server: new Http({ port: 0 }) }),
    badOptions: [{ server: 'http' }],
  },
  {
    type: 'periodic',
    make: () => new Periodic({ intervalMs: 1_000 }),
    badOptions: [{}, { intervalMs: '1s' }],
  },
  { type: 'cache', make: () => new Cache({ intervalMs: 1_000 }), badOptions: [{}, { intervalMs: -1 }] },
  {
    type: 'postgres',
    make: () => new PostgresService({ url: postgres.url }),
    badOptions: [{}, { url: 'http://127.0.0.1' }, { url: 'embedded', poolSize: 0 }],
    hold: async (service) => {
      const given = Promise.withResolvers<void>();
      const kept = Promise.withResolvers<void>();
      const held = (service as PostgresService).withClient(() => {
        given.resolve();
        return kept.promise;
      });
      await given.promise;
      return () => {
        kept.resolve();
        return held.catch(() => {});
      };
    },
  },
];

describe.each(subjects)('$type', (subject) => {
  for (const { name, run } of contractCases(subject)) test(name, run);
});
