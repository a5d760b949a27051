import { createServer, type Socket } from 'node:net';
import {
  Entrypoint,
  type EntrypointOptions,
  entrypoint,
  OptionsError,
  ShutdownError,
  StopForcedError,
} from 'bosun';
import { type PostgresClient, PostgresService } from 'bosun/services/postgres';
import { FakeClock, FaultProxy, freePort } from 'bosun/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres, until } from '../support/postgres.ts';

const quiet: EntrypointOptions = { log: { level: 'silent' }, ownsProcess: false };

let server: TestPostgres;
let names = 0;

beforeAll(async () => {
  server = await startPostgres();
  await server.query('CREATE TABLE notes (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, note text)');
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const uniqueName = () => `database-${++names}`;

const service = (options: { poolSize?: number; url?: string } = {}) =>
  new PostgresService({ url: server.url, name: uniqueName(), ...options });

const connectionsOf = async (database: PostgresService) => {
  const { rows } = await server.query('SELECT pid FROM pg_stat_activity WHERE application_name = $1', [
    `bosun-${database.name}`,
  ]);
  return rows.map((row) => row.pid as number);
};

const killConnectionsOf = async (database: PostgresService) =>
  await server.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1', [
    `bosun-${database.name}`,
  ]);

const noteOf = async (id: number) =>
  (await server.query('SELECT note FROM notes WHERE id = $1', [id])).rows[0]?.note as string | undefined;

const pidOf = async (client: PostgresClient) =>
  (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid;

describe('the pool', () => {
  it('has all its connections open when the service has started, and none when it has stopped', async () => {
    const database = service();
    {
      await using _daemon = await entrypoint([database], quiet);
      expect(await connectionsOf(database)).toHaveLength(6);
      expect(await database.health()).toEqual({ ok: true });
    }
    await until(async () => (await connectionsOf(database)).length === 0);
    expect(await database.health()).toEqual({ ok: false, detail: 'not running' });
    await expect(database.query('SELECT 1')).rejects.toMatchObject({
      code: 'ERR_POSTGRES_NOT_RUNNING',
      retryAfterMs: 1_000,
    });
  });

  it('can be started again after a restart', async () => {
    const database = service({ poolSize: 2 });
    await using daemon = await entrypoint([database], quiet);
    const before = await connectionsOf(database);
    await daemon.restart(database.name);
    const after = await connectionsOf(database);
    expect(after).toHaveLength(2);
    expect(after.filter((pid) => before.includes(pid))).toEqual([]);
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('lets a query wait for a free connection', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const gate = Promise.withResolvers<void>();
    const order: string[] = [];
    const first = database.withClient(async () => {
      await gate.promise;
      order.push('first');
    });
    const second = database.query('SELECT 1').then(() => order.push('second'));
    await server.query('SELECT 1');
    expect(order).toEqual([]);
    expect(await database.health()).toEqual({ ok: true });
    gate.resolve();
    await Promise.all([first, second]);
    expect(order).toEqual(['first', 'second']);
  });

  it('waits at its stop for the clients that are held, and lets go who waits for one', async () => {
    const database = service({ poolSize: 1 });
    await using daemon = await entrypoint([database], quiet);
    const gate = Promise.withResolvers<void>();
    const holding = database.withClient(async (client) => {
      await gate.promise;
      return (await client.query('SELECT 7 AS seven')).rows;
    });
    await until(() => database.waitingFor().length > 0);
    const waiting = expect(database.query('SELECT 1')).rejects.toMatchObject({
      code: 'ERR_POSTGRES_NOT_RUNNING',
    });
    const stopped = daemon.stop();
    await waiting;
    gate.resolve();
    expect(await holding).toEqual([{ seven: 7 }]);
    await stopped;
  });

  it('names who holds its clients when it cannot stop, and destroys the connections', async () => {
    const clock = new FakeClock();
    const database = service({ poolSize: 2 });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    await daemon.start();
    const never = new Promise<void>(() => {});
    const cut = database.query('SELECT pg_sleep(600)').catch((error: Error) => error);
    void database.withClient(() => never);
    await until(() => database.waitingFor().length === 2);
    const stopped = daemon.stop().catch((error: unknown) => error);
    await clock.advance(10_000);
    const error = (await stopped) as ShutdownError;
    expect(error).toBeInstanceOf(ShutdownError);
    const [forced] = error.errors as StopForcedError[];
    expect(forced).toBeInstanceOf(StopForcedError);
    expect(forced?.heldBy.join('\n')).toContain('held for 10000 ms by "SELECT pg_sleep(600)"');
    expect(forced?.heldBy.join('\n')).toMatch(/by at .*postgres\.test\.ts:\d+/);
    expect(forced?.abandoned).toBe(false);
    expect(await cut).toBeInstanceOf(Error);
  });

  it('names a holder by its label', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    await database.withClient(
      () => {
        expect(database.waitingFor()[0]).toMatch(/^a client held for \d+ ms by "report"$/);
      },
      { label: 'report' },
    );
    expect(database.waitingFor()).toEqual([]);
  });
});

describe('query', () => {
  it('takes text with values, prepared statements, and rows as arrays', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const { rows } = await database.query<{ sum: number }>('SELECT $1::int + 1 AS sum', [41]);
    expect(rows).toEqual([{ sum: 42 }]);
    const prepared = { name: 'twice', text: 'SELECT $1::int * 2 AS twice' };
    expect((await database.query(prepared, [4])).rows).toEqual([{ twice: 8 }]);
    expect((await database.query({ ...prepared, values: [5] })).rows).toEqual([{ twice: 10 }]);
    const arrays = await database.query<[number, string]>({ text: "SELECT 1, 'a'", rowMode: 'array' });
    expect(arrays.rows).toEqual([[1, 'a']]);
  });

  it.each([
    ['int4[]', [[1, -2, 2_147_483_647]]],
    ['float8[]', [[0, 1e21, 1e-7, 5e-324, Number.NaN, Number.POSITIVE_INFINITY, 0.1]]],
    ['int4[]', [[]]],
    // A hole is NULL, as pg has it.
    ['int4[]', [Object.assign(new Array(3), { 0: 1, 2: 2 })], [1, null, 2]],
    ['int4[]', [[1, null, 2]]],
    [
      'int4[]',
      [
        [
          [1, 2],
          [3, 4],
        ],
      ],
      [
        [1, 2],
        [3, 4],
      ],
    ],
    ['text[]', [['a"b\\', '{,}', 'NULL']]],
  ])('takes arrays, here %s of %j', async (type, values: unknown[], expected: unknown = values[0]) => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const text = `SELECT $1::${type} AS it`;
    const [row] = (await database.query(text, values)).rows;
    expect(row).toEqual({ it: expected });
    expect((await database.query({ text, values })).rows).toEqual([row]);
    expect(JSON.parse(String(await database.json({ text, values })))).toEqual([
      JSON.parse(JSON.stringify(row)),
    ]);
    for await (const streamed of database.stream(text, values)) expect(streamed).toEqual(row);
  });

  it('refuses values that are no array', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    await expect(database.query('SELECT $1::int', 5 as never)).rejects.toThrow('must be an array');
  });

  it("keeps the fields of pg's errors, and the connection", async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const before = await connectionsOf(database);
    await expect(database.query('SELECT * FROM nowhere')).rejects.toMatchObject({
      name: 'error',
      code: '42P01',
      severity: 'ERROR',
      position: '15',
    });
    expect(await connectionsOf(database)).toEqual(before);
  });
});

