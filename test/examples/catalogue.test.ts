import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { startPostgres, temporaryFolder } from '../support/postgres.ts';

const config = fileURLToPath(new URL('../../examples/catalogue/bosun.yaml', import.meta.url));
const freePorts = { PORT: '0', ECHO_PORT: '0', RATE_PORT: '0', UDP_PORT: '0', ADMIN_PORT: '0' };

describe('the catalogue on a Postgres of its user', () => {
  let daemon: Daemon;
  let client: pg.Client;
  let api: string;
  const open = new AsyncDisposableStack();

  beforeAll(async () => {
    const postgres = open.use(await startPostgres());
    daemon = open.use(await startDaemon(config, { env: { ...freePorts, DATABASE_URL: postgres.url } }));
    api = daemon.address('api');
    client = new pg.Client({ connectionString: postgres.url });
    await client.connect();
    open.defer(() => client.end());
  });

  afterAll(async () => {
    daemon?.kill('SIGTERM');
    const code = await daemon?.exited;
    await open.disposeAsync();
    expect(code).toBe(0);
  });

  const get = async (path: string) => {
    const response = await fetch(api + path);
    return { status: response.status, body: (await response.json()) as never };
  };
  const post = async (body: string | undefined, type = 'application/json') => {
    const response = await fetch(`${api}/product`, {
      method: 'POST',
      ...(body === undefined ? {} : { body, headers: { 'content-type': type } }),
    });
    return { status: response.status, body: await response.text() };
  };
  const count = async () => Number((await client.query('SELECT count(*) FROM product')).rows[0].count);

  test('the seed is loaded, whole', async () => {
    const { rows } = await client.query(
      'SELECT (SELECT count(*) FROM brand), (SELECT count(*) FROM product) AS products',
    );
    expect(rows[0]).toEqual({ count: '250', products: '100000' });
  });

  test('a pool of 6 connections is open from the start', async () => {
    const { rows } = await client.query(
      `SELECT count(*)::int AS open FROM pg_stat_activity
       WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`,
    );
    expect(rows[0].open).toBe(6);
  });

  test('GET /time gives month, day and time', async () => {
    const { body } = await get('/time');
    expect(body).toEqual({
      month: expect.any(Number),
      day: expect.any(Number),
      time: expect.stringMatching(/^\d\d:\d\d:\d\d$/),
    });
  });

  test('GET /brands gives all brands, in an 11 KB body', async () => {
    const response = await fetch(`${api}/brands`);
    const text = await response.text();
    const brands = JSON.parse(text) as unknown[];
    expect(brands).toHaveLength(250);
    expect(brands[0]).toEqual({ brand_id: 1, brand_name: expect.any(String) });
    expect(Math.round(text.length / 1_000)).toBe(11);
  });

  test.each(['/products', '/product'])('GET %s/{id} gives the product', async (path) => {
    expect(await get(`${path}/77`)).toEqual({
      status: 200,
      body: { product_id: 77, product_name: expect.any(String), brand_id: expect.any(Number) },
    });
  });

  test.each(['/products/100000000', '/product/0', '/product/-1'])(
    'GET %s: there is none, 404',
    async (path) => {
      expect(await get(path)).toEqual({
        status: 404,
        body: { error: 'Not Found', message: expect.stringContaining('no product') },
      });
    },
  );

  test.each(['abc', '1.5', '1e3x', '2147483648', '-2147483649', '9'.repeat(40), '%20', '1%00'])(
    'GET /products/%s: no int4, 400',
    async (id) => {
      expect((await get(`/products/${id}`)).status).toBe(400);
    },
  );

  test('POST /product adds it: 201, an empty body, and the next read sees it', async () => {
    const before = await count();
    expect(await post('{"product_name": "red \u{1f9e3}", "brand_id": 3}')).toEqual({ status: 201, body: '' });
    expect(await count()).toBe(before + 1);
  });

  test.each([
    ['no body', undefined, undefined],
    ['an empty body', '', undefined],
    ['bad JSON', '{"product_name": ', undefined],
    ['JSON that is no object', '[]', undefined],
    ['a missing field', '{"product_name": "x"}', undefined],
    ['the other field missing', '{"brand_id": 3}', undefined],
    ['an ill-typed field', '{"product_name": 5, "brand_id": 3}', undefined],
    ['an id that is text', '{"product_name": "x", "brand_id": "3"}', undefined],
    ['an id that is no integer', '{"product_name": "x", "brand_id": 3.5}', undefined],
    ['an id outside int4', '{"product_name": "x", "brand_id": 2147483648}', undefined],
    ['an unknown brand', '{"product_name": "x", "brand_id": 1000}', undefined],
    ['text that is no JSON, of another type', 'hello', 'text/plain'],
    ['a name that Postgres cannot hold', '{"product_name": "a\\u0000b", "brand_id": 3}', undefined],
  ])('POST /product with %s: 400, and nothing is added', async (_what, body, type) => {
    const before = await count();
    const answer = await post(body, type);
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.body)).toEqual({ error: 'Bad Request', message: expect.any(String) });
    expect(await count()).toBe(before);
  });

  test('an unknown path gets 404', async () => {
    expect((await get('/nothing')).status).toBe(404);
  });

  test('a handler that fails answers 500 without saying why, and takes nothing down', async () => {
    await client.query('ALTER TABLE brand RENAME TO brand_away');
    const answer = await get('/brands');
    await client.query('ALTER TABLE brand_away RENAME TO brand');
    expect(answer.status).toBe(500);
    expect(JSON.stringify(answer.body)).not.toContain('brand');
    await daemon.logged((line) => line.level === 50 && JSON.stringify(line).includes('does not exist'));
    expect((await get('/brands')).status).toBe(200);
  });

  test('a request whose client has gone gives its transaction back', async () => {
    await client.query('BEGIN');
    await client.query('LOCK TABLE product IN EXCLUSIVE MODE');
    const abort = new AbortController();
    const answers = Array.from({ length: 6 }, () =>
      fetch(`${api}/product`, {
        method: 'POST',
        body: '{"product_name": "gone", "brand_id": 1}',
        signal: abort.signal,
      }),
    );
    await waitUntil(async () => Number((await client.query(WAITING)).rows[0].count) === 6);
    abort.abort();
    const results = await Promise.allSettled(answers);
    expect(results.every(({ status }) => status === 'rejected')).toBe(true);
    // Nobody waits for the lock any more, although it is still held.
    await waitUntil(async () => Number((await client.query(WAITING)).rows[0].count) === 0);
    await client.query('ROLLBACK');
    expect((await get('/brands')).status).toBe(200);
    expect(
      (await client.query("SELECT count(*)::int FROM product WHERE product_name = 'gone'")).rows[0].count,
    ).toBe(0);
  });

  test('whoever has the answer of a write sees it in the next read, however many read at the time', async () => {
    let reading = true;
    const crowd = Array.from({ length: 20 }, async () => {
      while (reading) await (await fetch(`${api}/brands`)).arrayBuffer();
    });
    for (let i = 0; i < 20; i++) {
      const { rows } = await client.query(
        `INSERT INTO brand (brand_name) VALUES ('fresh ${i}') RETURNING brand_id`,
      );
      const { body } = await get('/brands');
      expect(body).toContainEqual({ brand_id: rows[0].brand_id, brand_name: `fresh ${i}` });
    }
    reading = false;
    await Promise.all(crowd);
    await client.query("DELETE FROM brand WHERE brand_name LIKE 'fresh %'");
  });

  test('products that are asked for at the same time go to their own callers', async () => {
    const ids = Array.from({ length: 60 }, (_, i) => (i % 3 === 2 ? 900_000_000 + i : 1 + (i % 7)));
    const answers = await Promise.all(ids.map((id) => get(`/products/${id}`)));
    expect(answers.map(({ status, body }) => [status, (body as { product_id?: number }).product_id])).toEqual(
      ids.map((id) => (id > 900_000_000 ? [404, undefined] : [200, id])),
    );
  });

  test('GET /report computes on a worker, and all else is answered meanwhile', async () => {
    let done = false;
    const report = get('/report').finally(() => {
      done = true;
    });
    let others = 0;
    while (!done) {
      expect((await get('/time')).status).toBe(200);
      others++;
    }
    expect(await report).toEqual({
      status: 200,
      body: { n: 10_000_000, sum_of_squares: '333333283333335000000' },
    });
    expect(others).toBeGreaterThan(1);
    expect((await get('/report?n=4')).body).toEqual({ n: 4, sum_of_squares: '14' });
    expect((await get('/report?n=10000001')).status).toBe(400);
  });

  test('GET /summary gives the products per brand and the age of that', async () => {
    const { body } = await get('/summary');
    const { age_ms, brands } = body as { age_ms: number; brands: { products: number }[] };
    expect(age_ms).toBeGreaterThanOrEqual(0);
    expect(brands).toHaveLength(250);
    expect(brands.reduce((sum, brand) => sum + brand.products, 0)).toBeGreaterThanOrEqual(100_000);
  });

  test('the API is described by an OpenAPI document and a docs page', async () => {
    const { body } = await get('/openapi.json');
    const { openapi, paths } = body as { openapi: string; paths: Record<string, unknown> };
    expect(openapi).toMatch(/^3\./);
    expect(Object.keys(paths).sort()).toEqual([
      '/brands',
      '/product',
      '/product/{id}',
      '/products/{id}',
      '/report',
      '/summary',
      '/time',
    ]);
    const page = await fetch(`${api}/docs`);
    expect(page.status).toBe(200);
    expect(await page.text()).toContain('swagger-ui');
  });

  test('the counter counts', async () => {
    const url = `${api.replace('http', 'ws')}/ws/counter`;
    await using tabs = new AsyncDisposableStack();
    const tab = async () => {
      const socket = new WebSocket(url, { origin: api });
      tabs.defer(() => socket.terminate());
      const seen: string[] = [];
      socket.on('message', (data) => seen.push(String(data)));
      await once(socket, 'open');
      return { socket, seen };
    };
    const first = await tab();
    await waitUntil(async () => first.seen.at(-1)?.includes('1') ?? false);
    await tab();
    await waitUntil(async () => first.seen.at(-1)?.includes('2') ?? false);
  });

  test('the dollar rate is told at connect, and to subscribers again when it moves', async () => {
    const { hostname, port } = new URL(daemon.address('rate'));
    const socket = connect({ host: hostname, port: Number(port) });
    const [line] = await once(createInterface({ input: socket }), 'line');
    expect(line).toMatch(/^Dollar rate is \d+\.\d\d\.$/);
    socket.destroy();
  });

  test('the echo echoes', async () => {
    const { hostname, port } = new URL(daemon.address('echo'));
    const socket = connect({ host: hostname, port: Number(port) });
    socket.end('hello');
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).toString()).toBe('hello');
  });

  test('a datagram is printed', async () => {
    const { hostname, port } = new URL(daemon.address('printer'));
    const socket = createSocket('udp4');
    socket.send('a parcel', Number(port), hostname);
    await daemon.logged((line) => line.service === 'printer' && line.msg === 'a parcel');
    socket.close();
  });
});

