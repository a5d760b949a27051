import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import { BRANDS } from './app.ts';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 6 });
const server = createServer(async (request, response) => {
  const body = request.url === '/hello' ? { hello: 'world' } : (await pool.query(BRANDS)).rows;
  const text = JSON.stringify(body);
  response.writeHead(200, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
});
server.listen(0, '127.0.0.1', () => console.log(`LISTENING ${(server.address() as AddressInfo).port}`));
