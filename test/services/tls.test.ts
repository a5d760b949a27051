import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { type Entrypoint, entrypoint } from 'bosun';
import { type TcpConnection, TcpService } from 'bosun/services/tcp';
import { TcpEchoService } from 'bosun/services/tcp-echo';
import { settle } from 'bosun/testing';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type CertificateFiles, makeCertificate } from '../support/certificates.ts';
import { TcpClient } from '../support/tcp-client.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;
let directory: string;
let server: CertificateFiles;
let friend: CertificateFiles;
let stranger: CertificateFiles;
let daemon: Entrypoint | undefined;

const pem = ({ certFile, keyFile }: CertificateFiles) => ({
  cert: readFileSync(certFile),
  key: readFileSync(keyFile),
});
const trusting = () => ({ ca: readFileSync(server.certFile) });

async function run<Running extends TcpEchoService | TcpService>(service: Running): Promise<Running> {
  daemon = await entrypoint([service], quiet);
  return service;
}

const connectTo = (service: TcpEchoService | TcpService, options: object = {}) =>
  TcpClient.to(service.addresses[0] as string, { ...trusting(), ...options });

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bosun-tls-'));
  server = await makeCertificate(directory, 'server');
  friend = await makeCertificate(directory, 'friend');
  stranger = await makeCertificate(directory, 'stranger');
});

afterEach(async () => {
  await daemon?.stop();
  daemon = undefined;
});

afterAll(() => rm(directory, { recursive: true }));

it('echoes over TLS, also large data and a client that ends its side', async () => {
  const service = await run(new TcpEchoService({ tls: server }));
  expect(service.addresses[0]).toMatch(/^tls:\/\/127\.0\.0\.1:\d+$/);
  await using client = await connectTo(service);
  const data = Buffer.alloc(3 * 1024 * 1024, 'tls');
  client.socket.write(data);
  await client.receive(data.length);
  expect((await client.end('!')).equals(Buffer.concat([data, Buffer.from('!')]))).toBe(true);
});

it('hands a TLS connection to a TcpService, with the certificate of the client', async () => {
  class Greeter extends TcpService {
    protected override async handle(connection: TcpConnection) {
      const { subject } = (connection.socket as TLSSocket).getPeerCertificate();
      await connection.write(`hello ${String(subject?.CN)}`);
    }
  }
  const tls = { ...server, caFile: friend.certFile, clientCertificates: 'require' } as const;
  const service = await run(new Greeter({ tls }));
  await using client = await connectTo(service, pem(friend));
  await client.ended;
  expect(String(client.received)).toBe('hello localhost');
});

it.each([
  ['without a certificate', () => ({})],
  ['with one of another authority', () => pem(stranger)],
])('turns away a client %s where one is required, and counts it', async (_, options) => {
  const tls = { ...server, caFile: friend.certFile, clientCertificates: 'require' } as const;
  const service = await run(new TcpEchoService({ tls }));
  // With TLS 1.3 the client is connected before the server has seen its certificate.
  const refused = connectTo(service, options()).then((client) => client.end('let me in').then(String));
  await expect(refused.catch(() => '')).resolves.toBe('');
  await using known = await connectTo(service, pem(friend));
  expect(String(await known.end('friend'))).toBe('friend');
  expect(service.statistics).toMatchObject({ failedHandshakes: 1, accepted: 1 });
});

it('survives handshakes that are rubbish', async () => {
  const service = await run(new TcpEchoService({ tls: server }));
  const { port } = new URL(service.addresses[0] as string);
  for (let i = 0; i < 10; i++) {
    const socket = connect(Number(port), '127.0.0.1');
    socket.on('error', () => {});
    socket.end('GET / HTTP/1.1\r\n\r\n');
    socket.resume();
    await once(socket, 'close');
  }
  await using client = await connectTo(service);
  expect(String(await client.end('fine'))).toBe('fine');
  expect(service.statistics.failedHandshakes).toBe(10);
  expect(daemon?.services[0]).toMatchObject({ state: { status: 'running' }, restarts: 0 });
});

it('echoes what had arrived when it is stopped, and does not wait for unfinished handshakes', async () => {
  const service = await run(new TcpEchoService({ tls: server }));
  const { port } = new URL(service.addresses[0] as string);
  const silent = connect(Number(port), '127.0.0.1');
  silent.on('error', () => {});
  const silentClosed = once(silent.resume(), 'close');
  await once(silent, 'connect');
  await using client = await connectTo(service);
  await client.send('x');
  await client.receive(1);
  const data = Buffer.alloc(100_000, 'y');
  await client.send(data);
  const stopped = daemon?.stop();
  expect(await client.ended).toBe('end');
  client.socket.end();
  await stopped;
  expect(client.received.length).toBe(1 + data.length);
  await silentClosed;
  await settle();
  expect((await daemon?.closed)?.exitCode).toBe(0);
});

it('refuses to start with a certificate that is not there, and names the file', async () => {
  const certFile = join(directory, 'missing.crt');
  await expect(run(new TcpEchoService({ tls: { ...server, certFile } }))).rejects.toMatchObject({
    code: 'ERR_SERVICE_START',
    cause: { code: 'ERR_CERTIFICATE', message: expect.stringContaining(certFile) },
  });
});
