import { Entrypoint, entrypoint } from 'bosun';
import type { TransactionClient } from 'bosun/services/postgres';
import { FakeClock } from 'bosun/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  connectionsOf,
  databaseOf,
  pidOf,
  quiet,
  running,
  runningOf,
  terminate,
} from '../support/database.ts';
import { startPostgres, type TestPostgres, until } from '../support/postgres.ts';

let server: TestPostgres;
let ids = 0;
const nextId = () => ++ids;

beforeAll(async () => {
  server = await startPostgres();
  await server.query('CREATE TABLE notes (id int, note text)');
  await server.query('CREATE TABLE counters (id int PRIMARY KEY, value int NOT NULL)');
  await server.query('INSERT INTO counters VALUES (1, 0), (2, 0)');
  // Its COMMIT waits for the advisory lock 7.
  await server.query('CREATE TABLE waits (id int)');
  await server.query(`
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$
  `);
  await server.query(`
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON waits DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait()
  `);
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const notes = async (id: number) => {
  const { rows } = await server.query('SELECT note FROM notes WHERE id = $1 ORDER BY note', [id]);
  return rows.map((row) => row.note as string);
};

const add = (client: TransactionClient, id: number, note: string) =>
  client.query('INSERT INTO notes VALUES ($1, $2)', [id, note]);

async function started(options: Parameters<typeof databaseOf>[1] = {}) {
  const database = databaseOf(server, { poolSize: 2, retryPauseMs: 0, ...options });
  const daemon = await entrypoint([database], quiet);
  return { database, [Symbol.asyncDispose]: () => daemon.stop() };
}

/** Keeps COMMITs of rows in `waits` waiting until it is disposed of. */
async function holdCommits() {
  await server.query('SELECT pg_advisory_lock(7)');
  return { [Symbol.asyncDispose]: async () => void (await server.query('SELECT pg_advisory_unlock(7)')) };
}

describe('begin', () => {
  it('keeps what was committed', async () => {
    await using set = await started();
    const id = nextId();
    {
      await using tx = await set.database.begin();
      await add(tx, id, 'kept');
      expect(await notes(id)).toEqual([]);
      await tx.commit();
    }
    expect(await notes(id)).toEqual(['kept']);
    expect(set.database.statistics).toMatchObject({ inUse: 0, idle: 2, discarded: 0 });
  });

  it('is rolled back at the end of its scope when it was not committed, and keeps its connection', async () => {
    await using set = await started();
    const id = nextId();
    const work = async () => {
      await using tx = await set.database.begin();
      await add(tx, id, 'gone');
      throw new Error('changed my mind');
    };
    await expect(work()).rejects.toThrow('changed my mind');
    expect(await notes(id)).toEqual([]);
    expect(set.database.statistics).toMatchObject({ inUse: 0, idle: 2, discarded: 0 });
  });

  it('refuses use after its end', async () => {
    await using set = await started();
    await using committed = await set.database.begin();
    await committed.commit();
    const code = 'ERR_POSTGRES_TRANSACTION_STATE';
    await expect(committed.query('SELECT 1')).rejects.toMatchObject({ code });
    await expect(committed.commit()).rejects.toMatchObject({ code });
    await expect(committed.rollback()).rejects.toMatchObject({ code });
    await expect(committed.savepoint()).rejects.toMatchObject({ code });
    expect(() => committed.raw).toThrow(expect.objectContaining({ code }));
    await using undone = await set.database.begin();
    await undone.rollback();
    await undone.rollback();
    await expect(undone.query('SELECT 1')).rejects.toMatchObject({
      code,
      message: 'the transaction has been rolled back',
    });
    await expect(undone.commit()).rejects.toMatchObject({ code });
  });

  it('runs as it was asked to', async () => {
    await using set = await started();
    await using tx = await set.database.begin({ isolation: 'repeatable read', readOnly: true });
    const { rows } = await tx.query('SHOW transaction_isolation');
    expect(rows).toEqual([{ transaction_isolation: 'repeatable read' }]);
    await expect(add(tx, nextId(), 'no')).rejects.toMatchObject({ code: '25006' });
  });

  it('is rolled back when its time is up, also while it does nothing', async () => {
    const clock = new FakeClock();
    const database = databaseOf(server, { poolSize: 1 });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    await daemon.start();
    const id = nextId();
    const tx = await database.begin({ timeoutMs: 100 });
    await add(tx, id, 'gone');
    await clock.advance(100);
    await until(() => database.statistics.inUse === 0);
    await expect(tx.query('SELECT 1')).rejects.toMatchObject({ code: 'ERR_DEADLINE', limitMs: 100 });
    await expect(tx.commit()).rejects.toMatchObject({ code: 'ERR_DEADLINE' });
    expect(await notes(id)).toEqual([]);
    expect(database.statistics).toMatchObject({ idle: 1, discarded: 0 });
    await daemon.stop();
    expect(clock.pending).toBe(0);
  });

  it('ends with its signal: the query under way is cancelled, and the transaction rolled back', async () => {
    await using set = await started({ poolSize: 1 });
    const { database } = set;
    const controller = new AbortController();
    await using tx = await database.begin({ signal: controller.signal });
    const id = nextId();
    await add(tx, id, 'gone');
    const slow = tx.query('SELECT pg_sleep(600)').catch((error: unknown) => error);
    await running(server, database, 'SELECT pg_sleep');
    controller.abort('enough');
    expect(await slow).toBe('enough');
    await until(() => database.statistics.inUse === 0);
    expect(await runningOf(server, database, 'SELECT pg_sleep')).toEqual([]);
    expect(await notes(id)).toEqual([]);
    expect(database.statistics).toMatchObject({ idle: 1, discarded: 0 });
  });

  it('gives the connection back when it cannot begin', async () => {
    await using set = await started({ poolSize: 1 });
    const begun = set.database.begin({ isolation: 'nonsense' as 'serializable' });
    await expect(begun).rejects.toMatchObject({ code: '42601' });
    expect((await set.database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('takes another connection when the first turns out to be lost', async () => {
    await using set = await started({ poolSize: 1 });
    const { database } = set;
    // The pool has not heard of it yet.
    const ended = terminate(server, database);
    await using tx = await database.begin();
    await ended;
    await until(async () => (await connectionsOf(server, database)).length === 1);
    await tx.query('SELECT 1').catch(() => {});
  });
});

describe('a savepoint', () => {
  it('undoes what was done since, and keeps what was done before, to any depth', async () => {
    await using set = await started();
    const id = nextId();
    await using tx = await set.database.begin();
    await add(tx, id, '0');
    await using one = await tx.savepoint();
    await add(one, id, '1');
    {
      await using two = await one.savepoint();
      await add(two, id, '2');
      await using three = await two.savepoint();
      await add(three, id, '3');
      await three.release();
    }
    await add(one, id, '1b');
    await one.release();
    await using undone = await tx.savepoint();
    await add(undone, id, 'undone');
    await undone.rollback();
    await add(tx, id, '0b');
    await tx.commit();
    expect(await notes(id)).toEqual(['0', '0b', '1', '1b']);
  });

  it('recovers the transaction from a statement that failed', async () => {
    await using set = await started();
    const id = nextId();
    await set.database.transaction(async (tx) => {
      await add(tx, id, 'kept');
      const failing = tx.transaction(async (savepoint) => {
        await add(savepoint, id, 'undone');
        await savepoint.query('SELECT * FROM nowhere');
      });
      await expect(failing).rejects.toMatchObject({ code: '42P01' });
      expect(await tx.transaction((savepoint) => add(savepoint, id, 'more'))).toMatchObject({ rowCount: 1 });
    });
    expect(await notes(id)).toEqual(['kept', 'more']);
  });

  it('takes the queries until it has ended', async () => {
    await using set = await started();
    await using tx = await set.database.begin();
    const savepoint = await tx.savepoint();
    const code = 'ERR_POSTGRES_TRANSACTION_STATE';
    await expect(tx.query('SELECT 1')).rejects.toMatchObject({ code });
    await expect(tx.savepoint()).rejects.toMatchObject({ code });
    await expect(tx.commit()).rejects.toMatchObject({ code });
    await savepoint.release();
    await expect(savepoint.query('SELECT 1')).rejects.toMatchObject({ code });
    await expect(savepoint.release()).rejects.toMatchObject({ code });
    await expect(savepoint.rollback()).rejects.toMatchObject({ code });
    await savepoint[Symbol.asyncDispose]();
    await tx.query('SELECT 1');
    const last = await tx.savepoint();
    await tx.rollback();
    await expect(last.query('SELECT 1')).rejects.toMatchObject({ code });
    await last[Symbol.asyncDispose]();
  });
});

describe('COMMIT', () => {
  it('whose connection is lost leaves open whether it took place, and is not repeated', async () => {
    await using set = await started({ poolSize: 1 });
    const { database } = set;
    let calls = 0;
    await using _held = await holdCommits();
    const work = database
      .transaction(
        async (tx) => {
          calls += 1;
          await tx.query('INSERT INTO waits VALUES (1)');
        },
        { retries: 5 },
      )
      .catch((error: unknown) => error);
    await running(server, database, 'COMMIT');
    await terminate(server, database);
    expect(await work).toMatchObject({
      code: 'ERR_POSTGRES_COMMIT_UNKNOWN',
      cause: { code: '57P01' },
    });
    expect(calls).toBe(1);
  });

  it('that outlasts the time of its transaction rejects at once, and is cancelled', async () => {
    const clock = new FakeClock();
    const database = databaseOf(server, { poolSize: 1 });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    await daemon.start();
    {
      await using _held = await holdCommits();
      const tx = await database.begin({ timeoutMs: 100 });
      await tx.query('INSERT INTO waits VALUES (2)');
      const committed = tx.commit().catch((error: unknown) => error);
      await running(server, database, 'COMMIT');
      await clock.advance(100);
      expect(await committed).toMatchObject({
        code: 'ERR_POSTGRES_COMMIT_UNKNOWN',
        cause: { code: 'ERR_DEADLINE' },
      });
      // Nobody else has to wait until the server is done with it.
      await until(() => database.statistics.inUse === 0);
      expect(database.statistics).toMatchObject({ idle: 1, cancels: 1 });
    }
    expect((await server.query('SELECT id FROM waits WHERE id = 2')).rows).toEqual([]);
    await daemon.stop();
  });

  it('is not sent over a connection that is gone: then nothing was committed', async () => {
    await using set = await started({ poolSize: 1 });
    const { database } = set;
    await using tx = await database.begin();
    await add(tx, nextId(), 'gone');
    await terminate(server, database);
    // With the server's last words, or without them if the loss was noticed before.
    await expect(tx.query('SELECT 1')).rejects.toMatchObject({ retryAfterMs: 50 });
    await expect(tx.commit()).rejects.toMatchObject({
      code: 'ERR_POSTGRES_UNAVAILABLE',
      retryAfterMs: 50,
    });
  });
});

describe('transaction with retries', () => {
  const increment = (client: TransactionClient, id: number) =>
    client.query('UPDATE counters SET value = value + 1 WHERE id = $1', [id]);

  it('runs the whole again after serialization failures, so that no increment is lost', async () => {
    await using set = await started({ poolSize: 4 });
    const { database } = set;
    let calls = 0;
    const work = () =>
      database.transaction(
        async (tx) => {
          calls += 1;
          const { rows } = await tx.query<{ value: number }>('SELECT value FROM counters WHERE id = 1');
          await tx.query('UPDATE counters SET value = $1 WHERE id = 1', [(rows[0]?.value ?? 0) + 1]);
        },
        { isolation: 'serializable', retries: 100 },
      );
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        for (let i = 0; i < 5; i++) await work();
      }),
    );
    expect((await server.query('SELECT value FROM counters WHERE id = 1')).rows).toEqual([{ value: 20 }]);
    expect(database.statistics.retries).toBe(calls - 20);
    expect(database.statistics.discarded).toBe(0);
  });

  it('runs it once when that was not asked for', async () => {
    await using set = await started({ poolSize: 2 });
    const { database } = set;
    let calls = 0;
    const work = database.transaction(
      async (tx) => {
        calls += 1;
        await tx.query('SELECT value FROM counters WHERE id = 2');
        await database.transaction((other) => increment(other, 2));
        await increment(tx, 2);
      },
      { isolation: 'repeatable read' },
    );
    await expect(work).rejects.toMatchObject({ code: '40001' });
    expect(calls).toBe(1);
  });

  it('runs it again when its connection was lost before the COMMIT', async () => {
    await using set = await started({ poolSize: 1 });
    const { database } = set;
    const id = nextId();
    const pids: number[] = [];
    await database.transaction(
      async (tx) => {
        pids.push(await pidOf(tx));
        await add(tx, id, 'once');
        if (pids.length === 1) await server.query('SELECT pg_terminate_backend($1)', [pids[0]]);
        await tx.query('SELECT 1');
      },
      { retries: 1 },
    );
    expect(pids).toHaveLength(2);
    expect(await notes(id)).toEqual(['once']);
  });

  it('lets the caller go at its deadline while the work hangs, and rolls back', async () => {
    const clock = new FakeClock();
    const database = databaseOf(server, { poolSize: 1 });
    const daemon = new Entrypoint([database], { ...quiet, clock });
    await daemon.start();
    const id = nextId();
    const hanging = database
      .transaction(
        async (tx) => {
          await add(tx, id, 'gone');
          await new Promise(() => {});
        },
        { timeoutMs: 100, retries: 3 },
      )
      .catch((error: unknown) => error);
    await until(() => database.statistics.queries === 2);
    await clock.advance(100);
    expect(await hanging).toMatchObject({ code: 'ERR_DEADLINE' });
    await until(() => database.statistics.inUse === 0);
    expect(await notes(id)).toEqual([]);
    await daemon.stop();
    expect(clock.pending).toBe(0);
  });
});
