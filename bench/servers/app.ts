import Fastify, { type FastifyInstance } from 'fastify';

/** The rows of `/brands`: 11 KB as JSON. */
export const BRANDS = { name: 'brands', text: 'SELECT brand_id, brand_name FROM brand ORDER BY brand_id' };

type Query = (query: typeof BRANDS) => Promise<{ rows: unknown[] }>;

/** The same app for every peer. */
export function brandsApp(query: Query): FastifyInstance {
  const app = Fastify({ logger: false });
  app.get('/brands', async () => (await query(BRANDS)).rows);
  app.get('/hello', async () => ({ hello: 'world' }));
  return app;
}
