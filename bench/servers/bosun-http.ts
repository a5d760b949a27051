import { entrypoint, service } from 'bosun';
import { HttpService } from 'bosun/services/http';
import { PostgresService } from 'bosun/services/postgres';
import pg from 'pg';
import { brandsApp } from './app.ts';

const url = process.env.DATABASE_URL ?? '';

/** Only the http service is Bosun's: the pool is the one that the peers have. */
class OnPlainPool extends HttpService {
  protected override createApplication() {
    const pool = new pg.Pool({ connectionString: url, max: 6 });
    return brandsApp((query, values) => pool.query(query, values));
  }
}

class OnPostgresService extends HttpService.extend({ database: service(PostgresService) }) {
  protected override createApplication() {
    return brandsApp((query, values) => this.options.database.query(query, values));
  }
}

const http = { host: '127.0.0.1', port: 0, accessLog: 'silent' } as const;
const database = new PostgresService({ url });
const whole = process.argv.includes('--postgres-service');
const api = whole ? new OnPostgresService({ ...http, database }) : new OnPlainPool(http);
await entrypoint(whole ? [database, api] : [api], { log: { level: 'warn' } });
console.log(`LISTENING ${new URL(api.addresses[0] as string).port}`);
