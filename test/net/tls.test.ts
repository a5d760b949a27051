import { createPrivateKey } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { Agent, get } from 'node:https';
import { connect as connectPlain } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { type Entrypoint, entrypoint } from 'bosun';
import { HttpService } from 'bosun/services/http';
import { FakeClock } from 'bosun/testing';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { loadTls, tlsSchema } from '../../src/net/tls.ts';
import { makeCertificate } from '../support/certificates.ts';

class Hello extends HttpService {
  protected override createApplication() {
    return { fetch: (request: Request) => new Response(request.url) };
  }
}

type Tls = NonNullable<NonNullable<ConstructorParameters<typeof Hello>[0]>['tls']>;

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;
let directory: string;
let server: { certFile: string; keyFile: string };
let other: { certFile: string; keyFile: string };
let daemon: Entrypoint | undefined;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bosun-tls-'));
  server = await makeCertificate(directory);
  other = await makeCertificate(directory, 'other');
  await writeFile(join(directory, 'rubbish'), 'rubbish');
  const encryption = { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' } as const;
  const encrypted = createPrivateKey(await readFile(server.keyFile)).export(encryption);
  await writeFile(join(directory, 'encrypted.key'), encrypted);
});

afterEach(async () => {
  await daemon?.stop();
  daemon = undefined;
});

afterAll(() => rm(directory, { recursive: true }));

async function run(tls: Tls): Promise<string> {
  const service = new Hello({ port: 0, tls });
  daemon = await entrypoint([service], quiet);
  return service.addresses[0] as string;
}

/** The body of an answer over a connection of its own. */
async function fetchOver(url: string, options: object = {}): Promise<string> {
  const agent = new Agent({ ca: readFileSync(server.certFile), ...options });
  try {
    return await new Promise<string>((resolve, reject) => {
      get(url, { agent }, async (response) => {
        let body = '';
        for await (const chunk of response) body += chunk;
        resolve(body);
      }).on('error', reject);
    });
  } finally {
    agent.destroy();
  }
}

describe('certificates', () => {
  it('make the service speak HTTPS', async () => {
    const base = await run(server);
    expect(base).toMatch(/^https:\/\/127.0.0.1:\d+$/);
    expect(await fetchOver(base)).toBe(`${base}/`);
  });

  it.each<[string, () => Tls, object]>([
    ['is missing', () => ({ ...server, certFile: join(directory, 'none') }), { reason: 'missing' }],
    ['has no key', () => ({ ...server, keyFile: join(directory, 'none') }), { reason: 'missing' }],
    ['is a directory', () => ({ ...server, certFile: directory }), { reason: 'unreadable' }],
    [
      'is no certificate',
      () => ({ ...server, certFile: join(directory, 'rubbish') }),
      { reason: 'malformed' },
    ],
    [
      'has a key that is none',
      () => ({ ...server, keyFile: join(directory, 'rubbish') }),
      { reason: 'malformed' },
    ],
    [
      'has an encrypted key',
      () => ({ ...server, keyFile: join(directory, 'encrypted.key') }),
      { reason: 'encrypted' },
    ],
    ['belongs to another key', () => ({ ...server, keyFile: other.keyFile }), { reason: 'mismatch' }],
    [
      'has a bad authority',
      () => ({ ...server, caFile: join(directory, 'rubbish') }),
      { reason: 'malformed' },
    ],
  ])('one that %s is an error that names the file', async (_, tls, cause) => {
    const failure = run(tls());
    await expect(failure).rejects.toMatchObject({ cause: { code: 'ERR_CERTIFICATE', ...cause } });
    await expect(failure).rejects.toThrow(directory);
  });

  it('of clients can be required', async () => {
    const base = await run({ ...server, caFile: other.certFile, clientCertificates: 'require' });
    await expect(fetchOver(base)).rejects.toThrow();
    const own = { cert: readFileSync(other.certFile), key: readFileSync(other.keyFile) };
    expect(await fetchOver(base, own)).toBe(`${base}/`);
  });

  it('that have expired are warned of, and served', async () => {
    const lines: string[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
    const options = tlsSchema.parse(server);
    await loadTls(options, { log, clock: new FakeClock() });
    expect(lines).toEqual([]);
    await loadTls(options, { log, clock: new FakeClock(Date.UTC(2100, 0)) });
    expect(lines.map((line) => JSON.parse(line).msg)).toEqual([
      `the certificate in ${server.certFile} has expired`,
    ]);
  });

  it('are not what an old protocol is spoken with', async () => {
    const base = await run({ ...server, minVersion: 'TLSv1.3' });
    await expect(fetchOver(base, { maxVersion: 'TLSv1.2' })).rejects.toThrow();
  });
});

describe('an https service that stops', () => {
  it('does not wait for a client that never completes its handshake, nor for an idle one', async () => {
    const base = await run(server);
    const { hostname, port } = new URL(base);
    const silent = connectPlain(Number(port), hostname);
    await once(silent, 'connect');
    const idle = connect({
      host: hostname,
      port: Number(port),
      ca: readFileSync(server.certFile),
      servername: 'localhost',
    });
    await once(idle, 'secureConnect');
    const closed = [once(silent, 'close'), once(idle, 'close')];
    silent.on('error', () => {});
    await daemon?.stop();
    await Promise.all(closed);
  });
});
