import { isUtf8 } from 'node:buffer';
import { EventEmitter } from 'node:events';
import { entrypoint, withDeadline } from 'bosun';
import { PostgresJsonTypeError, type PostgresService } from 'bosun/services/postgres';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { RowTap } from '../../src/services/postgres/row-tap.ts';
import { databaseOf, quiet } from '../support/database.ts';
import { startPostgres, type TestPostgres, until } from '../support/postgres.ts';

let server: TestPostgres;

beforeAll(async () => {
  server = await startPostgres();
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const service = (options: { poolSize?: number; url?: string } = {}) =>
  databaseOf(server, { poolSize: 1, ...options });

/** What `json` is to give. */
async function reference(database: PostgresService, text: string, values?: unknown[]): Promise<string> {
  return JSON.stringify((await database.query(text, values)).rows);
}

async function json(database: PostgresService, text: string, values?: unknown[]): Promise<string> {
  return (await database.json(text, values)).toString();
}

const text = fc.string({ unit: 'binary', maxLength: 20 }).map((value) => value.replaceAll('\0', ''));
const integer = (bits: bigint) => fc.bigInt(-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n).map(String);
const double = fc.oneof(
  fc.double().map(String),
  fc.float().map(String),
  fc.constantFrom('-0', '1e15', '123456789012345', '1234567890123456', '1e-7', '1e300', '0.1'),
);
const decimal = fc
  .tuple(fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }), fc.nat(9))
  .map(([digits, scale]) => `${digits}e-${scale}`);
/** From 4000 BC on, to microseconds. */
const time = fc
  .tuple(fc.integer({ min: -4000, max: 20_000 }), fc.nat(365 * 86_400), fc.nat(999_999))
  .filter(([year]) => year !== 0)
  .map(([year, seconds, micros]) => {
    const rest = new Date(Date.UTC(2001, 0, 1, 0, 0, seconds)).toISOString().slice(4, 19);
    const shown = String(Math.abs(year)).padStart(4, '0');
    return `${shown}${rest}.${String(micros).padStart(6, '0')}${year < 0 ? ' BC' : ''}`;
  });
const orInfinity = (value: fc.Arbitrary<string>) =>
  fc.oneof(
    { weight: 9, arbitrary: value },
    { weight: 1, arbitrary: fc.constantFrom('infinity', '-infinity') },
  );

const values: Readonly<Record<string, fc.Arbitrary<string>>> = {
  int2: integer(16n),
  int4: integer(32n),
  int8: integer(64n),
  oid: fc.nat(2 ** 32 - 1).map(String),
  float4: fc.oneof(fc.float().map(String), fc.constantFrom('-0', '1e6', '16777217')),
  float8: double,
  numeric: fc.oneof(decimal, fc.constantFrom('NaN', 'Infinity', '-Infinity')),
  money: fc.integer().map(String),
  bool: fc.boolean().map(String),
  text,
  varchar: text,
  'char(7)': text.map((value) => [...value].slice(0, 7).join('')),
  name: fc.string({ unit: 'grapheme', maxLength: 10 }).map((value) => value.replaceAll('\0', '')),
  uuid: fc.uuid(),
  inet: fc.ipV4(),
  bytea: fc.uint8Array({ maxLength: 9 }).map((bytes) => `\\x${Buffer.from(bytes).toString('hex')}`),
  timestamptz: orInfinity(time.map((value) => (value.endsWith('BC') ? value : `${value}+00`))),
  timestamp: orInfinity(time),
  date: orInfinity(time.map((value) => value.replace(/T[\d:.]+/, ''))),
  time: time.map((value) => value.slice(-15).match(/\d\d:\d\d:\d\d/)?.[0] ?? '01:02:03'),
  interval: fc.integer().map((seconds) => `${seconds} seconds 3 days 2 months`),
  point: fc.tuple(fc.integer(), fc.integer()).map(([x, y]) => `(${x},${y})`),
};

