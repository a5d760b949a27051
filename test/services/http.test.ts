import { type Entrypoint, entrypoint, type Scope } from 'bosun';
import { type Application, BodyTooLargeError, HttpService, requestId } from 'bosun/services/http';
import Fastify from 'fastify';
import { afterEach, describe, expect, expectTypeOf, it } from 'vitest';
import { RawClient } from '../support/raw-client.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

type Options = ConstructorParameters<typeof HttpService>[0];

/** A service whose application is given. */
function serving(create: (scope: Scope) => Application | Promise<Application>, options: Options = {}) {
  class Api extends HttpService {
    protected override createApplication(scope: Scope) {
      return create(scope);
    }
  }
  return new Api({ name: 'api', port: 0, ...options });
}

let daemon: Entrypoint | undefined;

async function run(service: HttpService): Promise<string> {
  daemon = await entrypoint([service], quiet);
  return service.addresses[0] as string;
}

afterEach(async () => {
  await daemon?.stop().catch(() => {});
  daemon = undefined;
});

/** The same behaviour, written for each kind of application. */
const kinds: Record<string, () => Promise<Application> | Application> = {
  'a Fastify app': async () => {
    const app = Fastify();
    app.get('/', async () => 'ASGI hello!');
    app.get('/id', async (request) => request.id);
    app.get('/throw', () => {
      throw new Error('secret');
    });
    app.get('/reject', async () => {
      throw new Error('secret');
    });
    app.addContentTypeParser('text/plain', { parseAs: 'string' }, async (_: unknown, body: string) => body);
    app.post('/length', async (request) => String((request.body as string).length));
    return app;
  },
  'a bare listener': () => (request, response) => {
    const { url } = request;
    if (url === '/throw') throw new Error('secret');
    if (url === '/reject') return Promise.reject(new Error('secret'));
    if (url === '/id') return response.end(requestId(request));
    if (url !== '/length') return response.end('ASGI hello!');
    let length = 0;
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
    });
    return request.on('end', () => response.end(String(length)));
  },
  'a fetch application': () => ({
    async fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === '/reject') throw new Error('secret');
      if (pathname === '/id') return new Response(requestId(request));
      if (pathname === '/length') return new Response(String((await request.text()).length));
      return new Response('ASGI hello!');
    },
  }),
};
const throwing: Record<string, string[]> = {
  'a Fastify app': ['/throw', '/reject'],
  'a bare listener': ['/throw', '/reject'],
  'a fetch application': ['/reject'],
};

