import { entrypoint, service } from 'bosun';
import { HttpService } from 'bosun/services/http';
import { PostgresService } from 'bosun/services/postgres';
import { brandsApp } from './app.ts';

class Api extends HttpService.extend({ database: service(PostgresService) }) {
  protected override createApplication() {
    return brandsApp((query) => this.options.database.query(query));
  }
}

const database = new PostgresService({ url: process.env.DATABASE_URL ?? '' });
const api = new Api({ host: '127.0.0.1', port: 0, accessLog: 'silent', database });
await entrypoint([database, api], { log: { level: 'warn' } });
console.log(`LISTENING ${new URL(api.addresses[0] as string).port}`);