/** As an array's elements are written. */
const element = (value: string | null) =>
  value === null ? 'NULL' : `"${value.replace(/[\\"]/g, (character) => `\\${character}`)}"`;

const orNull = (value: fc.Arbitrary<string>) => fc.option(value, { freq: 5 });

/** A type, and as many values of it. */
const column = (rows: number) =>
  fc.constantFrom(...Object.keys(values)).chain((type) => {
    const value = values[type] as fc.Arbitrary<string>;
    const several = fc.array(orNull(value), { maxLength: 3 }).map((list) => `{${list.map(element)}}`);
    const exactly = { minLength: rows, maxLength: rows };
    return fc.boolean().chain((array) =>
      fc.record({
        name: fc.oneof(text, fc.constantFrom('a', 'b', '1', '0', '__proto__', 'toJSON', '"')),
        type: fc.constant(array ? `${type}[]` : type),
        values: fc.array(orNull(array ? several : value), exactly),
      }),
    );
  });

const table = fc
  .nat(4)
  .chain((rows) =>
    fc.array(column(rows), { minLength: 1, maxLength: 6 }).map((columns) => ({ rows, columns })),
  );

type Table = typeof table extends fc.Arbitrary<infer T> ? T : never;

/** PostgreSQL has no empty names, and none that are longer. */
const nameOf = (name: string) =>
  pg.escapeIdentifier([...name].slice(0, 15).join('').toWellFormed() || 'empty');

function queryOf({ rows, columns }: Table): { text: string; values: (string | null)[] } {
  const parameters: (string | null)[] = [];
  const lines = Array.from({ length: rows }, (_, row) => {
    const cells = columns.map(({ type, values: cells }) => {
      parameters.push(cells[row] ?? null);
      return `$${parameters.length}::text::${type} AS x`;
    });
    return `SELECT ${cells}`;
  });
  const selected = columns.map(({ name }, i) => `c${i} AS ${nameOf(name)}`);
  const empty = `SELECT ${columns.map(({ type }) => `NULL::${type}`)} WHERE false`;
  const source = [empty, ...lines].join(' UNION ALL ');
  return {
    text: `SELECT ${selected} FROM (${source}) t(${columns.map((_, i) => `c${i}`)})`,
    values: parameters,
  };
}

