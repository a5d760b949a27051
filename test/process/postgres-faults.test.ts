import { setTimeout as pause } from 'node:timers/promises';
import { FaultProxy } from 'bosun/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Answer } from '../support/load.ts';
import type { MortalPostgres } from '../support/mortal-postgres.ts';
import { until } from '../support/postgres.ts';
import {
  brands,
  connectionsOf,
  DEADLINE_MS,
  openShop,
  poolIsFull,
  ROOM_MS,
  type ShopUnderLoad,
  startShopDatabase,
} from '../support/shop.ts';
import { mountSmallDisk } from '../support/small-disk.ts';

let postgres: MortalPostgres;
let strays: unknown[];
const onStray = (error: unknown) => strays.push(error);

beforeAll(async () => {
  postgres = await startShopDatabase({ max_connections: '20' });
});

afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

beforeEach(() => {
  strays = [];
  process.on('unhandledRejection', onStray);
  process.on('uncaughtExceptionMonitor', onStray);
});

afterEach(() => {
  process.off('unhandledRejection', onStray);
  process.off('uncaughtExceptionMonitor', onStray);
});

/** Every answer in its whole, right, in time; what was not done is a 503 that says when to try again. */
function expectTruth(answers: readonly Answer[]): void {
  const wrong = answers.filter((answer) => !isTrue(answer));
  expect(wrong.slice(0, 3), `${wrong.length} of ${answers.length} answers`).toEqual([]);
}

