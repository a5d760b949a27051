import { once } from 'node:events';
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Entrypoint, entrypoint, Service } from 'bosun';
import { AdminService } from 'bosun/services/admin';
import { TcpEchoService } from 'bosun/services/tcp-echo';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Answer, ask } from '../support/ask.ts';
import { RawClient } from '../support/raw-client.ts';

const token = 'a-token-of-the-tests';
const bearer = { authorization: `Bearer ${token}` };

class Other extends Service {
  override start(): void {}
}

const start = (options: ConstructorParameters<typeof AdminService>[0] = {}) =>
  entrypoint([new AdminService({ healthTimeoutMs: 10_000, ...options }), new Other()], {
    log: { level: 'silent' },
    ownsProcess: false,
  });

const addressOf = (daemon: Entrypoint) => daemon.services[0]?.addresses[0] ?? '';

const codeOf = ({ status, body }: Answer) => `${status} ${(JSON.parse(body) as { error: string }).error}`;

describe('with a token', () => {
  let daemon: Entrypoint;
  let address: string;

  beforeAll(async () => {
    daemon = await start({ port: 0, token });
    address = addressOf(daemon);
  });
  afterAll(() => daemon.stop());

  test('whoever has it is answered', async () => {
    expect((await ask(address, '/api/status', { headers: bearer })).status).toBe(200);
    const headers = { authorization: `bearer   ${token}` };
    expect((await ask(address, '/api/status', { headers })).status).toBe(200);
  });

  test.each([
    ['none', {}],
    ['one that is empty', { authorization: 'Bearer ' }],
    ['another scheme', { authorization: `Basic ${token}` }],
    ['one without a scheme', { authorization: token }],
    ['a wrong one', { authorization: 'Bearer wrong' }],
    ['the beginning of it', { authorization: `Bearer ${token.slice(0, -1)}` }],
    ['more than it', { authorization: `Bearer ${token}x` }],
    ['two', { authorization: `Bearer ${token} ${token}` }],
    ['a very long one', { authorization: `Bearer ${'x'.repeat(10_000)}` }],
  ])('%s is answered 401, with a challenge, whatever was asked for', async (_, headers) => {
    for (const [method, path] of [
      ['GET', '/api/status'],
      ['GET', '/metrics'],
      ['GET', '/no-such-page'],
      ['DELETE', '/api/status'],
      ['POST', '/api/services/admin/restart'],
      ['GET', '/dashboard/../api/status'],
      ['GET', '/api/stream?token=a-token-of-the-tests'],
    ] as const) {
      const answer = await ask(address, path, { method, headers });
      const expected = path.includes('..') ? '400 ERR_URL' : '401 ERR_UNAUTHORIZED';
      expect(codeOf(answer)).toBe(expected);
      if (answer.status === 401) expect(answer.headers['www-authenticate']).toMatch(/^Bearer realm="bosun"/);
    }
  });

  test.each(['/livez', '/readyz', '/startupz'])('%s needs none, and then tells nothing', async (path) => {
    const headers = { accept: 'application/json' };
    const stranger = await ask(address, `${path}?verbose`, { headers });
    expect([stranger.status, stranger.body]).toEqual([200, 'ok\n']);
    const known = await ask(address, path, { headers: { ...headers, ...bearer } });
    expect(JSON.parse(known.body)).toMatchObject({ ok: true });
    const guess = await ask(address, path, { headers: { authorization: 'Bearer wrong' } });
    expect(guess.status).toBe(401);
  });
});