describe('withClient', () => {
  it('hands out one connection and takes it back, also when the work throws', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const pids = await database.withClient(async (client) => [await pidOf(client), await pidOf(client)]);
    expect(pids[0]).toBe(pids[1]);
    await expect(
      database.withClient(() => {
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    expect(await database.withClient(pidOf)).toBe(pids[0]);
  });

  it('refuses a client that is back in the pool', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const kept = await database.withClient((client) => client);
    await expect(kept.query('SELECT 1')).rejects.toMatchObject({ code: 'ERR_POSTGRES_CLIENT_RELEASED' });
    expect(() => kept.raw).toThrow(expect.objectContaining({ code: 'ERR_POSTGRES_CLIENT_RELEASED' }));
  });

  it('does not use a connection again that was left in a transaction', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const pid = await database.withClient(async (client) => {
      await client.query('BEGIN');
      return await pidOf(client);
    });
    expect(await database.withClient(pidOf)).not.toBe(pid);
  });

  it('does not use a connection again whose transaction a failed statement has left open', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const pid = await database.withClient(pidOf);
    await expect(database.query('BEGIN; SELECT * FROM nowhere')).rejects.toMatchObject({ code: '42P01' });
    expect(await database.withClient(pidOf)).not.toBe(pid);
  });

  it('does not use a connection again that has a query under way', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    let left: Promise<unknown> = Promise.resolve();
    const pid = await database.withClient(async (client) => {
      const own = await pidOf(client);
      left = client.query('SELECT pg_sleep(600)').catch((error: unknown) => error);
      return own;
    });
    expect(await database.withClient(pidOf)).not.toBe(pid);
    expect(await left).toBeInstanceOf(Error);
  });
});

