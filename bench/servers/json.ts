import type { AddressInfo } from 'node:net';
import { entrypoint, service } from 'bosun';
import { HttpService } from 'bosun/services/http';
import { PostgresService } from 'bosun/services/postgres';
import Fastify, { type FastifyInstance } from 'fastify';
import pg from 'pg';
import { BRANDS } from './app.ts';

/** The rows of `/brands` as JSON text: made by `db.json`, or by the database. */
const url = process.env.DATABASE_URL ?? '';
const AGGREGATED = {
  name: 'brands-json',
  text: `SELECT coalesce(json_agg(b ORDER BY brand_id), '[]')::text AS json FROM brand b`,
};

function app(json: () => Promise<Buffer | string>): FastifyInstance {
  const fastify = Fastify({ logger: false });
  fastify.get('/brands', async (_request, reply) => {
    reply.type('application/json; charset=utf-8');
    return await json();
  });
  return fastify;
}

async function listen(fastify: FastifyInstance): Promise<number> {
  await fastify.listen({ port: 0, host: '127.0.0.1' });
  return (fastify.server.address() as AddressInfo).port;
}

class Api extends HttpService.extend({ database: service(PostgresService) }) {
  protected override createApplication() {
    return app(() => this.options.database.json(BRANDS));
  }
}

const log = { level: 'warn' } as const;
const servers: Readonly<Record<string, () => Promise<number>>> = {
  async 'db.json'() {
    const database = new PostgresService({ url });
    await entrypoint([database], { log, ownsProcess: false });
    return await listen(app(() => database.json(BRANDS)));
  },
  async bosun() {
    const database = new PostgresService({ url });
    const api = new Api({ host: '127.0.0.1', port: 0, accessLog: 'silent', database });
    await entrypoint([database, api], { log });
    return Number(new URL(api.addresses[0] as string).port);
  },
  async json_agg() {
    const pool = new pg.Pool({ connectionString: url, max: 6 });
    return await listen(app(async () => (await pool.query(AGGREGATED)).rows[0].json));
  },
};

console.log(`LISTENING ${await servers[process.argv[2] as string]?.()}`);