const WAITING = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;

async function waitUntil(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setImmediate(resolve));
}

describe('the catalogue on the embedded Postgres', () => {
  test('loads the seed once, also when it is killed and started again', async () => {
    await using folder = await temporaryFolder();
    const { path: cwd } = folder;
    // Whatever the shell has.
    const env = { ...freePorts, DATABASE_URL: 'embedded' };
    const loaded = (daemon: Daemon) =>
      daemon.log.filter((line) => line.msg.startsWith('the seed is loaded')).length;

    await using first = await startDaemon(config, { cwd, env });
    expect(loaded(first)).toBe(1);
    first.kill('SIGKILL');
    expect(await first.exited).toBe('SIGKILL');

    await using second = await startDaemon(config, { cwd, env });
    expect(loaded(second)).toBe(0);
    const product = () => fetch(`${second.address('api')}/product/1`);
    expect((await product()).status).toBe(200);

    // Its server dies: until both are back, the API says when to come again.
    const [pid] = (await readFile(join(cwd, '.bosun/postgres/cluster/postmaster.pid'), 'utf8')).split('\n');
    process.kill(Number(pid), 'SIGKILL');
    await second.logged(({ service, msg }) => service === 'database' && msg.startsWith('restarting in'));
    for (let answer = await product(); answer.status !== 200; answer = await product()) {
      expect(answer.status).toBe(503);
      expect(answer.headers.get('retry-after')).toBe('1');
    }
    second.kill('SIGTERM');
    expect(await second.exited).toBe(0);
  }, 60_000);
});
