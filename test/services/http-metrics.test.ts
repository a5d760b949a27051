import { METHODS } from 'node:http';
import { connect } from 'node:net';
import { entrypoint } from 'bosun';
import { type Application, HttpService } from 'bosun/services/http';
import Fastify from 'fastify';
import { describe, expect, test } from 'vitest';
import { Observer } from '../support/metrics.ts';
import { RawClient } from '../support/raw-client.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;
const DURATION = 'bosun_http_request_duration_seconds';

type Options = ConstructorParameters<typeof HttpService>[0];

function serving(create: () => Application, options: Options = {}) {
  class Api extends HttpService {
    protected override createApplication() {
      return create();
    }
  }
  return new Api({ name: 'api', port: 0, ...options });
}

/** A daemon that serves an application, and who tells its metrics. */
async function run(create: () => Application, options: Options = {}) {
  const api = serving(create, options);
  const observer = new Observer();
  const daemon = await entrypoint([api, observer], quiet);
  return {
    api,
    daemon,
    url: () => api.addresses[0] as string,
    /** When so many requests are over, as the server sees it. */
    scrapeAfter: async (requests: number) => {
      const over = () => api.statistics.responses.reduce((sum, count) => sum + count, api.statistics.aborted);
      await expect.poll(over, { interval: 5 }).toBe(requests);
      return await observer.scrape();
    },
    scrape: () => observer.scrape(),
    [Symbol.asyncDispose]: () => daemon.stop(),
  };
}

const shop = () => {
  const app = Fastify();
  app.get('/items/:id', async (request) => request.params);
  app.post('/items', async () => {
    throw new Error('broken');
  });
  app.get('/files/*', async () => 'file');
  app.register(
    (admin, _options, done) => {
      admin.addHook('onRequest', async (_request, reply) => reply.code(401).send({}));
      admin.get('/users/:user', async () => 'never');
      done();
    },
    { prefix: '/admin' },
  );
  return app;
};

/** Sends requests down one connection, and resolves when each has its answer. */
async function pipeline(url: string, requests: readonly string[]): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let answered = 0;
  let sent = 0;
  let tail = '';
  const fill = () => {
    for (; sent < requests.length && sent < answered + 100; sent++) socket.write(requests[sent] as string);
  };
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    const parts = (tail + chunk).split('\r\n\r\n');
    answered += parts.length - 1;
    tail = parts.at(-1)?.slice(-3) ?? '';
    if (answered >= requests.length) resolve();
    fill();
  });
  socket.on('error', reject).on('close', () => reject(new Error(`closed after ${answered} answers`)));
  fill();
  await promise;
  socket.destroy();
}

const request = (method: string, path: string) => `${method} ${path} HTTP/1.1\r\nHost: api\r\n\r\n`;

/** The same numbers in [0, 1) in every run (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What scanners and attackers ask for. */
function hostileRequests(count: number): string[] {
  const next = random(1);
  const pick = <Item>(items: readonly Item[]) => items[Math.floor(next() * items.length)] as Item;
  const word = () => Math.floor(next() * 2 ** 32).toString(36);
  const methods = METHODS.filter((method) => method !== 'CONNECT');
  const paths = [
    () => `/${word()}`,
    () => `/items/${word()}`,
    () => `/files/${word()}/${word()}/${word()}.php`,
    () => `/items/${encodeURIComponent(`"${word()}\n\\{}`)}`,
    () => `/items/%${word().slice(0, 1)}`,
    () => `/%ff%fe${word()}`,
    () => `//${word()}/../..//${word()}`,
    () => `/items/${word()}?q=${word()}&service=${word()}`,
    () => `/${word().repeat(500)}`,
    () => `http://${word()}.example/items/${word()}`,
    () => `/admin/users/${word()}`,
  ];
  return Array.from({ length: count }, () => request(pick(methods), pick(paths)()));
}

const knownMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'other'];