describe('transaction', () => {
  it('commits when the work returns', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const result = await database.transaction(async (client) => {
      await client.query("INSERT INTO notes VALUES (1, 'kept')");
      expect(await noteOf(1)).toBeUndefined();
      return 'done';
    });
    expect(result).toBe('done');
    expect(await noteOf(1)).toBe('kept');
  });

  it('rolls back when the work throws, and keeps the connection', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const before = await connectionsOf(database);
    const work = database.transaction(async (client) => {
      await client.query("INSERT INTO notes VALUES (2, 'gone')");
      throw new Error('changed my mind');
    });
    await expect(work).rejects.toThrow('changed my mind');
    expect(await noteOf(2)).toBeUndefined();
    expect(await connectionsOf(database)).toEqual(before);
  });

  it('runs at the isolation asked for', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const level = async (client: PostgresClient) =>
      (await client.query('SHOW transaction_isolation')).rows[0]?.transaction_isolation;
    expect(await database.transaction(level)).toBe('read committed');
    expect(await database.transaction(level, { isolation: 'serializable' })).toBe('serializable');
    expect(await database.transaction(level, { isolation: 'repeatable read' })).toBe('repeatable read');
  });

  it('rejects with the error of a COMMIT that fails, and keeps the connection', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const before = await connectionsOf(database);
    const work = database.transaction(async (client) => {
      await client.query("INSERT INTO notes VALUES (3, 'first'), (3, 'again')");
    });
    await expect(work).rejects.toMatchObject({ code: '23505', constraint: 'notes_pkey' });
    expect(await noteOf(3)).toBeUndefined();
    expect(await connectionsOf(database)).toEqual(before);
  });

  it('rejects when a statement had failed and its error was caught', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const work = database.transaction(async (client) => {
      await client.query("INSERT INTO notes VALUES (4, 'lost')");
      await client.query('SELECT * FROM nowhere').catch(() => {});
    });
    await expect(work).rejects.toMatchObject({ code: 'ERR_POSTGRES_ROLLED_BACK' });
    expect(await noteOf(4)).toBeUndefined();
  });

  it('rejects with the error of the work, and replaces the connection, when that is lost in the middle', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const work = database.transaction(async (client) => {
      const pid = await pidOf(client);
      await server.query('SELECT pg_terminate_backend($1)', [pid]);
      await client.query('SELECT 1').catch((cause: unknown) => {
        throw new Error('lost', { cause });
      });
    });
    await expect(work).rejects.toThrow('lost');
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });
});

describe('a database that cannot be reached', () => {
  it('is waited for, with pauses, and the wait is told', async () => {
    const clock = new FakeClock();
    await using proxy = await FaultProxy.listen({ target: server });
    proxy.refuse();
    const database = service({ url: server.url.replace(`:${server.port}/`, `:${proxy.port}/`), poolSize: 2 });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    const started = daemon.start();
    const at = `postgres at 127.0.0.1:${proxy.port}/postgres`;
    await until(() => database.waitingFor()[0] === `${at} (connection refused, 1 try)`);
    await clock.advance(50);
    await until(() => database.waitingFor()[0] === `${at} (connection refused, 2 tries)`);
    await proxy.accept();
    await clock.advance(100);
    await started;
    expect(database.waitingFor()).toEqual([]);
    await daemon.stop();
    expect(clock.pending).toBe(0);
  });

  it('fails the start when the start timeout passes, naming the database and why', async () => {
    const clock = new FakeClock();
    const port = await freePort();
    const database = service({ url: `postgres://u:hush@127.0.0.1:${port}/db` });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    const started = daemon.start().catch((error: unknown) => error);
    await until(() => database.waitingFor().length > 0 && clock.pending > 1);
    await clock.advance(30_000);
    expect(await started).toMatchObject({
      code: 'ERR_SERVICE_START_TIMEOUT',
      message: expect.stringMatching(
        new RegExp(`waiting for postgres at 127\\.0\\.0\\.1:${port}/db \\(connection refused, \\d+ tr`),
      ),
    });
    expect(String(await started)).not.toContain('hush');
    await daemon.closed;
  });

  it('is given up at once when the daemon is stopped, even when the server accepts and says nothing', async () => {
    const sockets = new Set<Socket>();
    const mute = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {}).resume();
    }).listen(0, '127.0.0.1');
    await until(() => mute.listening);
    const { port } = mute.address() as { port: number };
    const database = service({ url: `postgres://u:p@127.0.0.1:${port}/db` });
    const daemon = new Entrypoint([database], quiet);
    const started = daemon.start().catch((error: unknown) => error);
    await until(() => sockets.size === 1);
    await daemon.stop();
    expect(await started).toMatchObject({ code: 'ERR_ENTRYPOINT_STOPPED' });
    await until(() => [...sockets].every((socket) => socket.destroyed || socket.readableEnded));
    mute.close();
  });

  it.each([
    ['a wrong password', () => server.url.replace(server.password, 'hush'), /password authentication failed/],
    [
      'an unknown database',
      () => server.url.replace(/postgres$/, 'nowhere'),
      /database "nowhere" does not exist/,
    ],
    ['a missing password', () => server.url.replace(`:${server.password}`, ''), /password must be a string/],
    ['a TLS demand the server refuses', () => `${server.url}?sslmode=verify-full`, /does not support SSL/],
  ])('fails the start at once for %s, without telling the password', async (_case, url, message) => {
    const failing = new Entrypoint([service({ url: url() })], { ...quiet, clock: new FakeClock() });
    const error = (await failing.start().catch((thrown: unknown) => thrown)) as Error;
    expect(error.cause).toMatchObject({
      code: 'ERR_POSTGRES_CONNECT',
      message: expect.stringMatching(message),
    });
    for (let shown: unknown = error; shown instanceof Error; shown = shown.cause) {
      expect(`${shown.stack} ${JSON.stringify(shown)}`).not.toMatch(/hush/);
      expect(`${shown.stack} ${JSON.stringify(shown)}`).not.toContain(server.password);
    }
    await failing.closed;
  });
});