describe('a crowd of guesses', () => {
  const guess = 'GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer guess\r\n\r\n';

  test('sixty thousand by one connection end it, and nothing else', async () => {
    await using daemon = await start({ port: 0, token });
    const address = addressOf(daemon);
    await using client = await RawClient.to(address);
    await client.send(guess.repeat(60_000)).catch(() => {}); // It may be cut off before it has sent them all.
    await client.ended;
    expect((await ask(address, '/api/status', { headers: bearer })).status).toBe(200);
    expect(daemon.services[0]).toMatchObject({ restarts: 0, lastError: undefined });
  });

  test('more than fifty by several connections are answered at once, and not to be sent on', async () => {
    await using daemon = await start({ port: 0, token });
    const address = addressOf(daemon);
    const clients: RawClient[] = [];
    for (let i = 0; i < 5; i++) {
      const client = await RawClient.to(address);
      clients.push(client);
      await client.send(guess.repeat(20));
    }
    const all = clients.map((client) => client.all());
    const [first] = await Promise.all(all.slice(-2));
    expect(first).toMatch(
      /^HTTP\/1.1 429 .*\r\n(.+\r\n)*retry-after: [45]\r\n(.+\r\n)*connection: close\r\n/i,
    );
    expect(first?.match(/HTTP\/1.1 /g)).toHaveLength(1);
    expect((await ask(address, '/api/status', { headers: bearer })).status).toBe(200);
    for (const client of clients) await client[Symbol.asyncDispose]();
  });
});

