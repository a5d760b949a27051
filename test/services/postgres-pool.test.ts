import { createServer, type Socket } from 'node:net';
import { Entrypoint, entrypoint } from 'bosun';
import { FakeClock, FaultProxy, settle } from 'bosun/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { databaseOf, pidOf, quiet, terminate } from '../support/database.ts';
import { startPostgres, type TestPostgres, until } from '../support/postgres.ts';

let server: TestPostgres;

beforeAll(async () => {
  server = await startPostgres();
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const through = ({ port }: { readonly port: number }) => server.url.replace(`:${server.port}/`, `:${port}/`);

describe('waiting for a connection', () => {
  it('ends after acquireTimeoutMs, telling who holds the connections', async () => {
    const clock = new FakeClock();
    const database = databaseOf(server, { poolSize: 1, acquireTimeoutMs: 1_000 });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    await daemon.start();
    const gate = Promise.withResolvers<void>();
    const holding = database.withClient(() => gate.promise, { label: 'report' });
    await until(() => database.statistics.inUse === 1);
    const first = database.query('SELECT 1').catch((error: unknown) => error);
    await clock.advance(600);
    const second = database.query('SELECT 2 AS two').catch((error: unknown) => error);
    await clock.advance(400);
    expect(await first).toMatchObject({
      code: 'ERR_POSTGRES_POOL_EXHAUSTED',
      poolSize: 1,
      waiting: 1,
      heldBy: ['a client held for 1000 ms by "report"'],
      retryAfterMs: 1_000,
    });
    gate.resolve();
    await holding;
    expect(await second).toMatchObject({ rows: [{ two: 2 }] });
    expect(database.statistics).toMatchObject({
      acquires: 2,
      acquireMs: 400,
      waiting: 0,
      errors: { ERR_POSTGRES_POOL_EXHAUSTED: 1 },
    });
    await daemon.stop();
    expect(clock.pending).toBe(0);
  });

  it('ends in the order in which it began', async () => {
    const database = databaseOf(server, { poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const order: number[] = [];
    const wait = (n: number) => database.withClient(() => void order.push(n));
    await Promise.all([1, 2, 3, 4, 5].map(wait));
    expect(order).toEqual([1, 2, 3, 4, 5]);
  });
});

describe('a client that is held for long', () => {
  it('is logged once, with who holds it', async () => {
    const clock = new FakeClock();
    const database = databaseOf(server, { poolSize: 2, leakWarningMs: 1_000 });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    await daemon.start();
    const gate = Promise.withResolvers<void>();
    const leaking = database.withClient(() => gate.promise, { label: 'leaky' });
    await clock.advance(500);
    const later = database.withClient(() => gate.promise);
    await until(() => database.statistics.inUse === 2);
    await clock.advance(499);
    expect(database.statistics.leaks).toBe(0);
    await clock.advance(1);
    expect(database.statistics.leaks).toBe(1);
    await clock.advance(5_000);
    const warnings = database.lines.filter(({ msg }) => msg.includes('held for long'));
    expect(warnings).toMatchObject([
      { level: 40, msg: 'a client has been held for long by "leaky"', heldMs: 1_000 },
      { level: 40, msg: expect.stringMatching(/postgres-pool\.test\.ts:\d+/), heldMs: 1_000 },
    ]);
    gate.resolve();
    await Promise.all([leaking, later]);
    await daemon.stop();
    expect(clock.pending).toBe(0);
  });
});

describe('statistics', () => {
  it('tell what the pool holds and has done', async () => {
    const database = databaseOf(server, { poolSize: 3 });
    expect(database.statistics).toMatchObject({ state: 'stopped', size: 0, queries: 0 });
    {
      await using _daemon = await entrypoint([database], quiet);
      await database.withClient(() => {
        expect(database.statistics).toMatchObject({ state: 'up', size: 3, idle: 2, inUse: 1, connecting: 0 });
      });
      await database.query('SELECT 1');
      await database.query('SELECT 1 / 0').catch(() => {});
      await database.query('nonsense').catch(() => {});
      await until(() => database.statistics.idle === 3);
      expect(database.statistics).toMatchObject({
        acquires: 4,
        queries: 3,
        errors: { '22': 1, '42': 1 },
        retries: 0,
        discarded: 0,
      });
    }
    expect(database.statistics).toMatchObject({ state: 'stopped', size: 0, queries: 3 });
  });
});

describe('a database that is down', () => {
  it('is refused at once, told once, looked for without a crowd, and found within a second', async () => {
    const clock = new FakeClock();
    await using proxy = await FaultProxy.listen({ target: server });
    const database = databaseOf(server, { url: through(proxy), poolSize: 3 });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    await daemon.start();
    const { port } = proxy;
    proxy.refuse();
    await proxy.cut();
    let attempts = 0;
    const refusing = createServer((socket) => {
      attempts += 1;
      socket.destroy();
    }).listen(port, '127.0.0.1');
    await until(async () => {
      await clock.advance(100);
      return database.statistics.state === 'down';
    });
    expect(await database.health()).toMatchObject({ ok: false });
    const before = attempts;
    const refused = await Promise.allSettled(Array.from({ length: 200 }, () => database.query('SELECT 1')));
    for (const result of refused) {
      expect(result).toMatchObject({
        reason: {
          code: 'ERR_POSTGRES_UNAVAILABLE',
          retryAfterMs: 1_000,
          target: `127.0.0.1:${port}/postgres`,
        },
      });
    }
    expect(attempts).toBe(before);
    for (let i = 0; i < 5; i++) {
      await clock.advance(1_000);
      await settle();
    }
    expect(attempts - before).toBeLessThanOrEqual(10);
    refusing.close();
    await until(() => !refusing.listening);
    await proxy.accept();
    await clock.advance(1_000);
    await until(() => database.statistics.state === 'up');
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    expect(await database.health()).toEqual({ ok: true });
    expect(database.lines.filter(({ level }) => level >= 30).map(({ msg }) => msg)).toEqual([
      expect.stringContaining('cannot be reached, queries are refused'),
      expect.stringMatching(/is back after \d+ ms/),
    ]);
    await daemon.stop();
    expect(clock.pending).toBe(0);
  });

  it('that comes back at once is not noticed by those who wait for a connection', async () => {
    const database = databaseOf(server, { poolSize: 2 });
    await using _daemon = await entrypoint([database], quiet);
    for (let i = 0; i < 10; i++) {
      const ended = terminate(server, database);
      const results = await Promise.all(Array.from({ length: 5 }, () => database.query('SELECT 1 AS one')));
      for (const { rows } of results) expect(rows).toEqual([{ one: 1 }]);
      await ended;
    }
    expect(database.lines.filter(({ level }) => level >= 40)).toEqual([]);
  });

  it('that refuses connections for a moment makes callers wait for that moment', async () => {
    const clock = new FakeClock();
    await using proxy = await FaultProxy.listen({ target: server });
    const database = databaseOf(server, { url: through(proxy), poolSize: 3 });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    await daemon.start();
    proxy.refuse();
    await proxy.cut();
    await until(() => database.statistics.state === 'degraded');
    const waiting = Array.from({ length: 5 }, () => database.query('SELECT 1 AS one'));
    await proxy.accept();
    await until(async () => {
      await clock.advance(20);
      return database.statistics.state === 'up';
    });
    for (const { rows } of await Promise.all(waiting)) expect(rows).toEqual([{ one: 1 }]);
    await daemon.stop();
    expect(clock.pending).toBe(0);
  });

  it('by slow and wrong queries alone never is', async () => {
    const database = databaseOf(server, { poolSize: 2 });
    await using _daemon = await entrypoint([database], quiet);
    for (let i = 0; i < 20; i++) {
      await database.query('nonsense').catch(() => {});
      await database.query({ text: 'SELECT pg_sleep(600)', timeoutMs: 1 }).catch(() => {});
      expect(database.statistics.state).toBe('up');
    }
    await until(() => database.statistics.idle === 2);
  });

  it('that accepts and says nothing is given up after connectTimeoutMs', async () => {
    const clock = new FakeClock();
    await using proxy = await FaultProxy.listen({ target: server });
    const database = databaseOf(server, { url: through(proxy), poolSize: 1, connectTimeoutMs: 2_000 });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    await daemon.start();
    const { port } = proxy;
    proxy.refuse();
    await proxy.cut();
    const sockets = new Set<Socket>();
    const mute = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {}).resume();
    }).listen(port, '127.0.0.1');
    const waiting = database.query('SELECT 1').catch((error: unknown) => error);
    await until(async () => {
      await clock.advance(500);
      return database.statistics.state === 'down';
    });
    expect(await waiting).toMatchObject({
      code: 'ERR_POSTGRES_UNAVAILABLE',
      message: expect.stringContaining('timed out'),
    });
    await daemon.stop();
    expect(clock.pending).toBe(0);
    await until(() => [...sockets].every((socket) => socket.destroyed || socket.readableEnded));
    mute.close();
    for (const socket of sockets) socket.destroy();
  });
});

describe('a database that takes no more connections', () => {
  it('is degraded, and those that are left go on', async () => {
    const clock = new FakeClock();
    await server.query("CREATE ROLE limited LOGIN PASSWORD 'secret'");
    const url = server.url.replace(/\/\/[^@]*@/, '//limited:secret@');
    const database = databaseOf(server, { url, poolSize: 2 });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    await daemon.start();
    await server.query('ALTER ROLE limited CONNECTION LIMIT 1');
    const { waiting } = await database.withClient(async (client) => {
      await database.withClient(async (other) => {
        await server.query('SELECT pg_terminate_backend($1)', [await pidOf(other)]);
        await other.query('SELECT 1').catch(() => {});
      });
      await until(() => database.statistics.size === 1);
      const waiting = database.query('SELECT 1 AS one');
      await until(() => database.statistics.state === 'degraded');
      expect(database.statistics).toMatchObject({ inUse: 1, waiting: 1 });
      expect(await database.health()).toEqual({
        ok: true,
        detail: expect.stringContaining('no new connections: '),
      });
      await client.query('SELECT 1');
      return { waiting };
    });
    expect((await waiting).rows).toEqual([{ one: 1 }]);
    await server.query('ALTER ROLE limited CONNECTION LIMIT -1');
    await until(async () => {
      await clock.advance(1_000);
      return database.statistics.state === 'up';
    });
    await until(() => database.statistics.idle === 2);
    expect(database.lines.filter(({ level }) => level >= 30)).toEqual([]);
    await daemon.stop();
    expect(clock.pending).toBe(0);
    await server.query('DROP ROLE limited');
  });
});
