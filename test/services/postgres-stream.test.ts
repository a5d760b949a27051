import { getEventListeners } from 'node:events';
import { entrypoint, withDeadline } from 'bosun';
import type { PostgresService, StreamOptions } from 'bosun/services/postgres';
import { FakeClock, FaultProxy } from 'bosun/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connectionsOf, databaseOf, quiet } from '../support/database.ts';
import { startPostgres, type TestPostgres, until } from '../support/postgres.ts';

let server: TestPostgres;

beforeAll(async () => {
  server = await startPostgres();
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const service = (options: { poolSize?: number; url?: string; queryTimeoutMs?: number } = {}) =>
  databaseOf(server, { poolSize: 1, ...options });

/** Whether the service's only connection is idle, outside of any transaction. */
const isIdle = async (database: PostgresService) => {
  const { rows } = await server.query('SELECT state FROM pg_stat_activity WHERE application_name = $1', [
    `bosun-${database.name}`,
  ]);
  return rows.length === 1 && rows[0].state === 'idle';
};

const COUNT = 'SELECT n FROM generate_series(1, $1::int) AS n';

/** Reads all, or until `enough`. */
async function read(
  rows: AsyncIterable<{ n: number }>,
  enough = Number.POSITIVE_INFINITY,
): Promise<number[]> {
  const read: number[] = [];
  for await (const { n } of rows) if (read.push(n) === enough) break;
  return read;
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

describe('stream', () => {
  it.each([0, 1, 9, 10, 11, 20, 25])('gives all of %i rows, in batches of 10', async (count) => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    expect(await read(database.stream(COUNT, [count], { batchRows: 10 }))).toEqual(upTo(count));
    expect(database.waitingFor()).toEqual([]);
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('makes the same rows as query', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const query = `SELECT 1::int8 AS a, timestamptz '2026-01-01' AS b, '{"c": 1}'::jsonb AS j, ARRAY[1, NULL] AS d, NULL AS e`;
    const rows: unknown[] = [];
    for await (const row of database.stream(query)) rows.push(row);
    expect(rows).toEqual((await database.query(query)).rows);
  });

  it('fetches no more than is asked for', async () => {
    await server.query('CREATE SEQUENCE fetched');
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const rows = database.stream(`SELECT nextval('fetched')::int AS n FROM generate_series(1, 1000)`, [], {
      batchRows: 10,
    });
    const fetched = async () => (await server.query('SELECT last_value::int AS n FROM fetched')).rows[0].n;
    expect(database.waitingFor()).toEqual([]);
    await rows.next();
    expect(await fetched()).toBe(10);
    for (let i = 0; i < 10; i++) await rows.next();
    expect(await fetched()).toBe(20);
    await rows.return();
    expect(await fetched()).toBe(20);
    expect(await isIdle(database)).toBe(true);
  });

  it('holds its connection, and says who does, until it is left', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const before = await connectionsOf(server, database);
    const rows = database.stream(COUNT, [100], { batchRows: 10 });
    await rows.next();
    expect(database.waitingFor()).toEqual([expect.stringMatching(/held for \d+ ms by "SELECT n FROM/)]);
    await rows.return();
    expect(database.waitingFor()).toEqual([]);
    const labelled = database.stream(COUNT, [100], { batchRows: 10, label: 'export' });
    await labelled.next();
    expect(database.waitingFor()).toEqual([expect.stringMatching(/by "export"$/)]);
    await labelled.return();
    expect(await read(database.stream(COUNT, [100]), 3)).toEqual([1, 2, 3]);
    expect(await connectionsOf(server, database)).toEqual(before);
  });

  it('gives its connection back when the loop throws', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const loop = async () => {
      for await (const _row of database.stream(COUNT, [100], { batchRows: 10 })) throw new Error('no more');
    };
    await expect(loop()).rejects.toThrow('no more');
    expect(await isIdle(database)).toBe(true);
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it.each<[string, StreamOptions]>([
    ['0', { batchRows: 0 }],
    ['1.5', { batchRows: 1.5 }],
    ['NaN', { batchRows: Number.NaN }],
    ['Infinity', { batchRows: Number.POSITIVE_INFINITY }],
  ])('refuses batches of %s rows', async (_what, options) => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    expect(() => database.stream(COUNT, [1], options)).toThrow(RangeError);
  });

  it('is refused while the service does not run', () => {
    expect(() => service().stream(COUNT, [1])).toThrow(
      expect.objectContaining({ code: 'ERR_POSTGRES_NOT_RUNNING' }),
    );
  });
});

describe('a stream that fails', () => {
  it.each([
    ['at once', 'SELECT * FROM nowhere', '42P01', 0],
    ['in a later batch', 'SELECT 1 / (25 - n) + n AS n FROM generate_series(1, 50) AS n', '22012', 20],
  ])(
    '%s rejects with the error of the server, and gives its connection back',
    async (_when, query, code, rows) => {
      const database = service();
      await using _daemon = await entrypoint([database], quiet);
      const before = await connectionsOf(server, database);
      let seen = 0;
      const loop = async () => {
        for await (const _row of database.stream(query, [], { batchRows: 10 })) seen += 1;
      };
      await expect(loop()).rejects.toMatchObject({ code });
      expect(seen).toBe(rows);
      expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
      expect(await connectionsOf(server, database)).toEqual(before);
    },
  );

  it('as its connection is killed rejects, and the next one is made on another', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const rows = database.stream(COUNT, [100], { batchRows: 10 });
    await rows.next();
    await server.query('SELECT pg_terminate_backend($1)', await connectionsOf(server, database));
    await expect(read(rows as AsyncIterable<{ n: number }>)).rejects.toThrow();
    await until(async () => (await database.query('SELECT 1').catch(() => undefined)) !== undefined);
    expect(await read(database.stream(COUNT, [2]))).toEqual([1, 2]);
  });

  it('as its connection is cut while it is left gives it up', async () => {
    await using proxy = await FaultProxy.listen({ target: server });
    const database = service({ url: server.url.replace(`:${server.port}/`, `:${proxy.port}/`) });
    await using _daemon = await entrypoint([database], quiet);
    const rows = database.stream(COUNT, [100], { batchRows: 10 });
    await rows.next();
    proxy.refuse();
    const cut = proxy.cut();
    await rows.return();
    await cut;
    expect(database.waitingFor()).toEqual([]);
    await proxy.accept();
    await until(async () => (await database.query('SELECT 1').catch(() => undefined)) !== undefined);
  });

  describe('in a parser that pg was given', () => {
    const { INT8 } = pg.types.builtins;
    const usual = pg.types.getTypeParser(INT8);

    afterEach(() => {
      pg.types.setTypeParser(INT8, usual);
    });

    it('rejects with its error, and gives its connection back', async () => {
      pg.types.setTypeParser(INT8, (text) => {
        if (text === '15') throw new Error('not today');
        return Number(text);
      });
      const database = service();
      await using _daemon = await entrypoint([database], quiet);
      const before = await connectionsOf(server, database);
      const query = 'SELECT n FROM generate_series(1::int8, 50) AS n';
      await expect(read(database.stream(query, [], { batchRows: 10 }))).rejects.toThrow('not today');
      expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
      expect(await connectionsOf(server, database)).toEqual(before);
    });
  });

  it('as a value cannot be sent rejects', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const bad = {
      toPostgres: () => {
        throw new Error('no value');
      },
    };
    await expect(read(database.stream(COUNT, [bad]))).rejects.toThrow('no value');
    expect(database.waitingFor()).toEqual([]);
  });
});

describe('a stream whose time is up', () => {
  const SLOW = 'SELECT n, pg_sleep(CASE WHEN n = 15 THEN 600 END) FROM generate_series(1, 50) AS n';

  it('while it waits for the server is cancelled there', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const aborting = new AbortController();
    const rows = database.stream<{ n: number }>(SLOW, [], { batchRows: 10, signal: aborting.signal });
    const reading = expect(read(rows)).rejects.toThrow('enough');
    await until(
      async () =>
        (await server.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")).rowCount === 1,
    );
    aborting.abort(new Error('enough'));
    await reading;
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('while its consumer is busy gives its connection back at once', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const before = await connectionsOf(server, database);
    const aborting = new AbortController();
    const rows = database.stream(COUNT, [100], { batchRows: 10, signal: aborting.signal });
    await rows.next();
    aborting.abort(new Error('enough'));
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await expect(rows.next()).rejects.toThrow('enough');
    expect(await connectionsOf(server, database)).toEqual(before);
  });

  it('by a signal that has aborted already takes no connection', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const signal = AbortSignal.abort(new Error('enough'));
    const before = database.statistics.acquires;
    await expect(database.stream(COUNT, [1], { signal }).next()).rejects.toThrow('enough');
    expect(database.statistics.acquires).toBe(before);
  });

  it('by its own limit, or the deadline around it, ends with that', async () => {
    const clock = new FakeClock();
    const database = service({ queryTimeoutMs: 5_000 });
    await using _daemon = await entrypoint([database], { ...quiet, clock });
    const limited = database.stream(COUNT, [100], { batchRows: 10, timeoutMs: 1_000 });
    await limited.next();
    await clock.advance(1_000);
    await expect(limited.next()).rejects.toMatchObject({ code: 'ERR_DEADLINE' });
    const free = () => until(() => database.statistics.idle === 1);
    await free();
    const bounded = database.stream(COUNT, [100], { batchRows: 10 });
    const late = async () => {
      await bounded.next();
      await clock.advance(1_000);
    };
    await expect(withDeadline(1_000, late, { clock })).rejects.toMatchObject({ code: 'ERR_DEADLINE' });
    await expect(bounded.next()).rejects.toMatchObject({ code: 'ERR_DEADLINE' });
    await free();
    const slow = database.stream(COUNT, [100], { batchRows: 10 });
    for (let i = 0; i < 20; i++) {
      await clock.advance(4_000);
      expect((await slow.next()).value).toEqual({ n: i + 1 });
    }
    await slow.return();
  });

  it('leaves no listener on the signal', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const { signal } = new AbortController();
    for (let i = 0; i < 20; i++) await read(database.stream(COUNT, [5], { signal }), i % 6);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });
});
