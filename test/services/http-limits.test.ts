import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, type Entrypoint, entrypoint, systemClock } from 'bosun';
import { HttpService } from 'bosun/services/http';
import { FakeClock } from 'bosun/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { RawClient } from '../support/raw-client.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

class Hello extends HttpService {
  protected override createApplication() {
    return { fetch: async (request: Request) => new Response(`hello ${await request.text()}`) };
  }
}

let daemon: Entrypoint | undefined;

let hello: Hello | undefined;

async function run(
  options: ConstructorParameters<typeof Hello>[0],
  clock: Clock = systemClock,
): Promise<string> {
  hello = new Hello({ port: 0, ...options });
  daemon = await entrypoint([hello], { ...quiet, clock });
  return hello.addresses[0] as string;
}

afterEach(async () => {
  await daemon?.abort().catch(() => {});
  daemon = undefined;
  hello = undefined;
});

describe('a client', () => {
  it.each([
    ['speaks no HTTP', 'what?\r\n\r\n'],
    ['sends an impossible header', 'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n'],
    [
      'sends two lengths',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
    ],
    ['names no host', 'GET / HTTP/1.1\r\n\r\n'],
  ])('that %s is answered 400 and left', async (_, text) => {
    await using client = await RawClient.to(await run({}));
    await client.send(text);
    expect(await client.all()).toMatch(/^HTTP\/1.1 400 Bad Request\r\n/);
  });

  it('whose header is too large is answered 431 and left', async () => {
    const base = await run({ maxHeaderBytes: 2_000 });
    const get = (length: number) =>
      `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Long: ${'x'.repeat(length)}\r\n\r\n`;
    for (const [length, status] of [
      [1_800, 200],
      [3_000, 431],
      [1_000_000, 431],
    ] as const) {
      await using client = await RawClient.to(base);
      client.send(get(length)).catch(() => {});
      expect(await client.all()).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    }
  });

  it('that does not complete its header in time is answered 408 and left', async () => {
    await using client = await RawClient.to(await run({ headersTimeoutMs: 50 }));
    await client.send('GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ');
    expect(await client.all()).toMatch(/^HTTP\/1.1 408 Request Timeout\r\n/);
  });

  it('that says nothing at all is left', async () => {
    await using client = await RawClient.to(await run({ headersTimeoutMs: 50 }));
    expect(await client.all()).toMatch(/^HTTP\/1.1 408 Request Timeout\r\n/);
  });

  it('that does not complete its body in time is answered 408 and left', async () => {
    await using client = await RawClient.to(await run({ requestTimeoutMs: 50 }));
    await client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345');
    expect(await client.all()).toMatch(/^HTTP\/1.1 408 Request Timeout\r\n/);
  });

  it('that keeps its connection without a request is left after keepAliveTimeoutMs, as it was told', async () => {
    const clock = new FakeClock();
    await using client = await RawClient.to(await run({ keepAliveTimeoutMs: 72_000 }, clock));
    await client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.until(/\r\n0\r\n\r\n$/);
    await clock.advance(71_999);
    await client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.until(/hello[\s\S]*hello[\s\S]*\r\n0\r\n\r\n$/);
    await clock.advance(71_999);
    expect(hello?.statistics.connections).toBe(1);
    await clock.advance(1_001);
    expect(await client.all()).toMatch(/^HTTP\/1.1 200 [\s\S]*Keep-Alive: timeout=72\r\n/);
  });

  it('whose request takes longer than keepAliveTimeoutMs is not left', async () => {
    const clock = new FakeClock();
    await using client = await RawClient.to(await run({ keepAliveTimeoutMs: 50 }, clock));
    await client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1');
    while (hello?.statistics.inFlight !== 1) await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(10_000);
    await client.send('2');
    await client.until(/hello 12\r\n0\r\n\r\n$/);
    await clock.advance(100);
    await client.all();
  });

  it('is never left, nor told so, without a keepAliveTimeoutMs', async () => {
    const clock = new FakeClock();
    await using client = await RawClient.to(
      await run({ keepAliveTimeoutMs: Number.POSITIVE_INFINITY }, clock),
    );
    await client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await client.until(/\r\n0\r\n\r\n$/)).not.toMatch(/^Keep-Alive:/im);
    await clock.advance(10 * 86_400_000);
    await client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.until(/hello[\s\S]*hello[\s\S]*\r\n0\r\n\r\n$/);
  });

  it('that is left, but holds on to its connection, loses it after a second', async () => {
    const clock = new FakeClock();
    const base = await run({}, clock);
    await using client = await RawClient.to(base, { allowHalfOpen: true });
    await client.send('what?\r\n\r\n');
    expect(await client.all()).toMatch(/^HTTP\/1.1 400 /);
    await clock.advance(999);
    expect(hello?.statistics.connections).toBe(1);
    await clock.advance(1);
    await client.send('more').catch(() => {});
    while (hello?.statistics.connections !== 0) await new Promise((resolve) => setImmediate(resolve));
  });

  it('gets the answers to its requests before that to what is malformed', async () => {
    await using client = await RawClient.to(await run({}));
    await client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\nrubbish\r\n\r\n');
    expect(await client.all()).toMatch(/^HTTP\/1.1 200 [\s\S]*Connection: close[\s\S]*hello/);
  });

  it('that comes on top of maxConnections is not taken, until another has left', async () => {
    const base = await run({ maxConnections: 1 });
    const get = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
    const first = await RawClient.to(base);
    await first.send(get);
    await first.until('hello');
    await using second = await RawClient.to(base);
    expect(await second.all()).toBe('');
    const service = daemon?.services[0];
    expect(service?.state.status).toBe('running');
    await first[Symbol.asyncDispose]();
    for (;;) {
      await using third = await RawClient.to(base);
      third.send(get).catch(() => {});
      if ((await Promise.race([third.until('hello'), third.all()])).includes('hello')) break;
    }
  });
});

