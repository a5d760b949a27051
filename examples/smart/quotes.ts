import { durationMs } from 'bosun';
import { HttpService } from 'bosun/services/http';
import Fastify from 'fastify';
import { z } from 'zod';
import { SmartClient } from './smart-client.ts';

const Rate = z.object({ rate: z.number() });

/** Quotes prices in other currencies: `GET /quote/EUR?price=10`, by the rates of an upstream that may be busy. */
export class Quotes extends HttpService.extend({
  upstream: z.url({ protocol: /^https?$/ }),
  retryForMs: durationMs().default(3_000),
}) {
  protected override createApplication() {
    const { upstream, retryForMs } = this.options;
    const client = new SmartClient(retryForMs);
    const app = Fastify();
    app.get<{ Params: { currency: string }; Querystring: { price: number } }>(
      '/quote/:currency',
      {
        schema: {
          params: { type: 'object', properties: { currency: { type: 'string', pattern: '^[A-Z]{3}$' } } },
          querystring: { type: 'object', required: ['price'], properties: { price: { type: 'number' } } },
        },
      },
      async ({ params: { currency }, query: { price } }, reply) => {
        const answer = await client.request(new URL(`/rates/${currency}`, upstream), { method: 'GET' });
        if (answer.status !== 200) {
          return reply.code(answer.status).type('application/json').send(answer.body);
        }
        const { rate } = Rate.parse(JSON.parse(answer.body.toString()));
        return { currency, price: price * rate };
      },
    );
    return app;
  }
}
