import type { AddressInfo } from 'node:net';
import pg from 'pg';
import { brandsApp } from './app.ts';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 6 });
const app = brandsApp((query, values) => pool.query(query, values));
await app.listen({ port: 0, host: '127.0.0.1' });
console.log(`LISTENING ${(app.server.address() as AddressInfo).port}`);
