import { Entrypoint, entrypoint, withDeadline } from 'bosun';
import { PostgresService } from 'bosun/services/postgres';
import { FakeClock, FaultProxy } from 'bosun/testing';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { databaseOf, quiet, running, terminate } from '../support/database.ts';
import { startPostgres, type TestPostgres, until } from '../support/postgres.ts';

let server: TestPostgres;

beforeAll(async () => {
  server = await startPostgres();
  await server.query('CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL, price int)');
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const rejection = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: Error & Record<string, unknown>) => error,
  );

async function started(options: Parameters<typeof databaseOf>[1] = {}) {
  const database = databaseOf(server, { poolSize: 1, retryPauseMs: 0, ...options });
  const locker = databaseOf(server, { poolSize: 1 });
  const daemon = await entrypoint([database, locker], quiet);
  return {
    database,
    /** Keeps others from the table until it is disposed of. */
    lock: async () => {
      const tx = await locker.begin();
      await tx.query('LOCK TABLE items');
      return tx;
    },
    [Symbol.asyncDispose]: () => daemon.stop(),
  };
}

describe('a query whose connection is lost', () => {
  it.each([
    ['only reads', { text: 'SELECT count(*)::int AS n FROM items WHERE id < 0' }],
    ['is marked idempotent', { text: 'DELETE FROM items WHERE id < 0', idempotent: true }],
  ])('is sent again when it %s', async (_case, query) => {
    await using set = await started();
    const { database } = set;
    const lock = await set.lock();
    const result = database.query(query);
    await running(server, database, query.text);
    await terminate(server, database);
    await until(() => database.statistics.retries === 1);
    await lock.rollback();
    expect(await result).toMatchObject({ rows: expect.any(Array) });
    expect(database.statistics).toMatchObject({ retries: 1, errors: {} });
  });

  it.each([
    ['it writes', { text: "INSERT INTO items VALUES (1, 'no')" }],
    ['it reads but is marked', { text: 'SELECT * FROM items', idempotent: false }],
    ['a function in it writes', { text: "SELECT set_config('a.b', '', false) FROM items" }],
    ['it is more than one statement', { text: 'SELECT 1; DELETE FROM items' }],
    ['it makes a table', { text: 'SELECT * INTO made FROM items' }],
  ])('is not when %s', async (_case, query) => {
    await using set = await started();
    const { database } = set;
    await using lock = await set.lock();
    const error = rejection(database.query(query));
    await running(server, database, query.text.replaceAll("'", "''"));
    await terminate(server, database);
    expect(await error).toMatchObject({ code: '57P01' });
    expect(await error).not.toHaveProperty('retryAfterMs');
    expect(database.statistics.retries).toBe(0);
    await lock.rollback();
  });

  it('is tried maxTries times in all', async () => {
    await using set = await started({ maxTries: 2 });
    const { database } = set;
    await using lock = await set.lock();
    const error = rejection(database.query('SELECT * FROM items'));
    for (const retries of [0, 1]) {
      await until(() => database.statistics.retries === retries);
      await running(server, database, 'SELECT * FROM items');
      await terminate(server, database);
    }
    expect(await error).toMatchObject({ code: '57P01', retryAfterMs: 50 });
    await lock.rollback();
  });

  it('is not tried again beyond the deadline of its caller', async () => {
    const clock = new FakeClock();
    const database = databaseOf(server, { poolSize: 1 });
    const locker = databaseOf(server, { poolSize: 1 });
    const daemon = new Entrypoint([database, locker], { ...quiet, clock });
    await daemon.start();
    const lock = await locker.begin();
    await lock.query('LOCK TABLE items');
    const error = rejection(withDeadline(20, () => database.query('SELECT * FROM items'), { clock }));
    await running(server, database, 'SELECT * FROM items');
    await terminate(server, database);
    // The pause of at least 50 ms would end later.
    expect(await error).toMatchObject({ code: '57P01' });
    await lock.rollback();
    await daemon.stop();
    expect(clock.pending).toBe(0);
  });

  it('says so, with the cause, when there was no word from the server', async () => {
    await using proxy = await FaultProxy.listen({ target: server });
    const url = server.url.replace(`:${server.port}/`, `:${proxy.port}/`);
    const database = databaseOf(server, { url, poolSize: 1 });
    await using _daemon = await entrypoint([database], quiet);
    const query = { name: 'slow', text: 'SELECT pg_sleep(600)', idempotent: false };
    const error = rejection(database.query(query));
    await running(server, database, 'SELECT pg_sleep');
    proxy.refuse();
    await proxy.cut();
    expect(await error).toMatchObject({
      code: 'ERR_POSTGRES_UNAVAILABLE',
      statement: '"slow"',
      target: `127.0.0.1:${proxy.port}/postgres`,
      retryAfterMs: undefined,
      cause: expect.any(Error),
    });
  });
});

describe('a mistake in a query', () => {
  it.each([
    ['a wrong number of values', { text: 'SELECT $1::int', values: [1, 2] }, '08P01'],
    ['a syntax error', { text: 'SELECT FROM FROM' }, '42601'],
    ['a value that cannot be sent', { text: 'SELECT $1::text', values: [{ n: 1n }] }, undefined],
  ])('(%s) is not repeated, and costs no connection', async (_case, query, code) => {
    await using set = await started();
    const { database } = set;
    const error = await rejection(database.query(query));
    expect(error).toBeInstanceOf(Error);
    expect(error?.code).toBe(code);
    expect(error).not.toHaveProperty('retryAfterMs');
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    expect(database.statistics).toMatchObject({ retries: 0, discarded: 0, state: 'up' });
  });
});

