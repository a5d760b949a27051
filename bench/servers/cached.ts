import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Fastify from 'fastify';
import pg from 'pg';
import { BRANDS } from './app.ts';

/** `/brands` from a body that is read once: what there is to be had at most, by node:http or by Fastify. */
const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
const body = Buffer.from(JSON.stringify((await client.query(BRANDS)).rows));
await client.end();
const type = 'application/json; charset=utf-8';

function bareServer() {
  return createServer((_request, response) => {
    response.writeHead(200, { 'content-type': type, 'content-length': body.length }).end(body);
  });
}

async function fastifyServer() {
  const app = Fastify({ logger: false });
  app.get('/brands', async (_request, reply) => reply.header('content-type', type).send(body));
  await app.ready();
  return app.server;
}

const server = process.argv[2] === 'node:http' ? bareServer() : await fastifyServer();
server.listen(0, '127.0.0.1', () => {
  console.log(`LISTENING ${(server.address() as AddressInfo).port}`);
});