describe('a database that is lost', () => {
  it('makes the service unhealthy, not failed, until it is back', async () => {
    await using proxy = await FaultProxy.listen({ target: server });
    const database = service({ url: server.url.replace(`:${server.port}/`, `:${proxy.port}/`), poolSize: 2 });
    await using daemon = await entrypoint([database], quiet);
    proxy.refuse();
    await proxy.cut();
    const detail = `postgres at 127.0.0.1:${proxy.port}/postgres: connection refused`;
    await until(async () => (await database.health()).detail === detail);
    await expect(database.query('SELECT 1')).rejects.toMatchObject({
      code: 'ERR_POSTGRES_UNAVAILABLE',
      retryAfterMs: 1_000,
      statement: undefined,
      cause: { code: 'ECONNREFUSED' },
    });
    expect(daemon.services[0]?.state.status).toBe('running');
    await proxy.accept();
    await until(async () => (await database.health()).ok);
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('replaces idle connections that the server has killed', async () => {
    const database = service({ poolSize: 3 });
    await using daemon = await entrypoint([database], quiet);
    const before = await connectionsOf(database);
    await killConnectionsOf(database);
    const old = async () => (await connectionsOf(database)).filter((pid) => before.includes(pid));
    await until(async () => (await old()).length === 0);
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    expect(daemon.services[0]?.state.status).toBe('running');
    expect(await database.health()).toEqual({ ok: true });
  });

  it('rejects the query under way on a connection that is killed', async () => {
    const database = service({ poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const slow = expect(
      database.query({ text: 'SELECT pg_sleep(600)', idempotent: false }),
    ).rejects.toMatchObject({ code: '57P01' });
    await until(async () => {
      const { rowCount } = await server.query(
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND application_name = $1",
        [`bosun-${database.name}`],
      );
      return rowCount === 1;
    });
    await killConnectionsOf(database);
    await slow;
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });
});

describe('options', () => {
  it.each([
    'postgres//user:hush@db/app',
    'postgres:user:hush@db/app',
    'mysql://user:hush@db/app',
    'postgres://user:hush@db:port/app',
    'postgres://user:hush%zz@db/app',
    'hush',
    '',
  ])('refuse the URL %j without showing it', (url) => {
    let error: unknown;
    try {
      new PostgresService({ url });
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(OptionsError);
    expect(String(error)).toContain('must be "embedded" or a URL such as postgres://');
    expect(String(error)).not.toContain('hush');
  });

  it('hide the password of a URL that was given under another name', () => {
    const given = { url: 'embedded', ulr: 'postgres://user:hush@db/app' };
    expect(() => new PostgresService(given)).toThrow(
      /"ulr" does not exist.*user:\*\*\*@db.*did you mean "url"/,
    );
  });

  it.each([
    [{ url: 'embedded', poolSize: 0 }, 'poolSize'],
    [{ url: 'embedded', poolSize: 1.5 }, 'poolSize'],
    [{ url: 'embedded', connectTimeoutMs: 0 }, 'connectTimeoutMs'],
    [{ url: 'embedded', dataDir: '' }, 'dataDir'],
    [{ poolSize: 1 } as unknown as { url: string }, 'url'],
  ])('refuse %j', (options, option) => {
    expect(() => new PostgresService(options)).toThrow(`option "${option}"`);
  });
});