describe('requests are told apart', () => {
  test('by the route of a Fastify app, the method and the class of the status', async () => {
    await using daemon = await run(shop);
    const paths = ['/items/1', '/items/2?x=1', '/files/a/b', '/admin/users/1', '/nowhere', '/items/%'];
    await pipeline(daemon.url(), [
      ...paths.map((path) => request('GET', path)),
      request('HEAD', '/items/3'),
      'POST /items HTTP/1.1\r\nHost: api\r\nContent-Length: 0\r\n\r\n',
    ]);
    const scrape = await daemon.scrapeAfter(8);
    expect(
      scrape
        .of(`${DURATION}_count`)
        .map(({ labels, value }) => [labels.method, labels.route, labels.status, value]),
    ).toEqual(
      expect.arrayContaining([
        ['GET', '/items/:id', '2xx', 2],
        ['HEAD', '/items/:id', '2xx', 1],
        ['GET', '/files/*', '2xx', 1],
        ['GET', '/admin/users/:user', '4xx', 1],
        ['GET', 'unknown', '4xx', 2],
        ['POST', '/items', '5xx', 1],
      ]),
    );
    expect(scrape.value(`${DURATION}_count`)).toBe(8);
  });

  test.each<[string, () => Application]>([
    ['bare listeners', () => (_request, response) => void response.end('ok')],
    ['web-standard apps', () => ({ fetch: () => new Response('ok') })],
    [
      'listeners that set `route` to an object, as Express does',
      () => (request, response) => {
        Object.assign(request, { route: { path: '/:id', stack: [], methods: {} } });
        response.end('ok');
      },
    ],
    [
      'listeners that set `route` to the path',
      () => (request, response) => {
        Object.assign(request, { route: `${request.url}\n"}` });
        response.end('ok');
      },
    ],
  ])('of %s by method and status alone', async (_what, create) => {
    await using daemon = await run(create);
    await pipeline(daemon.url(), [request('GET', '/a'), request('GET', '/b'), request('PURGE', '/c')]);
    const scrape = await daemon.scrapeAfter(3);
    expect(
      scrape
        .of(`${DURATION}_count`)
        .map(({ labels, value }) => [labels.method, labels.route, labels.status, value]),
    ).toEqual([
      ['GET', 'unknown', '2xx', 2],
      ['other', 'unknown', '2xx', 1],
    ]);
    expect(scrape.value('bosun_metrics_errors_total')).toBeUndefined();
  });

  test('but not those that an application injects into itself', async () => {
    let app: ReturnType<typeof shop> | undefined;
    await using daemon = await run(() => {
      app = shop();
      return app;
    });
    expect((await app?.inject('/items/1'))?.statusCode).toBe(200);
    expect((await daemon.scrape()).of(`${DURATION}_count`)).toEqual([]);
  });

  test('10 000 requests for anything make no more than a handful of series', async () => {
    await using daemon = await run(shop);
    await pipeline(daemon.url(), hostileRequests(10_000));
    const scrape = await daemon.scrapeAfter(10_000);
    const series = scrape.of(`${DURATION}_count`);
    const routes = new Set(series.map(({ labels }) => labels.route));
    expect([...routes].sort()).toEqual(['/admin/users/:user', '/files/*', '/items/:id', 'unknown']);
    for (const { labels } of series) expect(knownMethods).toContain(labels.method);
    expect(series.length).toBeLessThan(30);
    expect(scrape.value(`${DURATION}_count`)).toBe(10_000);
    expect(scrape.value('bosun_metrics_errors_total')).toBeUndefined();
  });

  test('upgrades of any path, and what is no request, make none', async () => {
    await using daemon = await run(shop);
    const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket';
    for (let i = 0; i < 20; i++) {
      await using client = await RawClient.to(daemon.url());
      await client.send(
        i % 2 === 0 ? `GET /ws/${i} HTTP/1.1\r\nHost: a\r\n${upgrade}\r\n\r\n` : `FOO${i} / HTTP/1.1\r\n\r\n`,
      );
      expect(await client.all()).toMatch(/^HTTP\/1\.1 4/);
    }
    const scrape = await daemon.scrape();
    expect(scrape.of(`${DURATION}_count`)).toEqual([]);
    expect(scrape.value('bosun_http_connections_dropped_total')).toBe(0);
  });

  test('of more routes than can be shown the last ones are other, and none is lost', async () => {
    await using daemon = await run(() => {
      const app = Fastify();
      for (let i = 0; i < 2_000; i++) app.get(`/route-${i}/:id`, async () => i);
      return app;
    });
    await pipeline(
      daemon.url(),
      Array.from({ length: 2_000 }, (_, i) => request('GET', `/route-${i}/1`)),
    );
    const scrape = await daemon.scrapeAfter(2_000);
    const series = scrape.of(`${DURATION}_count`);
    expect(series.length).toBeLessThanOrEqual(1_000);
    expect(series.length).toBeGreaterThan(900);
    expect(scrape.value(`${DURATION}_count`)).toBe(2_000);
    expect(scrape.value(`${DURATION}_count`, { route: 'other' })).toBe(2_000 - (series.length - 1));
    expect(scrape.value('bosun_metrics_errors_total')).toBeUndefined();
  });
});

