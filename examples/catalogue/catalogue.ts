import { readFile } from 'node:fs/promises';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { type Scope, service } from 'bosun';
import { AggregateMissingError, aggregate, coalesce } from 'bosun/policy';
import { HttpService } from 'bosun/services/http';
import { PostgresService } from 'bosun/services/postgres';
import Fastify from 'fastify';
import {
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import { z } from 'zod';
import { requestScope } from './request-scope.ts';
import { Summary } from './summary.ts';

const Id = z
  .string()
  .transform((text, { issues }) => {
    const id = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
    if ((id | 0) === id) return id;
    issues.push({ code: 'custom', input: text, message: 'must be an integer of 32 bits' });
    return z.NEVER;
  })
  .meta({ type: 'integer', format: 'int32' });

const Brand = z.object({ brand_id: z.int(), brand_name: z.string() });
const Product = z.object({ product_id: z.int(), product_name: z.string(), brand_id: z.int() });
type Product = z.infer<typeof Product>;
const NewProduct = z.object({ product_name: z.string().regex(/^[^\0]+$/), brand_id: z.int32() });
const Failure = z.object({ error: z.string(), message: z.string() });

const PRODUCTS = {
  name: 'products',
  text: 'SELECT product_id, product_name, brand_id FROM product WHERE product_id = ANY($1)',
};
/** A body that is JSON text already: documented as what it says, typed as what is sent. */
const textOf = (schema: z.ZodType) => z.custom<Buffer>().meta(z.toJSONSchema(schema));

const BRANDS = { name: 'brands', text: 'SELECT brand_id, brand_name FROM brand ORDER BY brand_id' };
const ADD_PRODUCT = {
  name: 'add-product',
  text: 'INSERT INTO product (product_name, brand_id) VALUES ($1, $2)',
};

const FOREIGN_KEY_VIOLATION = '23503';

/** The products REST API, its OpenAPI document and docs page, and the visitor counter's page. */
export class Catalogue extends HttpService.extend({
  database: service(PostgresService),
  summary: service(Summary),
}) {
  protected override async createApplication({ clock, workers }: Scope) {
    const { database, summary } = this.options;
    const app = Fastify().withTypeProvider<ZodTypeProvider>();
    app.setValidatorCompiler(validatorCompiler);
    // What is read from its own tables needs no check: that would cost more than all else.
    app.setSerializerCompiler<z.ZodType>((route) =>
      route.httpStatus?.startsWith('2') ? JSON.stringify : serializerCompiler(route),
    );
    // A body is JSON whatever its content type says: one that is not gets 400, not 415.
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', { parseAs: 'string' }, app.getDefaultJsonParser('error', 'error'));
    await app.register(swagger, {
      openapi: { info: { title: 'Product catalogue', version: '1.0.0' } },
      transform: jsonSchemaTransform,
    });
    await app.register(swaggerUi, { routePrefix: '/docs' });

    const page = await readFile(new URL('./counter.html', import.meta.url), 'utf8');
    app.get('/', { schema: { hide: true } }, (_request, reply) => reply.type('text/html').send(page));
    app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());

    app.get(
      '/time',
      { schema: { response: { 200: z.object({ month: z.int(), day: z.int(), time: z.string() }) } } },
      async () => {
        const now = new Date(clock.now());
        return { month: now.getMonth() + 1, day: now.getDate(), time: now.toTimeString().slice(0, 8) };
      },
    );

    // One query answers all who ask at the same time, never with what was read before they asked.
    const brands = coalesce({ name: 'brands' })(() => database.json(BRANDS));
    app.get('/brands', { schema: { response: { 200: textOf(z.array(Brand)) } } }, async (_request, reply) =>
      reply.header('content-type', 'application/json; charset=utf-8').send(await brands()),
    );

    // And one query finds all products that are asked for at the same time.
    const product = aggregate({ name: 'products', maxInFlight: 1, by: (row: Product) => row.product_id })(
      async (ids) => (await database.query<Product>(PRODUCTS, [ids])).rows,
    );

    for (const path of ['/products/:id', '/product/:id']) {
      app.get(
        path,
        {
          schema: { params: z.object({ id: Id }), response: { 200: Product, 400: Failure, 404: Failure } },
        },
        async (request, reply) => {
          const { id } = request.params;
          try {
            return await product(id);
          } catch (error) {
            if (!(error instanceof AggregateMissingError)) throw error;
            return reply.code(404).send({ error: 'Not Found', message: `there is no product ${id}` });
          }
        },
      );
    }

    await app.register((writes, _options, done) => {
      requestScope(writes, database);
      writes
        .withTypeProvider<ZodTypeProvider>()
        .post(
          '/product',
          { schema: { body: NewProduct, response: { 201: z.void(), 400: Failure } } },
          async (request, reply) => {
            const { product_name, brand_id } = request.body;
            const transaction = await reply.transaction();
            try {
              await transaction.query(ADD_PRODUCT, [product_name, brand_id]);
            } catch (error) {
              if ((error as { code?: unknown }).code !== FOREIGN_KEY_VIOLATION) throw error;
              return reply.code(400).send({ error: 'Bad Request', message: `there is no brand ${brand_id}` });
            }
            return reply.code(201).send();
          },
        );
      done();
    });

    // Seconds of computing, on a worker thread: meanwhile everything else is answered as ever.
    const reports = workers.module<typeof import('./report-tasks.ts')>(
      new URL('./report-tasks.ts', import.meta.url),
    );
    app.get(
      '/report',
      {
        schema: {
          querystring: z.object({ n: z.coerce.number().int().min(0).max(10_000_000).default(10_000_000) }),
          response: { 200: z.object({ n: z.int(), sum_of_squares: z.string() }), 400: Failure },
        },
      },
      async ({ query: { n } }) => ({ n, sum_of_squares: await reports.sumOfSquares(n) }),
    );

    app.get('/summary', () => {
      return { age_ms: Math.round(summary.ageMs ?? 0), brands: summary.get() };
    });
    return app;
  }
}
