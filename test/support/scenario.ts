import type { PostgresService } from 'bosun/services/postgres';
import { expect } from 'vitest';
import type { Answer } from './load.ts';
import type { MortalPostgres } from './mortal-postgres.ts';
import { until } from './postgres.ts';
import { brands, DEADLINE_MS, openShop, POOL_SIZE, ROOM_MS, type ShopUnderLoad } from './shop.ts';

/** What requests may fail with whenever the machine, or the database, is slow. */
export const LATENESS = ['ERR_DEADLINE', 'ERR_POSTGRES_COMMIT_UNKNOWN'];

/** What they may fail with when the database is lost, whenever that is. */
const LOSS = [...LATENESS, 'ERR_POSTGRES_UNAVAILABLE', '57P01'];

/** From the database's return on, by when everything is to succeed: by then a request has its deadline, too. */
const RECOVERY_MS = 2_000;

/** What a scenario is given beside its work. */
export interface ScenarioOptions {
  /** Where the shop is to connect to. Default: the database's port. */
  readonly port?: number;
  /** Codes of the errors that requests may fail with. Default: those of a database that is lost. */
  readonly failures?: readonly string[];
}

/**
 * Opens a shop, waits until it is at work, does to it what the scenario says, waits until it is at work again,
 * and looks at everything that came of it.
 */
export async function scenario(
  postgres: MortalPostgres,
  work: (shop: ShopUnderLoad) => Promise<void>,
  { port = postgres.port, failures = LOSS }: ScenarioOptions = {},
): Promise<readonly Answer[]> {
  using strays = watchStrays();
  const shop = await openShop(postgres, port);
  const { database, load } = shop;
  try {
    await shop.healthy();
    await work(shop);
    await shop.healthy();
    await until(async () => (await connectionsOf(postgres, database)) === POOL_SIZE);
    await load.stop();
    expect(database.statistics).toMatchObject({ state: 'up', size: POOL_SIZE, idle: POOL_SIZE, waiting: 0 });
  } finally {
    await shop[Symbol.asyncDispose]();
  }
  expectTruth(load.answers);
  await expectExactlyOnce(postgres, load.answers);
  expect([...shop.failures.keys()].filter((code) => !failures.includes(code))).toEqual([]);
  await until(async () => (await connectionsOf(postgres, database)) === 0);
  expect(strays.errors).toEqual([]);
  return load.answers;
}

/** While it is down, everybody is told at once. */
export function expectOutage(answers: readonly Answer[], from: number, to: number): void {
  const during = answers.filter(({ at }) => at >= from && at < to);
  expect(during.length).toBeGreaterThan(0);
  expect(new Set(during.map(({ status }) => status))).toEqual(new Set([503]));
  expect(median(during.map(({ durationMs }) => durationMs))).toBeLessThan(50);
}

/** It came back by itself, and in time. */
export function expectRecovery(answers: readonly Answer[], returned: number): void {
  const late = answers.filter(({ at, status }) => at > returned + RECOVERY_MS + DEADLINE_MS && status >= 500);
  expect(late.slice(0, 3)).toEqual([]);
  const first = answers.find(({ at, status }) => at > returned && status < 300);
  expect((first?.at ?? Number.POSITIVE_INFINITY) - returned).toBeLessThan(RECOVERY_MS + DEADLINE_MS);
}

/** Whether a product was to be added. */
export const isPost = ({ name }: Answer) => name !== undefined;

/** Every answer whole, right, and in time; what was not done is a 503 that says when to try again. */
function expectTruth(answers: readonly Answer[]): void {
  const wrong = answers.filter((answer) => !isTrue(answer));
  expect(wrong.slice(0, 3), `${wrong.length} of ${answers.length} answers`).toEqual([]);
}

function isTrue({ operation, name, status, body, durationMs, retryAfter }: Answer): boolean {
  if (durationMs > DEADLINE_MS + ROOM_MS) return false;
  // Whether a COMMIT took place that the database was lost in cannot be known, and must not be tried again.
  if (status === 500) return name !== undefined && retryAfter === undefined && isJson(body);
  if (status === 503) return Number(retryAfter) >= 1 && isJson(body);
  if (name !== undefined) return status === 201 && body === JSON.stringify({ product_name: name });
  const id = Number(/\d+$/.exec(operation)?.[0]);
  return status === 200 && body === JSON.stringify(id > 0 ? brands[id - 1] : brands);
}

function isJson(text: string): boolean {
  try {
    return typeof JSON.parse(text) === 'object';
  } catch {
    return false;
  }
}

/** What was acknowledged is there once; what was refused is not; what is in doubt, once at most. */
async function expectExactlyOnce(postgres: MortalPostgres, answers: readonly Answer[]): Promise<void> {
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

/** How many connections the database has from a service. */
async function connectionsOf(postgres: MortalPostgres, { name }: PostgresService): Promise<number> {
  const { rows } = await postgres.query(
    'SELECT count(*)::int AS count FROM pg_stat_activity WHERE application_name = $1',
    [`bosun-${name}`],
  );
  return rows[0].count;
}

/** Keeps the process's errors that nobody caught. */
function watchStrays(): Disposable & { readonly errors: readonly unknown[] } {
  const errors: unknown[] = [];
  const onStray = (error: unknown) => errors.push(error);
  process.on('unhandledRejection', onStray);
  process.on('uncaughtExceptionMonitor', onStray);
  return {
    errors,
    [Symbol.dispose]() {
      process.off('unhandledRejection', onStray);
      process.off('uncaughtExceptionMonitor', onStray);
    },
  };
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
