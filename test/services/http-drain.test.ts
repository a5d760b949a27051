import { Entrypoint, entrypoint, type Scope } from 'bosun';
import { type Application, HttpService } from 'bosun/services/http';
import { FakeClock } from 'bosun/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { RawClient } from '../support/raw-client.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

/** Answers a request when the test says so. */
class Held extends HttpService {
  readonly arrived: string[] = [];
  readonly #releases = new Map<string, () => void>();
  #waiting: { readonly path: string; readonly resolve: () => void }[] = [];

  protected override createApplication() {
    return {
      fetch: async (request: Request) => {
        const { pathname } = new URL(request.url);
        if (pathname === '/now') return new Response('answer to /now');
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#releases.set(pathname, resolve);
        this.arrived.push(pathname);
        for (const { resolve: wake } of this.#waiting.filter(({ path }) => path === pathname)) wake();
        await promise;
        return new Response(`answer to ${pathname}`);
      },
    };
  }

  /** Resolves when a request for the path has arrived. */
  async has(path: string): Promise<void> {
    if (this.arrived.includes(path)) return;
    await new Promise<void>((resolve) => this.#waiting.push({ path, resolve }));
  }

  release(path: string): void {
    this.#releases.get(path)?.();
  }
}

/** Stops the daemon; `then` is called when the service has been told to, before anything is done about it. */
async function stopping(then = () => {}): Promise<{ readonly stopped: Promise<void> }> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const off = daemon?.on('service-stopping', () => {
    off?.();
    then();
    resolve();
  });
  const stopped = (daemon as Entrypoint).stop();
  stopped.catch(() => {});
  await promise;
  await turn();
  return { stopped };
}

const turn = () => new Promise<void>((resolve) => void setImmediate(resolve));

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

let daemon: Entrypoint | undefined;
let service: Held;

async function run(
  options: ConstructorParameters<typeof Held>[0] = {},
  settings: object = {},
): Promise<string> {
  service = new Held({ port: 0, ...options });
  daemon = await entrypoint([service], { ...quiet, ...settings });
  return service.addresses[0] as string;
}

afterEach(async () => {
  await daemon?.abort().catch(() => {});
  daemon = undefined;
});

describe('a service that stops', () => {
  it('accepts no more connections', async () => {
    const base = await run();
    await daemon?.stop();
    await expect(RawClient.to(base)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('completes requests in flight, tells their clients to close, and closes', async () => {
    await using client = await RawClient.to(await run());
    await client.send(get('/slow'));
    await service.has('/slow');
    const { stopped } = await stopping();
    service.release('/slow');
    expect(await client.all()).toMatch(/^HTTP\/1.1 200 [\s\S]*Connection: close[\s\S]*answer to \/slow/i);
    expect(await client.ended).toBe('fin');
    await stopped;
  });

  it('closes idle connections at once, used or not, and does not wait for time to pass', async () => {
    const clock = new FakeClock();
    const base = await run({}, { clock });
    await using used = await RawClient.to(base);
    await used.send(get('/now'));
    await used.until('answer');
    await using unused = await RawClient.to(base);
    await clock.advance(100);
    const stopped = daemon?.stop();
    await clock.advance(0);
    await stopped;
    expect([await used.ended, await unused.ended]).toEqual(['fin', 'fin']);
  });

  it('gives a connection that was used within 100 ms the rest of them to be used again', async () => {
    const clock = new FakeClock();
    const base = await run({}, { clock });
    await using again = await RawClient.to(base);
    await using once = await RawClient.to(base);
    for (const client of [again, once]) {
      await client.send(get('/now'));
      await client.until('answer');
      client.received = '';
    }
    const stopped = daemon?.stop();
    await clock.advance(99);
    await again.send(get('/now'));
    expect(await again.all()).toMatch(/connection: close[\s\S]*answer to \/now/i);
    expect(once.socket.readableEnded).toBe(false);
    while (service.statistics.connections > 1) await turn();
    await clock.advance(1);
    expect(await once.all()).toBe('');
    await stopped;
  });

  it('answers a request that has arrived on an idle connection', async () => {
    const base = await run();
    const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.to(base)));
    for (const client of clients) {
      await client.send(get('/now'));
      await client.until('answer');
      client.received = '';
    }
    const { stopped } = await stopping(() => {
      // With the kernel, and not read yet by the server, which shares this thread.
      for (const { socket } of clients) socket.write(get('/now'));
    });
    for (const client of clients) expect(await client.all()).toContain('answer to /now');
    await stopped;
  });

  it('answers a request that has arrived on a connection that has just been accepted', async () => {
    const base = await run();
    let clients: Promise<RawClient>[] = [];
    const { stopped } = await stopping(() => {
      clients = Array.from({ length: 50 }, async () => {
        const client = await RawClient.to(base);
        await client.send(get('/now'));
        return client;
      });
    });
    for (const client of clients) expect(await (await client).all()).toContain('answer to /now');
    await stopped;
  });

  it('answers all requests that were pipelined, in order, and closes after the last', async () => {
    await using client = await RawClient.to(await run());
    await client.send(get('/a') + get('/b') + get('/c'));
    await Promise.all([service.has('/a'), service.has('/b'), service.has('/c')]);
    const { stopped } = await stopping();
    for (const path of ['/c', '/b', '/a']) service.release(path);
    const answers = await client.all();
    expect(answers.match(/answer to \/\w/g)).toEqual(['answer to /a', 'answer to /b', 'answer to /c']);
    expect(answers.match(/connection: \S+/gi)?.map((line) => line.toLowerCase())).toEqual([
      'connection: keep-alive',
      'connection: keep-alive',
      'connection: close',
    ]);
    await stopped;
  });

  it('completes an answer that has begun, and closes although it had promised to keep the connection', async () => {
    const finish = Promise.withResolvers<void>();
    class Streaming extends HttpService {
      protected override createApplication(): Application {
        return async (_request, response) => {
          response.write('first');
          await finish.promise;
          response.end('last');
        };
      }
    }
    const streaming = new Streaming({ port: 0 });
    daemon = await entrypoint([streaming], quiet);
    await using client = await RawClient.to(streaming.addresses[0] as string);
    await client.send(get('/'));
    await client.until('first');
    const { stopped } = await stopping();
    finish.resolve();
    expect(await client.all()).toMatch(/keep-alive[\s\S]*first[\s\S]*last\r\n0\r\n\r\n$/);
    expect(await client.ended).toBe('fin');
    await stopped;
  });

  it('closes also after an answer whose application insists on keeping the connection', async () => {
    const finish = Promise.withResolvers<void>();
    class Insisting extends HttpService {
      protected override createApplication(): Application {
        return async (_request, response) => {
          await finish.promise;
          response.setHeader('connection', 'keep-alive').end('answer');
        };
      }
    }
    const insisting = new Insisting({ port: 0 });
    daemon = await entrypoint([insisting], quiet);
    await using client = await RawClient.to(insisting.addresses[0] as string);
    await client.send(get('/'));
    while (insisting.statistics.inFlight === 0) await turn();
    const { stopped } = await stopping();
    finish.resolve();
    expect(await client.all()).toContain('answer');
    await stopped;
  });

  it('does not run a request that follows the answer with Connection: close', async () => {
    await using client = await RawClient.to(await run());
    await client.send(get('/slow'));
    await service.has('/slow');
    const { stopped } = await stopping();
    service.release('/slow');
    await client.until(/connection: close/i);
    client.socket.write(get('/late'));
    expect(await client.ended).toBe('fin');
    await stopped;
    expect(service.arrived).toEqual(['/slow']);
  });

  it('lets a request complete whose header has half arrived', async () => {
    await using client = await RawClient.to(await run());
    await client.send('GET /now HTTP/1.1\r\n');
    const { stopped } = await stopping();
    for (let turns = 0; turns < 20; turns++) await turn();
    await client.send('Host: a\r\n\r\n');
    expect(await client.all()).toContain('answer to /now');
    await stopped;
  });

  it('waits a second, not longer, for the rest of a header', async () => {
    const clock = new FakeClock();
    await using client = await RawClient.to(await run({}, { clock }));
    await client.send('GET /now HTTP/1.1\r\n');
    const stopped = daemon?.stop();
    await clock.advance(0);
    while (clock.pending < 3) await turn();
    await clock.advance(999);
    expect(client.socket.closed).toBe(false);
    await clock.advance(1);
    await client.ended;
    await stopped;
  });

  it('waits for a body that is still being sent', async () => {
    await using client = await RawClient.to(await run());
    await client.send('POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345');
    await service.has('/upload');
    const { stopped } = await stopping();
    await client.send('67890');
    service.release('/upload');
    expect(await client.all()).toContain('answer to /upload');
    await stopped;
  });

  it('destroys what is still busy at its deadline, and says what held it', async () => {
    const clock = new FakeClock();
    await using client = await RawClient.to(await run({ stopTimeoutMs: 5_000 }, { clock }));
    await client.send(get('/report?secret=1'));
    await service.has('/report');
    await clock.advance(3_000);
    const stopped = daemon?.stop();
    const failure = expect(stopped).rejects.toMatchObject({
      errors: [
        {
          code: 'ERR_SERVICE_STOP_FORCED',
          service: 'held',
          heldBy: ['1 request in flight: GET /report for 8 s'],
          abandoned: false,
        },
      ],
    });
    await clock.advance(4_999);
    expect(client.socket.closed).toBe(false);
    await clock.advance(1);
    await failure;
    expect(await client.all()).toBe('');
  });

  it('answers upgrades 503 while it drains', async () => {
    const base = await run();
    service.mountUpgrade('/chat', () => {
      throw new Error('must not be reached');
    });
    await using busy = await RawClient.to(base);
    await busy.send(get('/slow'));
    await service.has('/slow');
    await using client = await RawClient.to(base);
    await client.send('GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n');
    while (service.statistics.connections < 2) await turn();
    const { stopped } = await stopping();
    for (let turns = 0; turns < 20; turns++) await turn();
    await client.send('Upgrade: websocket\r\n\r\n');
    expect(await client.all()).toMatch(/^HTTP\/1.1 503 /);
    service.release('/slow');
    await stopped;
  });

  it('gives up its start: nothing is left listening', async () => {
    const creating = Promise.withResolvers<void>();
    class Slow extends HttpService {
      protected override async createApplication({ signal }: Scope): Promise<Application> {
        creating.resolve();
        return await new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason)),
        );
      }
    }
    const slow = new Slow({ port: 0 });
    daemon = new Entrypoint([slow], quiet);
    const started = expect(daemon.start()).rejects.toMatchObject({ code: 'ERR_ENTRYPOINT_STOPPED' });
    await creating.promise;
    expect(slow.waitingFor()).toEqual(['createApplication()']);
    await daemon.stop();
    await started;
    expect(slow.addresses).toEqual([]);
    expect(slow.waitingFor()).toEqual([]);
  });
});
