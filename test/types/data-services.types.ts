import { Service, service } from 'bosun';
import { CacheService } from 'bosun/services/cache';
import { PeriodicService } from 'bosun/services/periodic';
import { PostgresService } from 'bosun/services/postgres';
import { z } from 'zod';

// A cache's value is typed, with options of its own and without.
class Rates extends (CacheService<Map<string, number>>).extend({ url: z.url() }) {
  protected override async load(_signal: AbortSignal) {
    const url: string = this.options.url;
    const intervalMs: number = this.options.intervalMs;
    return new Map([[url, intervalMs]]);
  }
}
class Wrong extends (CacheService<number>).extend({}) {
  // @ts-expect-error not a number
  protected override async load() {
    return 'text';
  }
}
class Plain extends CacheService<number> {
  protected override load() {
    return this.options.maxAgeMs;
  }
}
// @ts-expect-error load is abstract and missing
class NoLoad extends (CacheService<number>).extend({}) {}
// @ts-expect-error intervalMs is missing
new Rates({ url: 'http://rates' });
const rates = new Rates({ url: 'http://rates', intervalMs: 1 });
export const rate: number | undefined = rates.get().get('USD');
export const plain: number = new Plain({ intervalMs: 1 }).get();
// @ts-expect-error it is a map
export const text: string = rates.get();
export const waited: Promise<Map<string, number>> = rates.getOrWait();
void [Wrong, NoLoad];

class Consumer extends Service.extend({ rates: service(Rates), database: service(PostgresService) }) {
  async start() {
    const value: number | undefined = this.options.rates.get().get('USD');
    const { rows } = await this.options.database.query<{ id: number }>('SELECT 1 AS id', [value]);
    const id: number | undefined = rows[0]?.id;
    const arrays = await this.options.database.query<[number]>({ text: 'SELECT 1', rowMode: 'array' });
    const first: number | undefined = arrays.rows[0]?.[0];
    const result: string = await this.options.database.transaction(async (client) => {
      await client.query('SELECT 1');
      return `${id} ${first}`;
    });
    void result;
  }
}
void Consumer;

class Sweeper extends PeriodicService.extend({ database: service(PostgresService) }) {
  protected override async callback(signal: AbortSignal) {
    signal.throwIfAborted();
    await this.options.database.query('SELECT 1');
  }
}
// @ts-expect-error intervalMs is missing
new Sweeper({ database: new PostgresService({ url: 'embedded' }) });
// @ts-expect-error url is missing
new PostgresService();
