import type { AddressInfo } from 'node:net';
import { entrypoint } from 'bosun';
import { HttpService } from 'bosun/services/http';
import Fastify, { type FastifyInstance } from 'fastify';

/** `/products/{id}` without a database: what there is to be had at most, on Fastify alone or behind Bosun's http. */
function constantApp(): FastifyInstance {
  const app = Fastify({ logger: false });
  app.get<{ Params: { id: number } }>(
    '/products/:id',
    { schema: { params: { type: 'object', properties: { id: { type: 'integer' } } } } },
    async ({ params: { id } }) => ({
      product_id: id,
      product_name: `product ${id}`,
      brand_id: 1 + (id % 250),
    }),
  );
  return app;
}

class Api extends HttpService {
  protected override createApplication() {
    return constantApp();
  }
}

async function port(): Promise<number> {
  if (process.argv[2] === 'bosun') {
    const api = new Api({ host: '127.0.0.1', port: 0, deadlineMs: 5_000 });
    await entrypoint([api], { log: { level: 'warn' } });
    return Number(new URL(api.addresses[0] as string).port);
  }
  const app = constantApp();
  await app.listen({ host: '127.0.0.1', port: 0 });
  return (app.server.address() as AddressInfo).port;
}

console.log(`LISTENING ${await port()}`);