function isTrue({ operation, name, status, body, durationMs, retryAfter }: Answer): boolean {
  if (durationMs > DEADLINE_MS + ROOM_MS) return false;
  const json = parse(body);
  // Whether a COMMIT took place that the database was lost in cannot be known, and must not be tried again.
  if (status === 500) return name !== undefined && json !== undefined;
  if (status === 503) return json !== undefined && Number(retryAfter) >= 1;
  if (name !== undefined) return status === 201 && body === JSON.stringify({ product_name: name });
  const id = Number(/\d+$/.exec(operation)?.[0]);
  return status === 200 && body === JSON.stringify(id > 0 ? brands[id - 1] : brands);
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** What was acknowledged is there once; what was refused is not; what is in doubt, once at most. */
async function expectExactlyOnce(answers: readonly Answer[]): Promise<void> {
  const { rows } = await postgres.query('SELECT product_name, count(*)::int FROM product GROUP BY 1');
  const counts = new Map(rows.map((row) => [row.product_name as string, row.count as number]));
  const wrong = answers.filter(({ name, status }) => {
    if (name === undefined) return false;
    const count = counts.get(name) ?? 0;
    if (status === 201) return count !== 1;
    return status === 503 ? count !== 0 : count > 1;
  });
  expect(wrong.slice(0, 3), `${wrong.length} of ${answers.length} products`).toEqual([]);
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

/** Opens a shop, waits until it is at work, does to it what the scenario says, and looks at what came of it. */
async function scenario(
  work: (shop: ShopUnderLoad) => Promise<void>,
  { port }: { readonly port?: number } = {},
): Promise<readonly Answer[]> {
  const shop = await openShop(postgres, port);
  const { database, load } = shop;
  try {
    await shop.healthy();
    await work(shop);
    await shop.healthy();
    await poolIsFull(postgres, database);
  } finally {
    await shop[Symbol.asyncDispose]();
  }
  expectTruth(load.answers);
  await expectExactlyOnce(load.answers);
  await until(async () => (await connectionsOf(postgres, database)) === 0);
  expect(strays).toEqual([]);
  return load.answers;
}

/** Answers to requests that were sent in a span of time. */
const sentBetween = (answers: readonly Answer[], from: number, to: number) =>
  answers.filter(({ at }) => at >= from && at < to);

function expectOutage(answers: readonly Answer[], from: number, to: number): void {
  const during = sentBetween(answers, from, to);
  expect(during.length).toBeGreaterThan(0);
  expect(new Set(during.map(({ status }) => status))).toEqual(new Set([503]));
  expect(median(during.map(({ durationMs }) => durationMs))).toBeLessThan(50);
}

/** From 2 s after the return on everything succeeds; a request on its way by then has its deadline. */
function expectRecovery(answers: readonly Answer[], returned: number): void {
  const late = answers.filter(({ at, status }) => at > returned + 2_000 + DEADLINE_MS && status >= 500);
  expect(late.slice(0, 3)).toEqual([]);
  const first = answers.find(({ at, status }) => at > returned && status < 300);
  expect((first?.at ?? Number.POSITIVE_INFINITY) - returned).toBeLessThan(2_000 + DEADLINE_MS);
}

describe('a shop under load, whose database', () => {
  it('is killed and started again', async () => {
    let killed = 0;
    let returned = 0;
    const answers = await scenario(async () => {
      await postgres.kill();
      killed = performance.now();
      await pause(1_500);
      await postgres.restart();
      returned = performance.now();
    });
    expectOutage(answers, killed + 100, killed + 1_400);
    expectRecovery(answers, returned);
  });

  it('is frozen for 5 s', async () => {
    let frozen = 0;
    const answers = await scenario(async () => {
      await postgres.freeze();
      frozen = performance.now();
      try {
        await pause(5_000);
      } finally {
        postgres.thaw();
      }
    });
    expectOutage(answers, frozen + 2 * DEADLINE_MS, frozen + 4_900);
    expectRecovery(answers, frozen + 5_000);
  });

  it('cuts its connections, again and again', async () => {
    await scenario(async ({ database }) => {
      for (let round = 0; round < 10; round++) {
        await postgres.query(
          'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1',
          [`bosun-${database.name}`],
        );
        await pause(50);
      }
    });
  });

  it('has its table locked by somebody else', async () => {
    let locked = 0;
    const answers = await scenario(async ({ load }) => {
      const other = new pg.Client(postgres.url);
      await other.connect();
      try {
        await other.query('BEGIN; LOCK TABLE product');
        locked = performance.now();
        await load.until((since) => since.filter(isPost).length > 12);
      } finally {
        await other.end();
      }
    });
    const refused = answers.filter(({ at, status }) => at > locked && status === 503);
    expect(refused.some(isPost)).toBe(true);
  });

  it('has no connection left', async () => {
    await using proxy = await FaultProxy.listen({ target: { port: postgres.port } });
    let refused = 0;
    let returned = 0;
    const others: pg.Client[] = [];
    const answers = await scenario(
      async () => {
        proxy.refuse();
        await proxy.cut();
        try {
          while (await connects(others));
          await proxy.accept();
          refused = performance.now();
          await pause(1_000);
        } finally {
          await Promise.all(others.map((other) => other.end()));
        }
        returned = performance.now();
      },
      { port: proxy.port },
    );
    expectOutage(answers, refused + 100, returned - 100);
    expectRecovery(answers, returned);
  });

  it('has its disk full', async ({ skip }) => {
    const mounted = await mountSmallDisk(1_048_576, postgres.uid).catch((error: Error) => {
      if (process.env.CI === 'true' && process.getuid?.() === 0) throw error;
      return skip(`it takes root, who may mount a file system: ${error.message}`);
    });
    await using disk = mounted;
    await postgres.query(`CREATE TABLESPACE small LOCATION '${disk.path}'`);
    await postgres.query('ALTER TABLE product SET TABLESPACE small');
    let filled = 0;
    let freed = 0;
    const answers = await scenario(async ({ load }) => {
      await disk.fill();
      filled = performance.now();
      await load.until((since) => since.filter(({ status }) => status >= 500).length > 20);
      await disk.free();
      freed = performance.now();
    });
    await postgres.query('ALTER TABLE product SET TABLESPACE pg_default');
    await postgres.query('DROP TABLESPACE small');
    const failed = answers.filter(({ status }) => status >= 500);
    expect(failed.every((answer) => isPost(answer) && answer.at > filled)).toBe(true);
    expectRecovery(answers, freed);
  });
});

const isPost = ({ name }: Answer) => name !== undefined;

/** Takes one more connection, if there is one. */
async function connects(others: pg.Client[]): Promise<boolean> {
  const other = new pg.Client(postgres.url);
  other.on('error', () => {});
  try {
    await other.connect();
  } catch (error) {
    expect(error).toMatchObject({ code: '53300' });
    return false;
  }
  others.push(other);
  return true;
}

describe('a shop under load, whose way to the database', () => {
  it.each<[string, (proxy: FaultProxy) => Promise<void>]>([
    [
      'is slow',
      async (proxy) => {
        proxy.delay(50);
        await pause(500);
      },
    ],
    [
      'is slower than every deadline',
      async (proxy) => {
        proxy.delay(3_000);
        await pause(2_500);
      },
    ],
    [
      'is cut, by resets and by ends',
      async (proxy) => {
        for (const how of ['reset', 'end', 'reset', 'end'] as const) {
          await proxy.cut({ how });
          await pause(100);
        }
      },
    ],
    [
      'is cut in the middle of answers',
      async (proxy) => {
        for (const bytes of [1, 5, 700, 3_000]) {
          proxy.cutAfter(bytes, 'to-client');
          await pause(150);
        }
      },
    ],
    [
      'is cut in the middle of queries',
      async (proxy) => {
        for (const bytes of [1, 20, 200, 3_000]) {
          proxy.cutAfter(bytes, 'to-target');
          await pause(150);
        }
      },
    ],
    [
      'is half closed, by the database and by the daemon',
      async (proxy) => {
        await proxy.halfClose('to-client');
        await pause(300);
        await proxy.halfClose('to-target');
        await pause(300);
      },
    ],
    [
      'lets through no more than a few bytes at a time',
      async (proxy) => {
        proxy.trickle(10, 20);
        await pause(2_500);
      },
    ],
    [
      'is gone: nothing comes through, and nobody says so',
      async (proxy) => {
        proxy.pause();
        await pause(2_500);
      },
    ],
    [
      'swallows new connections after the old ones are cut',
      async (proxy) => {
        await proxy.blackHole();
        await proxy.cut();
        await pause(1_500);
        await proxy.accept();
        await proxy.cut();
      },
    ],
  ])('%s', async (_name, fault) => {
    await using proxy = await FaultProxy.listen({ target: { port: postgres.port } });
    let returned = 0;
    const answers = await scenario(
      async () => {
        await fault(proxy);
        await proxy.restore();
        returned = performance.now();
      },
      { port: proxy.port },
    );
    expectRecovery(answers, returned);
  });
});