describe('a listener', () => {
  it('whose port is in use is an error that names it', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    const failure = entrypoint([new Hello({ port })], quiet);
    await expect(failure).rejects.toThrow(
      `service "hello" could not start: port ${port} on 127.0.0.1 is in use`,
    );
    await expect(failure).rejects.toMatchObject({ cause: { code: 'ERR_LISTEN', reason: 'in-use' } });
    await new Promise((resolve) => other.close(resolve));
  });

  it('can be a Unix socket, which is gone when the service has stopped', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'bosun-http-'));
    const path = join(directory, 'app.sock');
    const service = new Hello({ path });
    daemon = await entrypoint([service], quiet);
    expect(service.addresses).toEqual([`unix:${path}`]);
    await using client = await RawClient.to(`unix:${path}`);
    await client.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(await client.all()).toContain('hello');
    await daemon.stop();
    await expect(RawClient.to(`unix:${path}`)).rejects.toMatchObject({ code: 'ENOENT' });
    await chmod(directory, 0o700);
    await rm(directory, { recursive: true });
  });
});

describe('options', () => {
  it.each([
    [{ port: 65_536 }, 'option "port" must be at most 65535, received 65536'],
    [{ port: -1 }, 'option "port" must be at least 0, received -1'],
    [{ port: 80.5 }, 'option "port" must be an integer, received 80.5'],
    [{ host: '' }, 'option "host" must be at least 1 characters long, received ""'],
    [
      { headersTimeoutMs: 0 },
      'option "headersTimeoutMs" must be greater than 0 (Infinity: no limit), received 0',
    ],
    [{ maxConnections: 0 }, 'option "maxConnections" must be at least 1, received 0'],
    [{ maxBodyBytes: -1 }, 'option "maxBodyBytes" must be a number of bytes'],
    [{ accessLog: 'loud' as 'info' }, 'option "accessLog" must be one of'],
    [{ path: '/run/a.sock', port: 1 }, 'option "port" cannot be combined with "path"'],
    [{ path: '/run/a.sock', host: '::' }, 'option "host" cannot be combined with "path"'],
    [{ prot: 1 } as object, 'did you mean "port"?'],
    [{ tls: { certFile: 'a' } } as object, 'option "tls.keyFile" is required'],
  ])('%j are refused: %s', (options, message) => {
    expect(() => new Hello(options)).toThrow(
      expect.objectContaining({ code: 'ERR_OPTIONS', message: expect.stringContaining(message) }),
    );
  });

  it('that have been parsed make the same service again', () => {
    const { options } = new Hello({ path: '/run/a.sock' });
    expect(new Hello(options).options).toEqual(options);
  });
});
