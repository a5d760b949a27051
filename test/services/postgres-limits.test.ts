import { getEventListeners } from 'node:events';
import { chmod, chown, copyFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Entrypoint, entrypoint, withDeadline } from 'bosun';
import { FakeClock, FaultProxy, settle } from 'bosun/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeCertificate } from '../support/certificates.ts';
import { connectionsOf, databaseOf, halt, pidOf, quiet, running, runningOf } from '../support/database.ts';
import { startPostgres, type TestPostgres, temporaryFolder, until } from '../support/postgres.ts';

let server: TestPostgres;

beforeAll(async () => {
  server = await startPostgres();
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const SLOW = 'SELECT pg_sleep(600)';

async function onFakeClock(options: Parameters<typeof databaseOf>[1] = {}) {
  const clock = new FakeClock();
  const database = databaseOf(server, { poolSize: 1, maxTries: 1, ...options });
  const daemon = new Entrypoint([database], { ...quiet, clock });
  await daemon.start();
  return { clock, database, [Symbol.asyncDispose]: () => daemon.stop() };
}

describe('a query whose time is up', () => {
  it('rejects, naming the statement, is cancelled on the server, and leaves the connection fit', async () => {
    await using set = await onFakeClock();
    const { clock, database } = set;
    const pid = await pidOf(database);
    const slow = database.query({ name: 'slow', text: SLOW, timeoutMs: 50 }).catch((error: unknown) => error);
    await running(server, database, SLOW);
    await clock.advance(49);
    expect(database.statistics.cancels).toBe(0);
    await clock.advance(1);
    expect(await slow).toMatchObject({
      code: 'ERR_POSTGRES_QUERY_TIMEOUT',
      statement: '"slow"',
      timeoutMs: 50,
      message: 'the query "slow" took longer than 50 ms',
    });
    await until(async () => (await runningOf(server, database, SLOW)).length === 0);
    expect(await pidOf(database)).toBe(pid);
    expect(database.statistics).toMatchObject({
      cancels: 1,
      discarded: 0,
      state: 'up',
      errors: { ERR_POSTGRES_QUERY_TIMEOUT: 1 },
    });
  });

  it("has the service's limit where it has none of its own", async () => {
    await using set = await onFakeClock({ queryTimeoutMs: 200 });
    const { clock, database } = set;
    const slow = database.query(SLOW).catch((error: unknown) => error);
    const longer = database.query({ text: SLOW, timeoutMs: 900 }).catch((error: unknown) => error);
    await running(server, database, SLOW);
    await clock.advance(200);
    expect(await slow).toMatchObject({ code: 'ERR_POSTGRES_QUERY_TIMEOUT', timeoutMs: 200 });
    await clock.advance(700);
    expect(await longer).toMatchObject({ code: 'ERR_POSTGRES_QUERY_TIMEOUT', timeoutMs: 900 });
  });

  it('tells whether it can be repeated', async () => {
    await using set = await onFakeClock();
    const { clock, database } = set;
    const write = database
      .query({ text: "SELECT set_config('a.b', '', false), pg_sleep(600)", timeoutMs: 10 })
      .catch((error: unknown) => error);
    await running(server, database, 'SELECT set_config');
    await clock.advance(10);
    expect(await write).toMatchObject({ code: 'ERR_POSTGRES_QUERY_TIMEOUT', retryAfterMs: undefined });
    const read = database.query({ text: SLOW, timeoutMs: 10 }).catch((error: unknown) => error);
    await running(server, database, SLOW);
    await clock.advance(10);
    expect(await read).toMatchObject({ code: 'ERR_POSTGRES_QUERY_TIMEOUT', retryAfterMs: 1_000 });
  });

  it.each([-1, Number.NaN])('refuses a limit of %d', async (timeoutMs) => {
    const database = databaseOf(server, { poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    await expect(database.query({ text: 'SELECT 1', timeoutMs })).rejects.toThrow(RangeError);
    await expect(database.withClient(() => 1, { timeoutMs })).rejects.toThrow(RangeError);
    await expect(database.begin({ timeoutMs })).rejects.toThrow(RangeError);
    await expect(database.transaction(() => 1, { retries: timeoutMs })).rejects.toThrow(RangeError);
  });

  it('sends nothing with a limit of 0', async () => {
    const database = databaseOf(server, { poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    await expect(database.query({ text: 'SELECT 1', timeoutMs: 0 })).rejects.toMatchObject({
      code: 'ERR_POSTGRES_QUERY_TIMEOUT',
    });
    expect(database.statistics).toMatchObject({ acquires: 0, cancels: 0 });
  });
});

describe('a query that is given up', () => {
  it("rejects with its signal's reason, and leaves no listener", async () => {
    const database = databaseOf(server, { poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const controller = new AbortController();
    const slow = database.query({ text: SLOW, signal: controller.signal }).catch((error: unknown) => error);
    await running(server, database, SLOW);
    const reason = new Error('enough');
    const { stack } = reason;
    controller.abort(reason);
    expect(await slow).toBe(reason);
    expect(reason.stack).toBe(stack);
    await until(async () => (await runningOf(server, database, SLOW)).length === 0);
    const { signal } = new AbortController();
    await database.query({ text: 'SELECT 1', signal });
    await database.transaction((tx) => tx.query({ text: 'SELECT 1', signal }), { signal });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('sends nothing when its signal has aborted before', async () => {
    const database = databaseOf(server, { poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    await expect(database.query({ text: 'SELECT 1', signal: AbortSignal.abort('before') })).rejects.toBe(
      'before',
    );
    expect(database.statistics).toMatchObject({ acquires: 0, errors: { aborted: 1 } });
  });

  it("ends with the caller's deadline", async () => {
    await using set = await onFakeClock();
    const { clock, database } = set;
    const slow = withDeadline(100, () => database.query(SLOW), { clock }).catch((error: unknown) => error);
    await running(server, database, SLOW);
    await clock.advance(100);
    expect(await slow).toMatchObject({ code: 'ERR_DEADLINE', limitMs: 100 });
    await until(async () => (await runningOf(server, database, SLOW)).length === 0);
  });

  it('leaves the queue when it still waits for a connection', async () => {
    const database = databaseOf(server, { poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const gate = Promise.withResolvers<void>();
    const holding = database.withClient(() => gate.promise);
    await until(() => database.statistics.inUse === 1);
    const controller = new AbortController();
    const waiting = database
      .query({ text: 'SELECT 1', signal: controller.signal })
      .catch((error: unknown) => error);
    const next = database.query('SELECT 2 AS two');
    await until(() => database.statistics.waiting === 2);
    controller.abort('enough');
    expect(await waiting).toBe('enough');
    expect(database.statistics).toMatchObject({ waiting: 1, cancels: 0 });
    gate.resolve();
    await holding;
    expect((await next).rows).toEqual([{ two: 2 }]);
  });

  it('never makes a later query of its connection fail', async () => {
    const database = databaseOf(server, { poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    for (let i = 0; i < 100; i++) {
      const controller = new AbortController();
      // It ends by itself at about the time at which it is given up.
      const raced = database
        .query({ text: `SELECT pg_sleep(${(i % 5) / 1_000})`, signal: controller.signal })
        .catch((error: unknown) => error);
      await until(() => database.statistics.inUse === 1 || database.statistics.queries > 2 * i + 1);
      for (let turn = 0; turn < i % 7; turn++) await settle();
      controller.abort('enough');
      await raced;
      expect((await database.query({ text: 'SELECT 1 AS one', idempotent: false })).rows).toEqual([
        { one: 1 },
      ]);
    }
  });
});

describe('a connection whose query does not end when it is cancelled', () => {
  it('is closed and replaced, and counts until then', async () => {
    await using set = await onFakeClock();
    const { clock, database } = set;
    const pid = await pidOf(database);
    const slow = database.query({ text: SLOW, timeoutMs: 50 }).catch((error: unknown) => error);
    await running(server, database, SLOW);
    {
      using _halted = halt(pid);
      await clock.advance(50);
      await slow;
      await until(() => database.statistics.cleaning === 1);
      const next = pidOf(database);
      // The request to cancel is answered over a real socket: the clock must not run ahead of that.
      await until(async () => {
        await clock.advance(10);
        return database.statistics.cleaning === 0;
      });
      expect(await next).not.toBe(pid);
      expect(database.statistics).toMatchObject({ discarded: 1, state: 'up' });
    }
    await until(async () => (await connectionsOf(server, database)).length === 1);
  });
});

describe('a client on loan', () => {
  it('goes on after a query that has timed out', async () => {
    await using set = await onFakeClock();
    const { clock, database } = set;
    await database.withClient(async (client) => {
      const pid = await pidOf(client);
      const slow = client.query({ text: SLOW, timeoutMs: 50 }).catch((error: unknown) => error);
      const behind = pidOf(client);
      await running(server, database, SLOW);
      await clock.advance(50);
      expect(await slow).toMatchObject({ code: 'ERR_POSTGRES_QUERY_TIMEOUT' });
      expect(await behind).toBe(pid);
    });
    expect(database.statistics).toMatchObject({ discarded: 0 });
  });

  it('runs the queries that come at once one after the other, but for those given up meanwhile', async () => {
    const database = databaseOf(server, { poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    await database.withClient(async (client) => {
      const controller = new AbortController();
      const order: number[] = [];
      const queries = [1, 2, 3, 4].map((n) =>
        client
          .query({ text: 'SELECT $1::int AS n', values: [n], ...(n === 3 && { signal: controller.signal }) })
          .then(() => order.push(n)),
      );
      controller.abort('enough');
      expect(await Promise.allSettled(queries)).toMatchObject([{}, {}, { reason: 'enough' }, {}]);
      expect(order).toEqual([1, 2, 4]);
    });
    expect(database.statistics).toMatchObject({ cancels: 0, discarded: 0 });
  });

  it('is taken back at the end of its limits, and refuses what comes after', async () => {
    await using set = await onFakeClock();
    const { clock, database } = set;
    const late = Promise.withResolvers<unknown>();
    const gate = Promise.withResolvers<void>();
    const held = database
      .withClient(
        async (client) => {
          await gate.promise;
          late.resolve(client.query('SELECT 1').catch((error: unknown) => error));
        },
        { timeoutMs: 100 },
      )
      .catch((error: unknown) => error);
    await until(() => database.statistics.inUse === 1);
    await clock.advance(100);
    expect(await held).toMatchObject({ code: 'ERR_DEADLINE' });
    expect(database.statistics).toMatchObject({ inUse: 0, idle: 1, discarded: 0 });
    gate.resolve();
    expect(await late.promise).toMatchObject({ code: 'ERR_POSTGRES_CLIENT_RELEASED' });
  });
});

describe('over TLS', () => {
  it('a query is cancelled over TLS as well, and rows come as JSON, in a stream and as notifications', async () => {
    await using folder = await temporaryFolder();
    await using secure = await startPostgres();
    const { certFile, keyFile } = await makeCertificate(folder.path);
    const data = (await secure.query('SHOW data_directory')).rows[0]?.data_directory as string;
    const { uid, gid } = await stat(data);
    for (const [from, to] of [
      [certFile, 'server.crt'],
      [keyFile, 'server.key'],
    ] as const) {
      const path = join(data, to);
      await copyFile(from, path);
      await chown(path, uid, gid);
      await chmod(path, 0o600);
    }
    await secure.query('ALTER SYSTEM SET ssl = on');
    await secure.query('SELECT pg_reload_conf()');
    await until(async () => (await secure.query('SHOW ssl')).rows[0]?.ssl === 'on');

    const database = databaseOf(secure, { url: `${secure.url}?sslmode=no-verify`, poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const used = await database.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
    expect(used.rows).toEqual([{ ssl: true }]);
    const pid = await pidOf(database);
    const controller = new AbortController();
    const slow = database.query({ text: SLOW, signal: controller.signal }).catch((error: unknown) => error);
    await running(secure, database, SLOW);
    controller.abort('enough');
    expect(await slow).toBe('enough');
    await until(async () => (await runningOf(secure, database, SLOW)).length === 0);
    expect(await pidOf(database)).toBe(pid);

    const rows = 'SELECT n, repeat(chr(128512), n % 50) AS text FROM generate_series(1, 5000) AS n';
    const expected = (await database.query(rows)).rows;
    expect((await database.json(rows)).toString()).toBe(JSON.stringify(expected));
    const streamed: unknown[] = [];
    for await (const row of database.stream(rows, [], { batchRows: 700 })) streamed.push(row);
    expect(streamed).toEqual(expected);
    const heard = Promise.withResolvers<unknown>();
    await using _subscription = await database.listen('secure', heard.resolve);
    await secure.query("NOTIFY secure, 'hello'");
    expect(await heard.promise).toMatchObject({ kind: 'notification', payload: 'hello' });
  });
});

describe('a cancel', () => {
  it('that nobody answers is given up in time, closes its socket, and has the database looked for', async () => {
    const clock = new FakeClock();
    await using proxy = await FaultProxy.listen({ target: server });
    const url = server.url.replace(`:${server.port}/`, `:${proxy.port}/`);
    const database = databaseOf(server, { url, poolSize: 1, maxTries: 1 });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    await daemon.start();
    const slow = database.query({ text: SLOW, timeoutMs: 50 }).catch((error: unknown) => error);
    await running(server, database, SLOW);
    await proxy.blackHole();
    await clock.advance(50);
    expect(await slow).toMatchObject({ code: 'ERR_POSTGRES_QUERY_TIMEOUT' });
    await until(() => proxy.connections === 2);
    await clock.advance(1_000);
    await until(() => database.statistics.state === 'down');
    await expect(database.query('SELECT 1')).rejects.toMatchObject({ code: 'ERR_POSTGRES_UNAVAILABLE' });
    await proxy.accept();
    await until(async () => {
      await clock.advance(1_000);
      return database.statistics.state === 'up';
    });
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await daemon.stop();
    // The server has not noticed yet that nobody waits for the slow query.
    await until(() => proxy.connections === 1);
    expect(clock.pending).toBe(0);
  });
});