describe('json gives what JSON.stringify makes of the rows', () => {
  const timeZone = process.env.TZ;

  afterEach(() => {
    if (timeZone === undefined) delete process.env.TZ;
    else process.env.TZ = timeZone;
  });

  it.each([
    ['UTC', 'UTC'],
    ['America/New_York', 'Asia/Kolkata'],
  ])('whatever the types, values and names (here in %s, the server in %s)', async (here, there) => {
    process.env.TZ = here;
    const options = encodeURIComponent(`-c timezone=${there}`);
    const database = service({ url: `${server.url}?options=${options}` });
    await using _daemon = await entrypoint([database], quiet);
    await fc.assert(
      fc.asyncProperty(table, async (drawn) => {
        const query = queryOf(drawn);
        expect(await json(database, query.text, query.values)).toBe(
          await reference(database, query.text, query.values),
        );
      }),
      { numRuns: 200 },
    );
  });

  it('with the fractions of seconds of every length', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const query = `SELECT timestamptz '2026-01-02 03:04:05+00' + n * interval '1 microsecond' AS t
      FROM generate_series(0, 999999, 37) AS n`;
    expect(await json(database, query)).toBe(await reference(database, query));
  });

  it.each([
    ['no rows', 'SELECT 1 AS a WHERE false', '[]'],
    ['no columns', 'SELECT FROM generate_series(1, 2)', '[{},{}]'],
    ['nothing to send', '', '[]'],
    ['no result', 'CREATE TEMPORARY TABLE none ()', '[]'],
    ['two columns of one name', 'SELECT 1 AS a, 2 AS b, 3 AS a', '[{"a":3,"b":2}]'],
    ['columns that are numbers', 'SELECT 1 AS b, 2 AS "7", 3 AS "3"', '[{"3":3,"7":2,"b":1}]'],
    [
      'every control character',
      "SELECT string_agg(chr(n), '') AS s FROM generate_series(1, 160) AS n",
      undefined,
    ],
    ['what SQL leaves unnamed', 'SELECT 1, NULL', undefined],
  ])('with %s', async (_what, query, expected) => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    expect(await json(database, query)).toBe(expected ?? (await reference(database, query)));
  });

  it('as arrays, where the query asks for them', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const query = { text: "SELECT 1 AS a, 'x' AS a UNION ALL SELECT 2, NULL", rowMode: 'array' } as const;
    expect((await database.json(query)).toString()).toBe('[[1,"x"],[2,null]]');
  });

  it('with rows larger than a chunk of the socket, and many of them', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const large = "SELECT n, repeat(E'ä\\n\"', n * 100000) AS t FROM generate_series(1, 4) AS n";
    expect(await json(database, large)).toBe(await reference(database, large));
    const many = 'SELECT n, n::text AS t FROM generate_series(1, 50000) AS n';
    expect(await json(database, many)).toBe(await reference(database, many));
    expect(await json(database, 'SELECT 1 AS one')).toBe('[{"one":1}]');
  });

  it('with bytes that are no UTF-8, as the session was told another encoding', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    await database.withClient(async (client) => {
      await client.query("SET client_encoding = 'LATIN1'");
      const query = "SELECT chr(228) || 'x' || chr(228) AS t";
      const expected = JSON.stringify((await client.query(query)).rows);
      expect(expected).toContain('\ufffd');
      expect((await client.json(query)).toString()).toBe(expected);
      expect(isUtf8(await client.json(query))).toBe(true);
    });
  });
});

describe('json and JSON columns', () => {
  it('keep the text of the values, which are equal when they are read', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const given = JSON.stringify(value).replaceAll('\\u0000', '');
        const query =
          'SELECT $1::text::json AS a, $1::text::jsonb AS b, $1::text::json #> ARRAY[]::text[] AS c';
        expect(JSON.parse(await json(database, query, [given]))).toEqual(
          (await database.query(query, [given])).rows,
        );
      }),
      { numRuns: 100 },
    );
  });

  it('keep digits that a double has no room for', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    expect(await json(database, `SELECT '{"a": 12345678901234567890.10}'::jsonb AS j`)).toBe(
      '[{"j":{"a": 12345678901234567890.10}}]',
    );
  });
});

describe('a parser that pg was given for a type', () => {
  const { INT8 } = pg.types.builtins;
  const usual = pg.types.getTypeParser(INT8);

  afterEach(() => {
    pg.types.setTypeParser(INT8, usual);
  });

  it('counts for json, too, also for a statement that has been used before', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const query = { name: 'eight', text: 'SELECT 8::int8 AS n' };
    expect((await database.json(query)).toString()).toBe('[{"n":"8"}]');
    pg.types.setTypeParser(INT8, Number);
    expect((await database.json(query)).toString()).toBe('[{"n":8}]');
  });

  it.each([
    ['a bigint', BigInt],
    ['undefined', () => undefined],
  ])('and makes %s is refused with column, type and statement', async (_what, parser) => {
    pg.types.setTypeParser(INT8, parser);
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const query = { name: 'count', text: 'SELECT 1 AS a, n AS total FROM generate_series(1::int8, 9) AS n' };
    const error = await database.json(query).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(PostgresJsonTypeError);
    expect(error).toMatchObject({
      code: 'ERR_POSTGRES_JSON_TYPE',
      column: 'total',
      typeId: INT8,
      message: expect.stringMatching(/column "total" \(type int8\) of "count"/),
    });
    expect(await json(database, 'SELECT 1 AS one')).toBe('[{"one":1}]');
  });

  it('and throws makes the query fail with its error', async () => {
    pg.types.setTypeParser(INT8, () => {
      throw new Error('not today');
    });
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    await expect(database.json('SELECT 1::int8')).rejects.toThrow('not today');
    expect(await json(database, 'SELECT 1 AS one')).toBe('[{"one":1}]');
  });
});