describe('a prepared statement', () => {
  const SELECT_ALL = { name: 'all', text: 'SELECT * FROM items WHERE id = $1' };

  it('survives a change of its table, and the loss of its connection', async () => {
    await using set = await started();
    const { database } = set;
    await database.query("INSERT INTO items VALUES (7, 'seven', 7)");
    expect((await database.query(SELECT_ALL, [7])).rows).toEqual([{ id: 7, name: 'seven', price: 7 }]);
    await server.query('ALTER TABLE items ADD COLUMN colour text');
    expect((await database.query(SELECT_ALL, [7])).rows[0]).toHaveProperty('colour');
    await terminate(server, database);
    expect((await database.query(SELECT_ALL, [7])).rows[0]).toHaveProperty('colour');
    await database.query('DEALLOCATE ALL');
    expect((await database.query(SELECT_ALL, [7])).rows[0]).toHaveProperty('colour');
  });

  it('is stale on no connection once one has noticed, so that a single client need not meet them all', async () => {
    await using set = await started({ poolSize: 6, maxTries: 2 });
    const { database } = set;
    await server.query('CREATE TABLE renewed (word text)');
    const query = { name: 'renewed', text: 'SELECT word FROM renewed' };
    // On each of the six connections: none is given back before all have been taken.
    const warmUp = async () => {
      const all = Promise.withResolvers<void>();
      let taken = 0;
      const prepare = () =>
        database.withClient(async (client) => {
          taken += 1;
          if (taken === 6) all.resolve();
          await all.promise;
          await client.query(query);
        });
      await Promise.all(Array.from({ length: 6 }, prepare));
    };
    await warmUp();
    await server.query('ALTER TABLE renewed ALTER word TYPE varchar(10)');
    expect((await database.query(query)).fields[0]?.name).toBe('word');
    await warmUp();
    await server.query('ALTER TABLE renewed ALTER word TYPE text');
    // Of a transaction the statement before it may have been done: it is run again only where that is asked for.
    const inTransaction = () => database.transaction((tx) => tx.query(query));
    await expect(inTransaction()).rejects.toMatchObject({ code: '0A000' });
    await inTransaction();
  });

  it('runs on many connections at once', async () => {
    await using set = await started({ poolSize: 5 });
    const query = { name: 'twice', text: 'SELECT $1::int * 2 AS twice' };
    const results = await Promise.all(Array.from({ length: 50 }, (_, i) => set.database.query(query, [i])));
    expect(results.map(({ rows }) => rows[0]?.twice)).toEqual(Array.from({ length: 50 }, (_, i) => i * 2));
  });

  it.each([
    [
      'another text',
      'one',
      'SELECT 2',
      'the name of the prepared statement "one" is that of another text already',
    ],
    [
      'a name too long to be told from others',
      'n'.repeat(64),
      'SELECT 1',
      'must not be longer than 63 bytes',
    ],
    ['such a name in bytes', 'ü'.repeat(32), 'SELECT 1', 'must not be longer than 63 bytes'],
  ])('is refused with %s, before it is sent', async (_case, name, text, message) => {
    await using set = await started({ poolSize: 2 });
    const { database } = set;
    await database.query({ name: 'one', text: 'SELECT 1' });
    const { acquires } = database.statistics;
    const refusal = { code: 'ERR_POSTGRES_STATEMENT_NAME', message: expect.stringContaining(message) };
    await expect(database.query({ name, text })).rejects.toMatchObject(refusal);
    expect(database.statistics.acquires).toBe(acquires);
    await database.withClient((client) =>
      expect(client.query({ name, text })).rejects.toMatchObject(refusal),
    );
  });
});

describe("a server's error", () => {
  const logged = (err: unknown) => {
    const lines: string[] = [];
    pino({}, { write: (line) => void lines.push(line) }).error({ err }, 'failed');
    return lines.join('');
  };

  it('names the statement, and shows no values in a log, though the code can read them', async () => {
    await using set = await started();
    const { database } = set;
    const insert = { name: 'insert', text: 'INSERT INTO items (id, name) VALUES ($1, $2)' };
    await database.query(insert, [4242, 'hush']);
    const error = await rejection(database.query(insert, [4242, 'hush']));
    expect(error).toMatchObject({
      code: '23505',
      constraint: 'items_pkey',
      statement: '"insert"',
      detail: 'Key (id)=(4242) already exists.',
      message: 'duplicate key value violates unique constraint "items_pkey" (statement "insert")',
    });
    expect(error?.stack).toContain('postgres-retries.test.ts');
    expect(logged(error)).toContain('items_pkey');
    expect(logged(error)).not.toMatch(/4242|hush/);
  });

  it('does not quote the value that is ill-typed', async () => {
    await using set = await started();
    const error = await rejection(set.database.query('SELECT $1::int', ['hush']));
    expect(error).toMatchObject({
      code: '22P02',
      message: 'invalid input syntax for type integer: "…" (statement "SELECT $1::int")',
    });
    expect(logged(error)).not.toContain('hush');
  });

  it('names a statement without a name by the beginning of its text, on one line', async () => {
    await using set = await started();
    const text = `SELECT\n  ${'x'.repeat(200)}`;
    const error = await rejection(set.database.query(text));
    expect(error?.statement).toBe(`"SELECT ${'x'.repeat(52)}…"`);
  });
});

describe('options', () => {
  it.each([
    ['acquireTimeoutMs', 0],
    ['queryTimeoutMs', 0],
    ['leakWarningMs', -1],
    ['maxTries', 0],
    ['maxTries', 1.5],
    ['retryPauseMs', -1],
  ])('refuse %s: %d', (option, value) => {
    const options = { url: 'embedded', [option]: value };
    expect(() => new PostgresService(options)).toThrow(`option "${option}"`);
  });
});
