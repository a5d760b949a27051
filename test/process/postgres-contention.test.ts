import { setTimeout as pause } from 'node:timers/promises';
import { entrypoint } from 'bosun';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectionsOf, databaseOf, quiet, terminate } from '../support/database.ts';
import { startPostgres, type TestPostgres, until } from '../support/postgres.ts';

const ACCOUNTS = 3;
const WORKERS = 6;

let server: TestPostgres;

beforeAll(async () => {
  server = await startPostgres();
  await server.query('CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL, moves int NOT NULL)');
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** Moves money about from many sides at once; gives how many moves were done, may have been, and were not. */
async function moveMoney(database: ReturnType<typeof databaseOf>, movesPerWorker: number) {
  await server.query('TRUNCATE account');
  await server.query(`INSERT INTO account SELECT i, 0, 0 FROM generate_series(0, ${ACCOUNTS - 1}) AS i`);
  const outcomes = { done: 0, unknown: 0, refused: 0 };
  const worker = async (first: number) => {
    for (let i = 0; i < movesPerWorker; i++) {
      const from = (first + i) % ACCOUNTS;
      const to = (from + 1 + (i % (ACCOUNTS - 1))) % ACCOUNTS;
      try {
        await database.transaction(
          async (client) => {
            // Read and written back, so that what two do at once would lose one of them.
            for (const [id, amount] of [
              [from, -1],
              [to, 1],
            ]) {
              const text = 'SELECT balance, moves FROM account WHERE id = $1';
              const { rows } = await client.query<{ balance: number; moves: number }>(text, [id]);
              const [{ balance, moves } = { balance: Number.NaN, moves: Number.NaN }] = rows;
              await client.query('UPDATE account SET balance = $2, moves = $3 WHERE id = $1', [
                id,
                balance + (amount as number),
                moves + 1,
              ]);
            }
          },
          { isolation: 'serializable', retries: 100 },
        );
        outcomes.done += 1;
      } catch (error) {
        if ((error as { code?: unknown }).code === 'ERR_POSTGRES_COMMIT_UNKNOWN') outcomes.unknown += 1;
        else {
          expect(error).toMatchObject({ retryAfterMs: expect.any(Number) });
          outcomes.refused += 1;
        }
      }
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, (_, first) => worker(first)));
  const { rows } = await server.query(
    'SELECT sum(balance)::int AS balance, sum(moves)::int AS moves FROM account',
  );
  return { ...outcomes, balance: rows[0].balance as number, moves: (rows[0].moves as number) / 2 };
}

describe('serializable transactions that are run again', () => {
  it('lose no move and do none twice, however many are at it', async () => {
    const database = databaseOf(server, { poolSize: WORKERS });
    await using _daemon = await entrypoint([database], quiet);
    expect(await moveMoney(database, 15)).toEqual({
      done: 15 * WORKERS,
      unknown: 0,
      refused: 0,
      balance: 0,
      moves: 15 * WORKERS,
    });
    expect(database.statistics.retries).toBeGreaterThan(0);
    expect(database.statistics.errors).toHaveProperty('40');
  });

  it('also when their connections are cut all the time', async () => {
    const database = databaseOf(server, { poolSize: WORKERS });
    await using _daemon = await entrypoint([database], quiet);
    const ended = new AbortController();
    const cutting = (async () => {
      while (!ended.signal.aborted) {
        await terminate(server, database);
        await pause(20);
      }
    })();
    try {
      const { balance, moves, done, unknown } = await moveMoney(database, 15);
      expect(balance).toBe(0);
      expect(done).toBeGreaterThan(0);
      expect(moves).toBeGreaterThanOrEqual(done);
      expect(moves).toBeLessThanOrEqual(done + unknown);
      expect(database.statistics.discarded).toBeGreaterThan(0);
    } finally {
      ended.abort();
      await cutting;
    }
  });
});

describe('queries that are given up about when they end', () => {
  it('never take others with them, whose connection they have shared', async () => {
    const database = databaseOf(server, { poolSize: WORKERS });
    await using _daemon = await entrypoint([database], quiet);
    const sleeper = async () => {
      for (let i = 0; i < 150; i++) {
        const text = 'SELECT pg_sleep(0.004)';
        await database.query({ text, timeoutMs: 3 + (i % 4) }).catch((error: unknown) => {
          expect(error).toMatchObject({ code: 'ERR_POSTGRES_QUERY_TIMEOUT' });
        });
      }
    };
    let sleeping = true;
    const innocent = async () => {
      for (let i = 0; sleeping; i++) {
        const { rows } = await database.query({ name: 'echo', text: 'SELECT $1::int AS i' }, [i]);
        expect(rows).toEqual([{ i }]);
      }
    };
    const innocents = Promise.all(Array.from({ length: WORKERS / 2 }, innocent));
    await Promise.all(Array.from({ length: WORKERS / 2 }, sleeper));
    sleeping = false;
    await innocents;
    expect(database.statistics.cancels).toBeGreaterThan(0);
    await until(() => database.statistics.cleaning === 0 && database.statistics.inUse === 0);
    expect((await connectionsOf(server, database)).length).toBeLessThanOrEqual(WORKERS);
  });
});
