import Fastify, { type FastifyInstance } from 'fastify';

/** The rows of `/brands`: 11 KB as JSON. */
export const BRANDS = { name: 'brands', text: 'SELECT brand_id, brand_name FROM brand ORDER BY brand_id' };

const PRODUCT = {
  name: 'product',
  text: 'SELECT product_id, product_name, brand_id FROM product WHERE product_id = $1',
};

type Query = (query: typeof BRANDS, values?: unknown[]) => Promise<{ rows: unknown[] }>;

/** The same app for every peer. */
export function brandsApp(query: Query): FastifyInstance {
  const app = Fastify({ logger: false });
  app.get('/brands', async () => (await query(BRANDS)).rows);
  app.get<{ Params: { id: number } }>(
    '/products/:id',
    { schema: { params: { type: 'object', properties: { id: { type: 'integer' } } } } },
    async ({ params: { id } }, reply) =>
      (await query(PRODUCT, [id])).rows[0] ?? reply.code(404).send({ error: 'Not Found' }),
  );
  app.get('/hello', async () => ({ hello: 'world' }));
  return app;
}
