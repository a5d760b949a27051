import { setTimeout as pause } from 'node:timers/promises';
import { FaultProxy } from 'bosun/testing';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MortalPostgres } from '../support/mortal-postgres.ts';
import { expectOutage, expectRecovery, isPost, LATENESS, scenario } from '../support/scenario.ts';
import { DEADLINE_MS, openShop, startShopDatabase } from '../support/shop.ts';
import { mountSmallDisk } from '../support/small-disk.ts';

let postgres: MortalPostgres;

beforeAll(async () => {
  postgres = await startShopDatabase({ max_connections: '20' });
});

afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

describe('a shop under load, whose database', () => {
  it('is killed and started again', async () => {
    let killed = 0;
    let returned = 0;
    const answers = await scenario(postgres, async () => {
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
    const answers = await scenario(postgres, async () => {
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
    await scenario(postgres, async ({ database }) => {
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
    const answers = await scenario(postgres, async ({ load }) => {
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
      postgres,
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

  it('has its tables altered, and with them its prepared statements', async () => {
    await scenario(
      postgres,
      async () => {
        for (const type of ['varchar(100)', 'text', 'varchar(200)', 'text']) {
          await postgres.query(`ALTER TABLE brand ALTER COLUMN brand_name TYPE ${type}`);
          await pause(100);
        }
      },
      { failures: LATENESS },
    );
  });

  it('has its disk full', async ({ skip }) => {
    const mounted = await mountSmallDisk(1_048_576, postgres.uid).catch((error: Error) => {
      if (process.env.CI === 'true' && process.getuid?.() === 0) throw error;
      return skip(`it takes root, who may mount a file system: ${error.message}`);
    });
    await using disk = mounted;
    await postgres.query(`CREATE TABLESPACE small LOCATION '${disk.path}'`);
    await postgres.query('ALTER TABLE product SET TABLESPACE small');
    let freed = 0;
    const answers = await scenario(
      postgres,
      async ({ load }) => {
        await disk.fill();
        await load.until((since) => since.filter(({ status }) => status === 500).length > 20);
        await disk.free();
        freed = performance.now();
      },
      { failures: [...LATENESS, '53100'] },
    );
    await postgres.query('ALTER TABLE product SET TABLESPACE pg_default');
    await postgres.query('DROP TABLESPACE small');
    expectRecovery(answers, freed);
  });

  it('is frozen when the daemon stops, which it does in order and in time', async () => {
    const shop = await openShop(postgres);
    try {
      await shop.healthy();
      await postgres.freeze();
      await shop.load.until((since) => since.length > 8);
      await shop.daemon.stop();
      expect((await shop.daemon.closed).errors).toEqual([]);
    } finally {
      postgres.thaw();
      await shop[Symbol.asyncDispose]();
    }
  });
});

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
