import { entrypoint } from 'bosun';
import { PostgresService } from 'bosun/services/postgres';
import { Catalogue } from '../../examples/catalogue/catalogue.ts';
import { Summary } from '../../examples/catalogue/summary.ts';

/** The API of the reference daemon, as it is. */
const database = new PostgresService({ url: process.env.DATABASE_URL ?? '' });
const summary = new Summary({ database, intervalMs: 10_000 });
const api = new Catalogue({ host: '127.0.0.1', port: 0, deadlineMs: 5_000, database, summary });
await entrypoint([database, summary, api], { log: { level: 'warn' } });
console.log(`LISTENING ${new URL(api.addresses[0] as string).port}`);
