import { once } from 'node:events';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BosunEvent, Entrypoint, entrypoint, OptionsError } from 'bosun';
import { HttpService } from 'bosun/services/http';
import { expect, test } from 'vitest';
import { makeCertificate } from '../support/certificates.ts';
import { isListening, Peer, RawPeer, statusOf } from './websocket/peers.ts';
import { Probe } from './websocket/probe.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

class Hello extends HttpService {
  protected override createApplication() {
    return { fetch: () => new Response('hello') };
  }
}

test('an http service serves WebSockets on one path and its own answers on the others', async () => {
  const server = new Hello({ port: 0 });
  const probe = new Probe({ server, path: '/ws/probe' });
  await using _daemon = await entrypoint([server, probe], quiet);
  const [http = ''] = server.addresses;
  expect(probe.addresses).toEqual([`${http.replace('http', 'ws')}/ws/probe`]);
  await using peer = await Peer.connect(`${probe.url}?page=1`);
  peer.socket.send('mounted');
  expect(await peer.next()).toBe('mounted');
  expect(await statusOf(http)).toMatchObject({ status: 200 });
  await expect(Peer.connect(`${http.replace('http', 'ws')}/other`)).rejects.toThrow('answered with 404');
  await expect(Peer.connect(probe.url, { origin: 'http://evil.example.com' })).rejects.toThrow('with 403');
});

test('it starts after the http service and stops before it, with 1001 and without force', async () => {
  const server = new Hello({ port: 0 });
  const probe = new Probe({ server });
  const daemon = new Entrypoint([probe, server], quiet);
  const order: string[] = [];
  const note = ({ type, service }: Extract<BosunEvent, { service: string }>) =>
    order.push(`${service} ${type}`);
  daemon.on('service-running', note);
  daemon.on('service-stopped', note);
  await daemon.start();
  await using peer = await Peer.connect(probe.url);
  const { url } = probe;
  await daemon.stop();
  expect(await peer.closed).toMatchObject({ code: 1001 });
  expect(order).toEqual([
    'hello service-running',
    'probe service-running',
    'probe service-stopped',
    'hello service-stopped',
  ]);
  expect(await isListening(url)).toBe(false);
  expect(await daemon.closed).toMatchObject({ exitCode: 0 });
});

test('a restart of the http service leaves the clients connected, and new ones find the path again', async () => {
  const server = new Hello({ port: 0 });
  const probe = new Probe({ server });
  await using daemon = await entrypoint([server, probe], quiet);
  await using before = await Peer.connect(probe.url);
  await daemon.restart('hello');
  before.socket.send('still here');
  expect(await before.next()).toBe('still here');
  await using after = await Peer.connect(probe.url);
  after.socket.send('new');
  expect(await after.next()).toBe('new');
  expect(probe.clients.size).toBe(2);
});

test('a restart of the WebSocket service closes its clients, and new ones find the path again', async () => {
  const server = new Hello({ port: 0 });
  const probe = new Probe({ server });
  await using daemon = await entrypoint([server, probe], quiet);
  await using before = await Peer.connect(probe.url);
  await daemon.restart('probe');
  expect(await before.closed).toMatchObject({ code: 1001 });
  await using after = await Peer.connect(probe.url);
  after.socket.send('new');
  expect(await after.next()).toBe('new');
});

test('while it stops it refuses new clients with 503', async () => {
  const server = new Hello({ port: 0 });
  const probe = new Probe({ server });
  const working = Promise.withResolvers<void>();
  probe.close = () => working.promise;
  await using daemon = await entrypoint([server, probe], quiet);
  await using _peer = await Peer.connect(probe.url);
  const { url } = probe;
  const restarted = daemon.restart('probe');
  await probe.until(() => probe.closes.length === 1);
  await expect(Peer.connect(url)).rejects.toThrow('answered with 503');
  working.resolve();
  await restarted;
});

test('two services share an http service by their paths, and not one path', async () => {
  const server = new Hello({ port: 0 });
  const a = new Probe({ name: 'a', server, path: '/a' });
  const b = new Probe({ name: 'b', server, path: '/b' });
  const again = new Probe({ name: 'again', server, path: '/a' });
  await using daemon = await entrypoint([server, a, b], quiet);
  await using _toA = await Peer.connect(a.url);
  expect([a.clients.size, b.clients.size]).toEqual([1, 0]);
  await expect(daemon.add(again)).rejects.toMatchObject({ cause: { code: 'ERR_HTTP_UPGRADE_PATH_TAKEN' } });
  await using _alsoToA = await Peer.connect(a.url);
  expect(a.clients.size).toBe(2);
});

test('a client with a broken frame leaves the http service undisturbed', async () => {
  const server = new Hello({ port: 0 });
  const probe = new Probe({ server });
  await using _daemon = await entrypoint([server, probe], quiet);
  await using raw = await RawPeer.connect(probe.url);
  raw.socket.write(Buffer.from([0xff, 0xff, 0xff]));
  expect(await raw.closeCode()).toBe(1002);
  expect(await statusOf(server.addresses[0] ?? '')).toMatchObject({ status: 200 });
});

test('on a Unix socket the address is one that ws takes', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'bosun-ws-'));
  const path = join(directory.path, 'http.sock');
  const server = new Hello({ path });
  const probe = new Probe({ server });
  await using _daemon = await entrypoint([server, probe], quiet);
  expect(probe.url).toBe(`ws+unix:${path}:/ws`);
  await using _peer = await Peer.connect(probe.url);
  expect(probe.only.remote).toBe('a Unix socket');
});

test('over TLS the address is wss, and a page that is not over TLS may not connect', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'bosun-ws-'));
  const tls = await makeCertificate(directory.path);
  const server = new Hello({ port: 0, tls });
  const probe = new Probe({ server });
  await using _daemon = await entrypoint([server, probe], quiet);
  const { host } = new URL(probe.url);
  expect(probe.url).toBe(`wss://${host}/ws`);
  const connect = (origin: string) => Peer.connect(probe.url, { origin, rejectUnauthorized: false });
  await expect(connect(`http://${host}`)).rejects.toThrow('answered with 403');
  await using peer = await connect(`https://${host}`);
  peer.socket.send('encrypted');
  expect(await peer.next()).toBe('encrypted');
  const { socket } = probe.only.request;
  peer.socket.terminate();
  await once(socket, 'close');
});

test.each([
  [{ port: 0 }, 'option "port" cannot be combined with "server", received 0'],
  [{ host: '::1' }, 'option "host" cannot be combined with "server", received "::1"'],
])('with a server, %j has no meaning and is refused', (options, message) => {
  const make = () => new Probe({ server: new Hello({ port: 0 }), ...options });
  expect(make).toThrow(OptionsError);
  expect(make).toThrow(message);
});