describe('a json query', () => {
  it('takes values, prepared statements, and a changed table', async () => {
    await server.query('CREATE TABLE changing (a int)');
    await server.query('INSERT INTO changing VALUES (1)');
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    expect(await json(database, 'SELECT $1::int + 1 AS sum', [41])).toBe('[{"sum":42}]');
    const query = { name: 'changing', text: 'SELECT * FROM changing WHERE a > $1' };
    expect((await database.json(query, [0])).toString()).toBe('[{"a":1}]');
    expect((await database.json({ ...query, values: [1] })).toString()).toBe('[]');
    await server.query('ALTER TABLE changing ALTER a TYPE text');
    expect((await database.json('SELECT * FROM changing')).toString()).toBe('[{"a":"1"}]');
  });

  it('and ordinary ones share a connection, in any order', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const rows = 'SELECT n FROM generate_series(1, 3) AS n';
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, i) => (i % 3 === 0 ? reference(database, rows) : json(database, rows))),
    );
    expect(new Set(results)).toEqual(new Set(['[{"n":1},{"n":2},{"n":3}]']));
  });

  it('works in a transaction, a savepoint and with a client', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    await database.transaction(async (transaction) => {
      await transaction.query('CREATE TEMPORARY TABLE mine AS SELECT 1 AS a');
      expect((await transaction.json('TABLE mine')).toString()).toBe('[{"a":1}]');
      await transaction.transaction(async (savepoint) => {
        expect((await savepoint.json('TABLE mine')).toString()).toBe('[{"a":1}]');
      });
    });
    expect((await database.withClient((client) => client.json('TABLE mine'))).toString()).toBe('[{"a":1}]');
  });

  it('is not disturbed by what the server says in between', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    await server.query(`CREATE FUNCTION loud(n int) RETURNS int LANGUAGE plpgsql AS $$
      BEGIN
        RAISE NOTICE '%', repeat('x', 1000 * n);
        PERFORM set_config('application_name', 'loud-' || n, false);
        RETURN n;
      END $$`);
    const heard: (string | undefined)[] = [];
    await database.withClient(async (client) => {
      await client.query('LISTEN loud');
      client.raw.on('notification', ({ payload }) => heard.push(payload));
      const query = "SELECT loud(n), pg_notify('loud', n::text) FROM generate_series(1, 60) AS n";
      const expected = Array.from({ length: 60 }, (_, i) => ({ loud: i + 1, pg_notify: '' }));
      expect(JSON.parse((await client.json(query)).toString())).toEqual(expected);
    });
    await until(() => heard.length === 60);
  });

  it.each([
    ['before its rows', 'SELECT * FROM nowhere', '42P01'],
    ['among its rows', 'SELECT 1 / (5000 - n) AS q FROM generate_series(1, 9000) AS n', '22012'],
    ['as it is two', 'SELECT 1; SELECT 2', '42601'],
    ['as it copies', 'COPY (SELECT 1) TO STDOUT; SELECT 1', '42601'],
  ])(
    'that fails %s rejects with the error of the server, and the connection goes on',
    async (_when, query, code) => {
      const database = service();
      await using _daemon = await entrypoint([database], quiet);
      await expect(database.json(query)).rejects.toMatchObject({ code });
      expect(await reference(database, 'SELECT 1 AS one')).toBe('[{"one":1}]');
      expect(await json(database, 'SELECT 1 AS one')).toBe('[{"one":1}]');
    },
  );

  it('that copies from nowhere rejects', async () => {
    await server.query('CREATE TABLE copied (a int)');
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    await expect(database.json('COPY copied FROM STDIN')).rejects.toMatchObject({ code: '57014' });
    expect(await json(database, 'SELECT 1 AS one')).toBe('[{"one":1}]');
  });

  it('with a value that cannot be sent rejects, and the connection goes on', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const bad = {
      toPostgres: () => {
        throw new Error('no value');
      },
    };
    await expect(database.json('SELECT $1::text', [bad])).rejects.toThrow('no value');
    expect(await reference(database, 'SELECT 1 AS one')).toBe('[{"one":1}]');
    expect(await json(database, 'SELECT 1 AS one')).toBe('[{"one":1}]');
  });

  it('ends with its time, its signal and the deadline around it, and is cancelled', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const slow = 'SELECT pg_sleep(600), n FROM generate_series(1, 3) AS n';
    await expect(database.json({ text: slow, timeoutMs: 20 })).rejects.toMatchObject({
      code: 'ERR_POSTGRES_QUERY_TIMEOUT',
    });
    const aborting = new AbortController();
    const aborted = database.json({ text: slow, signal: aborting.signal });
    aborting.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    await expect(withDeadline(20, () => database.json(slow))).rejects.toMatchObject({ code: 'ERR_DEADLINE' });
    expect(await json(database, 'SELECT 1 AS one')).toBe('[{"one":1}]');
  });

  it('rejects when its connection is lost among its rows', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const query = `SELECT n, CASE WHEN n = 5000 THEN pg_terminate_backend(pg_backend_pid()) END
      FROM generate_series(1, 9000) AS n`;
    await expect(database.json({ text: query, idempotent: false })).rejects.toMatchObject({ code: '57P01' });
    expect(await json(database, 'SELECT 1 AS one')).toBe('[{"one":1}]');
  });
});