test('the durations of requests fall into buckets, up to the whole count', async () => {
  await using daemon = await run(shop);
  await pipeline(
    daemon.url(),
    Array.from({ length: 50 }, () => request('GET', '/items/1')),
  );
  const scrape = await daemon.scrapeAfter(50);
  const buckets = scrape.of(`${DURATION}_bucket`).map(({ value }) => value);
  expect(buckets).toEqual(buckets.toSorted((a, b) => a - b));
  expect(buckets).toHaveLength(12);
  expect(buckets.at(-1)).toBe(50);
  expect(scrape.value(`${DURATION}_sum`)).toBeGreaterThan(0);
});

test('requests in flight, connections, and clients that went before their answer', async () => {
  const held: (() => void)[] = [];
  await using daemon = await run(() => (_request, response) => void held.push(() => response.end()));
  const client = await RawClient.to(daemon.url());
  await client.send(request('GET', '/'));
  await expect.poll(() => held.length, { interval: 5 }).toBe(1);
  const during = await daemon.scrape();
  expect(during.value('bosun_http_requests_in_flight')).toBe(1);
  expect(during.value('bosun_http_connections')).toBe(1);
  await client[Symbol.asyncDispose]();
  const after = await daemon.scrapeAfter(1);
  expect(after.value('bosun_http_requests_in_flight')).toBe(0);
  expect(after.value('bosun_http_requests_aborted_total')).toBe(1);
  expect(after.of(`${DURATION}_count`)).toEqual([]);
});

test('connections beyond maxConnections', async () => {
  await using daemon = await run(shop, { maxConnections: 1 });
  await using first = await RawClient.to(daemon.url());
  await first.send(request('GET', '/items/1'));
  await first.until('200 OK');
  await using second = await RawClient.to(daemon.url());
  await second.ended;
  expect((await daemon.scrape()).value('bosun_http_connections_dropped_total')).toBe(1);
});

test('what has been counted stays over a restart of the service', async () => {
  await using daemon = await run(shop);
  await pipeline(daemon.url(), [request('GET', '/items/1')]);
  await daemon.scrapeAfter(1);
  await daemon.daemon.restart('api');
  await pipeline(daemon.url(), [request('GET', '/items/2'), request('GET', '/items/3')]);
  const scrape = await daemon.scrapeAfter(3);
  expect(scrape.value(`${DURATION}_count`, { route: '/items/:id', status: '2xx' })).toBe(3);
  expect(scrape.value('bosun_service_restarts_total', { service: 'api' })).toBe(1);
});
