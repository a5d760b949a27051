import { setTimeout as pause } from 'node:timers/promises';
import { FaultProxy } from 'bosun/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Load } from '../support/load.ts';
import type { MortalPostgres } from '../support/mortal-postgres.ts';
import { expectRecovery, LATENESS, scenario } from '../support/scenario.ts';
import { type ShopUnderLoad, startShopDatabase } from '../support/shop.ts';

let postgres: MortalPostgres;

beforeAll(async () => {
  postgres = await startShopDatabase();
});

afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

describe('a shop under load, whose way to the database', () => {
  it('is slow, but not too slow', async () => {
    await using proxy = await FaultProxy.listen({ target: { port: postgres.port } });
    await scenario(
      postgres,
      async () => {
        proxy.delay(20);
        await pause(500);
        await proxy.restore();
      },
      { port: proxy.port, failures: LATENESS },
    );
  });

  it('is slow, while most clients do not wait for their answers', async () => {
    await using proxy = await FaultProxy.listen({ target: { port: postgres.port } });
    await scenario(
      postgres,
      async ({ address, database }) => {
        proxy.delay(10);
        const impatient = new Load(address, 8, 80, () => ({ method: 'GET', path: '/brands' }));
        await pause(1_000);
        await impatient.stop();
        await proxy.restore();
        expect(database.statistics.cancels).toBeGreaterThan(0);
      },
      { port: proxy.port, failures: [...LATENESS, 'ERR_HTTP_CLIENT_GONE'] },
    );
  });

  it.each<[string, (proxy: FaultProxy, shop: ShopUnderLoad) => Promise<void>]>([
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
      'forgets connections, and says nothing',
      async (proxy, { healthy }) => {
        proxy.strand();
        await healthy();
        // The database has not noticed, either.
        await proxy.cut();
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
      postgres,
      async (shop) => {
        await fault(proxy, shop);
        const { cancels, discarded } = shop.database.statistics;
        expect(cancels + discarded).toBeGreaterThan(0);
        await proxy.restore();
        returned = performance.now();
      },
      { port: proxy.port },
    );
    expectRecovery(answers, returned);
  });
});