describe.each(Object.entries(kinds))('%s', (kind, create) => {
  it('answers', async () => {
    const base = await run(serving(create));
    const response = await fetch(base);
    expect(response.status).toBe(200);
    expect(await response.text()).toBe('ASGI hello!');
  });

  it.each(throwing[kind] ?? [])(
    'that throws at %s is answered for with a 500 that tells nothing',
    async (path) => {
      const base = await run(serving(create));
      const response = await fetch(base + path);
      const body = await response.text();
      expect(response.status).toBe(500);
      expect(body).not.toContain('secret');
      expect(JSON.parse(body)).toEqual({
        statusCode: 500,
        error: 'Internal Server Error',
        requestId: response.headers.get('x-request-id'),
      });
      expect((await fetch(base)).status).toBe(200);
    },
  );

  it('knows the id of a request, which is taken from the client when it is harmless', async () => {
    const base = await run(serving(create));
    const idFor = async (given?: string) =>
      (await fetch(`${base}/id`, given === undefined ? {} : { headers: { 'x-request-id': given } })).text();
    expect(await idFor('trace-42')).toBe('trace-42');
    const made = [await idFor(), await idFor('a b'), await idFor('x'.repeat(129))];
    for (const id of made) expect(id).toMatch(/^[\w-]{8}-\w+$/);
    expect(new Set(made).size).toBe(3);
  });

  it('is sent bodies up to maxBodyBytes, larger ones are answered 413', async () => {
    const base = await run(serving(create, { maxBodyBytes: 100_000 }));
    const post = async (length: number) => {
      const response = await fetch(`${base}/length`, {
        method: 'POST',
        headers: { 'content-type': 'text/plain' },
        body: 'x'.repeat(length),
      });
      return [response.status, await response.text()];
    };
    expect(await post(100_000)).toEqual([200, '100000']);
    expect(await post(100_001)).toEqual([413, expect.stringContaining('Payload Too Large')]);
    expect(await post(5)).toEqual([200, '5']);
  });

  it('is protected from chunked bodies that turn out too large', async () => {
    const base = await run(serving(create, { maxBodyBytes: 10 }));
    await using client = await RawClient.to(base);
    await client.send(
      'POST /length HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n',
    );
    await client.send('8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n');
    expect(await client.until(/\r\n\r\n.*/)).toMatch(/^HTTP\/1.1 413 /);
    expect(await (await fetch(base)).text()).toBe('ASGI hello!');
  });

  it('is not asked for a body that is announced as too large: no 100 Continue, but 413', async () => {
    const base = await run(serving(create, { maxBodyBytes: 10 }));
    await using client = await RawClient.to(base);
    await client.send(
      'POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n',
    );
    expect(await client.all()).toMatch(/^HTTP\/1.1 413 /);
  });

  it('gets the body of a client that waits for 100 Continue', async () => {
    const base = await run(serving(create));
    await using client = await RawClient.to(base);
    await client.send(
      'POST /length HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n',
    );
    await client.until('HTTP/1.1 100 Continue\r\n\r\n');
    await client.send('12345');
    expect(await client.until(/ 200 OK[\s\S]*\r\n\r\n[\s\S]*5/)).toContain('200 OK');
  });

  it('answers HEAD without a body', async () => {
    const base = await run(serving(create));
    await using client = await RawClient.to(base);
    await client.send('HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    const answer = await client.all();
    expect(answer).toMatch(/^HTTP\/1.1 200 /);
    expect(answer.endsWith('\r\n\r\n')).toBe(true);
  });

  it('answers HTTP/1.0 and closes the connection', async () => {
    const base = await run(serving(create));
    await using client = await RawClient.to(base);
    await client.send('GET / HTTP/1.0\r\n\r\n');
    expect(await client.all()).toMatch(/^HTTP\/1.1 200 [\s\S]*\r\n\r\nASGI hello!$/);
  });

  it('can be restarted', async () => {
    const service = serving(create);
    await run(service);
    await daemon?.restart('api');
    expect(await (await fetch(service.addresses[0] as string)).text()).toBe('ASGI hello!');
  });
});

describe('a handler', () => {
  it('that fails after it has begun to answer has its connection destroyed, not its answer completed', async () => {
    const base = await run(
      serving(() => async (_request, response) => {
        response.write('half');
        await new Promise((resolve) => setImmediate(resolve));
        throw new Error('secret');
      }),
    );
    await using client = await RawClient.to(base);
    await client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    const answer = await client.all();
    expect(answer).toContain('half');
    expect(answer).not.toContain('0\r\n\r\n');
    expect(daemon?.services[0]?.state.status).toBe('running');
  });

  it.each([
    ['data of the request', 'data'],
    ['the end of the request', 'end'],
  ])(
    'that throws in its listener of %s is answered for with 500, and the service goes on',
    async (_, event) => {
      const base = await run(
        serving(() => (request) => {
          request.on(event, () => {
            throw new Error('secret');
          });
          request.resume();
        }),
      );
      const response = await fetch(base, { method: 'POST', body: 'x' });
      expect(response.status).toBe(500);
      expect(await response.text()).not.toContain('secret');
      expect(daemon?.services[0]?.state.status).toBe('running');
    },
  );

  it('that throws in a listener of the finished response does no harm', async () => {
    const base = await run(
      serving(() => (_request, response) => {
        response.on('finish', () => {
          throw new Error('secret');
        });
        response.end('done');
      }),
    );
    expect(await (await fetch(base)).text()).toBe('done');
    expect(await (await fetch(base)).text()).toBe('done');
  });

  it('whose fetch gives something else than a Response is answered for with 500', async () => {
    const base = await run(serving(() => ({ fetch: () => 'hello' as unknown as Response })));
    expect((await fetch(base)).status).toBe(500);
  });

  it('that is told of a body that is too large can answer itself', async () => {
    const base = await run(
      serving(
        () => (request, response) => {
          request.resume().on('error', (error) => {
            response.writeHead(418).end(error instanceof BodyTooLargeError ? error.code : 'other');
          });
        },
        { maxBodyBytes: 3 },
      ),
    );
    await using client = await RawClient.to(base);
    await client.send(
      'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n',
    );
    expect(await client.until('ERR_HTTP_BODY_TOO_LARGE')).toMatch(/^HTTP\/1.1 418 /);
  });

  it('of Fastify keeps its own error handler and its messages of client errors', async () => {
    const base = await run(
      serving(async () => {
        const app = Fastify({ allowErrorHandlerOverride: false });
        app.get('/client', async () => {
          throw Object.assign(new Error('no such thing'), { statusCode: 404 });
        });
        await app.register((scoped, _options, done) => {
          scoped.setErrorHandler((_error, _request, reply) => reply.code(503).send('own'));
          scoped.get('/own', async () => {
            throw new Error('secret');
          });
          done();
        });
        app.setErrorHandler((error, _request, reply) => reply.send(error));
        return app;
      }),
    );
    const client = await fetch(`${base}/client`);
    expect([client.status, ((await client.json()) as { message: string }).message]).toEqual([
      404,
      'no such thing',
    ]);
    const own = await fetch(`${base}/own`);
    expect([own.status, await own.text()]).toEqual([503, 'own']);
  });
});

describe('a fetch application', () => {
  it('streams both ways, with back-pressure', async () => {
    const chunks = 64;
    const size = 64 * 1024;
    let pulled = 0;
    const base = await run(
      serving(() => ({
        fetch: () =>
          new Response(
            new ReadableStream(
              {
                pull(controller) {
                  pulled += 1;
                  controller.enqueue(new Uint8Array(size));
                  if (pulled === chunks * 10) controller.close();
                },
              },
              { highWaterMark: 0 },
            ),
          ),
      })),
    );
    await using client = await RawClient.to(base);
    client.socket.pause();
    await client.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    // What fits into the kernel's buffers is pulled, then nothing more.
    let before = -1;
    while (pulled !== before || pulled === 0) {
      before = pulled;
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(pulled).toBeLessThan(chunks * 10);
    client.socket.resume();
    const answer = await client.all();
    expect(answer.length).toBeGreaterThan(chunks * 10 * size);
    expect(answer.endsWith('0\r\n\r\n')).toBe(true);
  });

  it('echoes a body that is still being sent', async () => {
    const base = await run(serving(() => ({ fetch: (request) => new Response(request.body) })));
    await using client = await RawClient.to(base);
    await client.send('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n');
    await client.until('first');
    await client.send('6\r\nsecond\r\n0\r\n\r\n');
    await client.until('second');
    await client.until(/0\r\n\r\n$/);
  });

  it('need not read the body: the connection goes on', async () => {
    const base = await run(serving(() => ({ fetch: () => new Response('done') })));
    await using client = await RawClient.to(base);
    const body = 'x'.repeat(500_000);
    await client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    await client.until('done');
    client.received = '';
    await client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.until('done');
  });

  it('need not read all of the body: the connection goes on', async () => {
    const base = await run(
      serving(() => ({
        async fetch(request) {
          await request.body?.getReader().read();
          return new Response('done');
        },
      })),
    );
    await using client = await RawClient.to(base);
    const body = 'x'.repeat(500_000);
    for (let time = 0; time < 2; time++) {
      client.received = '';
      await client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      await client.until('done');
    }
  });

  it('learns through request.signal that the client has gone, and its body is cancelled', async () => {
    const aborted = Promise.withResolvers<string>();
    const cancelled = Promise.withResolvers<void>();
    const base = await run(
      serving(() => ({
        fetch(request) {
          request.signal.addEventListener('abort', () => aborted.resolve(request.signal.reason.name));
          return new Response(
            new ReadableStream({
              start: (controller) => controller.enqueue(new TextEncoder().encode('first')),
              cancel: () => cancelled.resolve(),
            }),
          );
        },
      })),
    );
    const client = await RawClient.to(base);
    await client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.until('first');
    await client[Symbol.asyncDispose]();
    expect(await aborted.promise).toBe('ClientGoneError');
    await cancelled.promise;
  });

  it('sees the url, the method and all headers, and sends several cookies', async () => {
    const base = await run(
      serving(() => ({
        fetch: (request) =>
          new Response(`${request.method} ${request.url} ${request.headers.get('x-two')}`, {
            status: 202,
            headers: [
              ['set-cookie', 'a=1'],
              ['set-cookie', 'b=2'],
            ],
          }),
      })),
    );
    await using client = await RawClient.to(base);
    await client.send(
      'PUT //b/../c?d=1 HTTP/1.1\r\nHost: example.org\r\nX-Two: 1\r\nX-Two: 2\r\nConnection: close\r\n\r\n',
    );
    const answer = await client.all();
    expect(answer).toMatch(/^HTTP\/1.1 202 /);
    expect(answer).toMatch(/set-cookie: a=1\r\nset-cookie: b=2\r\n/i);
    expect(answer).toContain('PUT http://example.org//c?d=1 1, 2');
  });

  it.each([
    ['a method that a Request cannot have', 'TRACE / HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a host that a URL cannot have', 'GET / HTTP/1.1\r\nHost: a b:c\r\n\r\n'],
  ])('is spared %s', async (_, text) => {
    const base = await run(serving(() => ({ fetch: () => new Response('reached') })));
    await using client = await RawClient.to(base);
    await client.send(text);
    expect(await client.until('\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /);
  });
});

describe('createApplication', () => {
  it('is typed by the options of the class', () => {
    class Api extends HttpService {
      protected override createApplication() {
        expectTypeOf(this.options.port).toEqualTypeOf<number>();
        expectTypeOf(this.options.path).toEqualTypeOf<string | undefined>();
        return Fastify();
      }
    }
    expect(new Api().options.port).toBe(8080);
  });

  it('that gives something else is an error that says so', async () => {
    await expect(entrypoint([serving(() => 5 as never)], quiet)).rejects.toThrow(
      /service "api" could not start: createApplication\(\) must return a Fastify app, .* not 5/,
    );
  });

  it('that rejects leaves nothing behind', async () => {
    const failing = serving(async () => {
      throw new Error('no database');
    });
    await expect(entrypoint([failing], quiet)).rejects.toThrow('no database');
    expect(failing.addresses).toEqual([]);
  });

  it('of Fastify has its onClose hooks run, after the requests', async () => {
    const order: string[] = [];
    const answering = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const base = await run(
      serving(() => {
        const app = Fastify();
        app.addHook('onClose', async () => void order.push('closed'));
        app.get('/', async () => {
          answering.resolve();
          await release.promise;
          order.push('answered');
          return 'done';
        });
        return app;
      }),
    );
    const answer = fetch(base);
    await answering.promise;
    const stopped = daemon?.stop();
    release.resolve();
    expect(await (await answer).text()).toBe('done');
    await stopped;
    expect(order).toEqual(['answered', 'closed']);
  });
});

describe('upgrades', () => {
  const upgrade = (path: string, protocol = 'websocket') =>
    `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`;
  const hello = () => serving(kinds['a bare listener'] as () => Application);

  it('are given to the handler of their path, with what the client has sent already', async () => {
    const service = hello();
    service.mountUpgrade('/chat', (request, socket, head) => {
      socket.end(`HTTP/1.1 101 Switching Protocols\r\n\r\n${request.url} ${head}`);
    });
    await using client = await RawClient.to(await run(service));
    await client.send(`${upgrade('/chat?room=1')}early`);
    expect(await client.all()).toMatch(/^HTTP\/1.1 101 .*\r\n\r\n\/chat\?room=1 early$/);
  });

  it('of a path that nobody has mounted are answered 404', async () => {
    await using client = await RawClient.to(await run(hello()));
    await client.send(upgrade('/chat'));
    expect(await client.all()).toMatch(/^HTTP\/1.1 404 /);
  });

  it('to another protocol are answered as ordinary requests', async () => {
    await using client = await RawClient.to(await run(hello()));
    await client.send(upgrade('/', 'h2c'));
    expect(await client.until('hello!')).toMatch(/^HTTP\/1.1 200 /);
  });

  it('stay mounted when the service is restarted, until they are disposed of', async () => {
    const service = hello();
    const mounted = service.mountUpgrade(
      '/chat',
      (_request, socket) => void socket.end('HTTP/1.1 101 Yes\r\n\r\n'),
    );
    expect(() => service.mountUpgrade('/chat', () => {})).toThrow(
      expect.objectContaining({ code: 'ERR_HTTP_UPGRADE_PATH_TAKEN' }),
    );
    await run(service);
    await daemon?.restart('api');
    const answer = async () => {
      await using client = await RawClient.to(service.addresses[0] as string);
      await client.send(upgrade('/chat'));
      return (await client.all()).split('\r\n')[0];
    };
    expect(await answer()).toBe('HTTP/1.1 101 Yes');
    mounted[Symbol.dispose]();
    expect(await answer()).toMatch(/^HTTP\/1.1 404 /);
  });

  it('whose handler throws are answered 500, and the service goes on', async () => {
    const service = hello();
    service.mountUpgrade('/sync', () => {
      throw new Error('secret');
    });
    service.mountUpgrade('/async', async () => {
      throw new Error('secret');
    });
    const base = await run(service);
    for (const path of ['/sync', '/async']) {
      await using client = await RawClient.to(base);
      await client.send(upgrade(path));
      expect(await client.all()).toMatch(/^HTTP\/1.1 500 /);
    }
    expect(daemon?.services[0]?.state.status).toBe('running');
  });

  it('are not closed when the service stops: they are their handler’s', async () => {
    const service = hello();
    service.mountUpgrade('/chat', (_request, socket) => {
      socket.write('HTTP/1.1 101 Yes\r\n\r\n');
      socket.on('data', (chunk) => socket.end(chunk));
    });
    await using client = await RawClient.to(await run(service));
    await client.send(upgrade('/chat'));
    await client.until('101');
    await daemon?.stop();
    await client.send('still here');
    expect(await client.all()).toContain('still here');
  });
});

describe('statistics', () => {
  it('count requests, answers by kind, and clients that have gone', async () => {
    const hanging = Promise.withResolvers<void>();
    const service = serving(() => (request, response) => {
      if (request.url === '/hang') return hanging.resolve();
      response.statusCode = request.url === '/' ? 200 : 404;
      return response.end();
    });
    const base = await run(service);
    await fetch(base);
    await fetch(`${base}/none`);
    const client = await RawClient.to(base);
    await client.send('GET /hang HTTP/1.1\r\nHost: a\r\n\r\n');
    await hanging.promise;
    expect(service.statistics).toMatchObject({ requests: 3, inFlight: 1 });
    await client[Symbol.asyncDispose]();
    while (service.statistics.inFlight > 0) await new Promise((resolve) => setImmediate(resolve));
    expect(service.statistics).toMatchObject({ requests: 3, aborted: 1, responses: [0, 0, 1, 0, 1, 0] });
  });
});