describe('the tap on a connection', () => {
  const DATA_ROW = 'D'.charCodeAt(0);

  function message(code: number, body: Uint8Array): Buffer {
    const header = Buffer.alloc(5);
    header[0] = code;
    header.writeUInt32BE(body.length + 4, 1);
    return Buffer.concat([header, body]);
  }

  const messages = fc.array(
    fc.tuple(fc.constantFrom(DATA_ROW, DATA_ROW, ...Buffer.from('TCZNA')), fc.uint8Array({ maxLength: 40 })),
    { maxLength: 30 },
  );

  /** The bytes in pieces, cut at the places drawn. */
  function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
    const cuts = [0, ...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
    return cuts.map((from, i) => bytes.subarray(from, cuts[i + 1] ?? bytes.length));
  }

  it('gives each row to the sink, and all else to the parser, in order, wherever the stream is cut', () => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat()), fc.boolean(), (drawn, places, wanted) => {
        let given: EventEmitter = new EventEmitter();
        const connection = {
          attachListeners(stream: EventEmitter) {
            given = stream;
          },
        };
        const tap = new RowTap(connection as unknown as pg.Connection);
        const socket = new EventEmitter();
        connection.attachListeners(socket);
        const heard: (string | Buffer)[] = [];
        given.on('data', (bytes: Buffer) => {
          const last = heard.at(-1);
          if (last instanceof Buffer) heard[heard.length - 1] = Buffer.concat([last, bytes]);
          else heard.push(Buffer.from(bytes));
        });
        if (wanted) {
          tap.sink = {
            row: (bytes, start) => {
              const end = start - 4 + bytes.readUInt32BE(start - 4);
              heard.push(`row ${bytes.toString('hex', start, end)}`);
            },
          };
        }
        const stream = Buffer.concat(drawn.map(([code, body]) => message(code, body)));
        for (const piece of cut(stream, places)) socket.emit('data', piece);

        const expected: (string | Buffer)[] = [];
        for (const [code, body] of drawn) {
          const last = expected.at(-1);
          if (wanted && code === DATA_ROW) expected.push(`row ${Buffer.from(body).toString('hex')}`);
          else if (last instanceof Buffer) {
            expected[expected.length - 1] = Buffer.concat([last, message(code, body)]);
          } else expected.push(message(code, body));
        }
        expect(heard).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });
});