describe('who may ask', () => {
  let daemon: Entrypoint;
  let address: string;
  let port: string;

  beforeAll(async () => {
    daemon = await start({ port: 0, hosts: ['ops.example.org', 'fe80::1'] });
    address = addressOf(daemon);
    port = new URL(address).port;
  });
  afterAll(() => daemon.stop());

  const asked = (headers: Record<string, string>, method = 'GET', path = '/readyz') =>
    ask(address, path, { method, headers });

  test.each([
    '127.0.0.1',
    'localhost',
    'LOCALHOST',
    'localhost.',
    'localhost:1',
    '[::1]',
    '[::1]:80',
    '[0:0:0:0:0:0:0:1]',
    'ops.example.org',
    'Ops.Example.org:443',
    '[fe80::1]:80',
  ])('the Host %s is answered', async (host) => {
    expect((await asked({ host })).status).toBe(200);
  });

  test.each([
    'evil.example.org',
    'localhost.evil.example',
    'evil.example:7171',
    '127.0.0.1.evil.example',
    '10.0.0.1',
    'a@localhost',
    'localhost/',
    '[::2]',
    '[::1',
    ' ',
    'localhost:evil',
    'x'.repeat(5_000),
  ])('the Host %j is refused, for probes, too', async (host) => {
    for (const path of ['/readyz', '/api/status']) {
      const { status } = await asked({ host }, 'GET', path);
      expect([400, 421]).toContain(status);
    }
  });

  test.each([
    ['http://evil.example', '403 ERR_ORIGIN'],
    ['null', '403 ERR_ORIGIN'],
    ['', '403 ERR_ORIGIN'],
    ['http://localhost:1', '403 ERR_ORIGIN'],
    ['file://localhost', '403 ERR_ORIGIN'],
  ])('the Origin %j is refused, reading and acting', async (origin, expected) => {
    for (const method of ['GET', 'POST']) {
      const answer = await asked({ host: 'localhost', origin }, method, '/api/services/admin/restart');
      expect(codeOf(answer)).toBe(expected);
    }
  });

  test('the own Origin is answered', async () => {
    for (const scheme of ['http', 'https']) {
      const headers = { host: `localhost:${port}`, origin: `${scheme}://localhost:${port}` };
      expect((await asked(headers, 'GET', '/api/status')).status).toBe(200);
    }
  });

  test.each([
    ['cross-site', {}, 403],
    ['same-site', {}, 403],
    ['cross-site', { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' }, 403],
    ['cross-site', { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }, 200],
    ['same-origin', {}, 200],
    ['none', {}, 200],
  ])('what a browser says is %s (%j) is answered %i', async (site, more, status) => {
    const headers = { 'sec-fetch-site': site, ...(more as Record<string, string>) };
    expect((await asked(headers, 'GET', '/api/status')).status).toBe(status);
  });

  test('a form of another site cannot act, also not by navigating', async () => {
    const headers = {
      'sec-fetch-site': 'cross-site',
      'sec-fetch-mode': 'navigate',
      'sec-fetch-dest': 'document',
    };
    expect((await asked(headers, 'POST', '/api/services/admin/restart')).status).toBe(403);
  });

  test('nothing is ever allowed to other origins, kept, framed or sniffed', async () => {
    for (const [method, path] of [
      ['GET', '/livez'],
      ['OPTIONS', '/api/status'],
      ['GET', '/no-such-page'],
    ] as const) {
      const { headers } = await asked({ origin: `http://127.0.0.1:${port}` }, method, path);
      expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
      expect(headers).toMatchObject({
        'cache-control': 'no-store',
        'content-security-policy': expect.stringContaining("default-src 'none'"),
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
      });
    }
  });

  test('actions need POST', async () => {
    for (const path of ['/api/services/admin/restart', '/api/reload']) {
      const answer = await asked({}, 'GET', path);
      expect(codeOf(answer)).toBe('405 ERR_METHOD');
      expect(answer.headers.allow).toBe('POST');
    }
  });

  test('on an address of its own it is called by that', async () => {
    const [own] = Object.values(networkInterfaces())
      .flat()
      .filter((found) => found !== undefined && !found.internal && found.family === 'IPv4');
    await using everywhere = await start({ port: 0, host: '0.0.0.0', token });
    const { port } = new URL(addressOf(everywhere));
    const at = `http://127.0.0.1:${port}`;
    expect((await ask(at, '/livez')).status).toBe(200);
    if (own === undefined) return;
    expect((await ask(`http://${own.address}:${port}`, '/livez')).status).toBe(200);
    expect((await ask(at, '/livez', { headers: { host: own.address } })).status).toBe(421);
  });
});

describe('what is asked', () => {
  let daemon: Entrypoint;
  let address: string;

  beforeAll(async () => {
    daemon = await start({ port: 0 });
    address = addressOf(daemon);
  });
  afterAll(() => daemon.stop());

  const answersOn = async () => expect((await ask(address, '/livez')).status).toBe(200);

  test.each([
    '/%',
    '/%zz',
    '/%c0%ae',
    '/%00',
    '/..',
    '/../../etc/passwd',
    '/dashboard/../../etc/passwd',
    '/dashboard/%2e%2e/x',
    '/dashboard/..%2f..%2fx',
    '/dashboard/..%5c',
    '/api/services/%2e%2e/restart',
    '*',
    'http://127.0.0.1/livez',
    'livez',
  ])('the URL %s is answered 400', async (url) => {
    await using client = await RawClient.to(address);
    await client.send(`GET ${url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    expect(await client.all()).toMatch(/^HTTP\/1.1 400 /);
    await answersOn();
  });

  test.each(['//livez', '/livez/', '/LIVEZ', '/api/services//restart', '/constructor', '/__proto__'])(
    'the URL %s leads nowhere',
    async (url) => {
      await using client = await RawClient.to(address);
      await client.send(`GET ${url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
      expect(await client.all()).toMatch(/^HTTP\/1.1 40[45] /);
    },
  );

  test.each([
    ['no HTTP', 'hello\r\n\r\n'],
    ['bytes', '\x16\x03\x01\x02\0\x01'.repeat(20)],
    ['a negative length', 'POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n'],
    [
      'a length and chunks',
      'POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['a header without end', `GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}`],
    ['headers without end', `GET /livez HTTP/1.1\r\nHost: localhost\r\n${'a:b\r\n'.repeat(20_000)}`],
    ['an empty Host', 'GET /livez HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n'],
    ['no Host', 'GET /livez HTTP/1.1\r\n\r\n'],
    ['a tunnel', 'CONNECT example.org:443 HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ])('%s ends with the connection, and nothing else', async (_, text) => {
    await using client = await RawClient.to(address);
    await client.send(text);
    expect(await client.all()).toMatch(/^(HTTP\/1.1 4\d\d |$)/);
    await answersOn();
  });

  test('an Origin is not overlooked behind two thousand headers', async () => {
    await using client = await RawClient.to(address);
    const many = 'a:\r\n'.repeat(3_000);
    await client.send(
      `GET /livez HTTP/1.1\r\nHost: localhost\r\n${many}Origin: http://evil.example\r\nConnection: close\r\n\r\n`,
    );
    expect(await client.all()).toMatch(/^HTTP\/1.1 403 /);
  });

  test('HTTP/1.0 without a Host is served', async () => {
    await using client = await RawClient.to(address);
    await client.send('GET /livez HTTP/1.0\r\n\r\n');
    expect(await client.all()).toMatch(/^HTTP\/1.1 200 [\s\S]*\r\n\r\nok\n$/);
  });

  test('pipelined requests are answered in order', async () => {
    await using client = await RawClient.to(address);
    const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
    await client.send(request('/readyz') + request('/nowhere') + request('/livez').repeat(20));
    await client.until(/(ok\n[\s\S]*?){21}$/);
    const statuses = [...client.received.matchAll(/HTTP\/1.1 (\d+)/g)].map(([, status]) => status);
    expect(statuses).toEqual(['200', '404', ...Array.from({ length: 20 }, () => '200')]);
  });

  test('an upgrade is a request like any other', async () => {
    await using client = await RawClient.to(address);
    await client.send(
      'GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    );
    await client.until(/^HTTP\/1.1 200 [\s\S]*ok\n$/);
  });

  test('a body of 16 KiB is taken, a larger one is answered 413, with or without a length', async () => {
    const path = '/api/services/nobody/restart';
    const fits = await ask(address, path, { method: 'POST', body: 'x'.repeat(16_384) });
    expect(fits.status).toBe(404);
    const large = await ask(address, path, { method: 'POST', body: 'x'.repeat(16_385) });
    expect(codeOf(large)).toBe('413 ERR_BODY_TOO_LARGE');
    await using client = await RawClient.to(address);
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n`;
    await client.send(`${head}5000\r\n${'x'.repeat(0x5000)}\r\n`);
    expect(await client.all()).toMatch(/^HTTP\/1.1 413 /);
    await using liar = await RawClient.to(address);
    await liar.send(`POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1${'0'.repeat(15)}\r\n\r\n`);
    expect(await liar.all()).toMatch(/^HTTP\/1.1 413 /);
  });

  test('whoever sends a request too slowly is given up', { timeout: 60_000 }, async () => {
    await using silent = await RawClient.to(address);
    await using halting = await RawClient.to(address);
    await halting.send('GET /livez HTTP/1.1\r\nHost: loc');
    expect(await Promise.all([silent.all(), halting.all()])).toEqual([
      expect.stringMatching(/^(HTTP\/1.1 408 [\s\S]*)?$/),
      expect.stringMatching(/^HTTP\/1.1 408 /),
    ]);
  });
});

describe('many connections', () => {
  test('a probe gets through a thousand idle ones, and the daemon serves as ever', async () => {
    const echo = new TcpEchoService({ port: 0 });
    await using daemon = await entrypoint([new AdminService({ port: 0, healthTimeoutMs: 10_000 }), echo], {
      log: { level: 'silent' },
      ownsProcess: false,
    });
    const address = addressOf(daemon);
    const clients: RawClient[] = [];
    for (let i = 0; i < 1_000; i++) clients.push(await RawClient.to(address));
    expect((await ask(address, '/livez')).status).toBe(200);
    expect((await ask(address, '/readyz')).status).toBe(200);
    await using served = await RawClient.to(String(echo.addresses[0]).replace('tcp:', 'http:'));
    await served.send('hello\n');
    await served.until('hello\n');
    // The first ones were closed for the last, of which a hundred are kept, and for those that asked.
    await Promise.all(clients.slice(0, 900).map((client) => client.ended));
    expect(clients.slice(-90).filter(({ socket }) => socket.readyState !== 'open')).toEqual([]);
    await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()));
    expect((await ask(address, '/livez')).status).toBe(200);
  });

  test('a connection in use outlives those that are idle', async () => {
    await using daemon = await start({ port: 0, maxConnections: 3, token });
    const address = addressOf(daemon);
    await using busy = await RawClient.to(address);
    // Its body does not come.
    await busy.send(
      `POST /api/reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n`,
    );
    await busy.until('HTTP/1.1 100 Continue');
    const idle: RawClient[] = [];
    for (let i = 0; i < 10; i++) idle.push(await RawClient.to(address));
    expect((await ask(address, '/livez')).status).toBe(200);
    await busy.send('{}');
    await busy.until('HTTP/1.1 409 ');
    for (const client of idle) await client[Symbol.asyncDispose]();
  });

  test('when all are in use, the oldest goes', async () => {
    await using daemon = await start({ port: 0, maxConnections: 2 });
    const address = addressOf(daemon);
    const upload = async () => {
      const client = await RawClient.to(address);
      await client.send(
        'POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n',
      );
      await client.until('HTTP/1.1 100 Continue');
      return client;
    };
    const clients = [await upload(), await upload(), await upload(), await upload()];
    await clients[0]?.ended;
    expect((await ask(address, '/livez')).status).toBe(200);
    for (const client of clients) await client[Symbol.asyncDispose]();
  });

  test('a connection is used again', async () => {
    await using daemon = await start({ port: 0 });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    let connections = 0;
    agent.on('free', () => (connections += 1));
    for (let i = 0; i < 5; i++) {
      const { headers } = await ask(addressOf(daemon), '/livez', { agent });
      expect(headers.connection).toBe('keep-alive');
    }
    agent.destroy();
  });
});

describe('a Unix socket', () => {
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bosun-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('is for the own user alone, takes any Host, and is gone at the end', async () => {
    const path = join(folder, 'admin.sock');
    {
      await using daemon = await start({ path });
      expect(addressOf(daemon)).toBe(`unix:${path}`);
      expect((await stat(path)).mode & 0o777).toBe(0o600);
      expect(await readdir(folder)).toEqual(['admin.sock']);
      const headers = { host: 'whatever.example' };
      expect((await ask(`unix:${path}`, '/api/status', { headers })).status).toBe(200);
    }
    expect(await readdir(folder)).toEqual([]);
  });

  test('asks for the token, when there is one', async () => {
    const path = join(folder, 'guarded.sock');
    await using _daemon = await start({ path, token });
    expect((await ask(`unix:${path}`, '/api/status')).status).toBe(401);
    expect((await ask(`unix:${path}`, '/api/status', { headers: bearer })).status).toBe(200);
  });

  test('takes the place of one that was left behind', async () => {
    const path = join(folder, 'stale.sock');
    const { spawn } = await import('node:child_process');
    const code = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await once(spawn(process.execPath, ['-e', code], { env: {} }), 'exit');
    expect((await stat(path)).isSocket()).toBe(true);
    await using _daemon = await start({ path });
    expect((await ask(`unix:${path}`, '/livez')).status).toBe(200);
  });

  const failure = (daemon: Entrypoint) => {
    const state = daemon.services[0]?.state;
    return state !== undefined && 'error' in state ? state.error?.message : undefined;
  };

  test('does not take the place of one in use, of a file, or in a folder that is not safe', async () => {
    const used = join(folder, 'used.sock');
    const other = createServer().listen(used);
    await once(other, 'listening');
    const file = join(folder, 'file');
    await writeFile(file, 'text');
    const open = await mkdtemp(join(folder, 'open-'));
    await chmod(open, 0o777);
    {
      await using daemon = await start({ path: used });
      expect(addressOf(daemon)).toBe('');
    }
    for (const [path, why] of [
      [file, 'exists and is not a socket'],
      [join(open, 'a.sock'), 'anyone may write to'],
      [join(folder, 'nowhere', 'a.sock'), 'there is no directory'],
    ] as const) {
      await using daemon = await start({ path, restart: 'never' });
      expect(failure(daemon)).toContain(why);
    }
    expect(other.listening).toBe(true);
    other.close();
    expect((await readdir(open)).length).toBe(0);
  });
});
