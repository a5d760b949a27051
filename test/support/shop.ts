import { type Scope, service, withDeadline } from 'bosun';
import { HttpService } from 'bosun/services/http';
import { PostgresService } from 'bosun/services/postgres';
import Fastify from 'fastify';

/** Every request's deadline. */
export const DEADLINE_MS = 1_000;

export const BRANDS = Array.from({ length: 50 }, (_, i) => ({
  brand_id: i + 1,
  brand_name: `Brand ${i + 1}`,
}));
export const ACCOUNTS = 4;

export const TABLES = `
  CREATE TABLE brand (brand_id integer PRIMARY KEY, brand_name text NOT NULL);
  CREATE TABLE product (
    product_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_name text NOT NULL,
    brand_id integer NOT NULL REFERENCES brand
  );
  CREATE TABLE account (account_id integer PRIMARY KEY, balance integer NOT NULL);
  INSERT INTO brand SELECT i, 'Brand ' || i FROM generate_series(1, ${BRANDS.length}) AS i;
  INSERT INTO account SELECT i, 0 FROM generate_series(1, ${ACCOUNTS}) AS i;
`;

/** A small HTTP API as they are written: reads, a write in a transaction, and one that conflicts. */
export class Shop extends HttpService.extend({ database: service(PostgresService) }) {
  protected override createApplication(_scope: Scope) {
    const { database } = this.options;
    const app = Fastify();
    app.get('/brands', () =>
      withDeadline(DEADLINE_MS, async () => {
        const { rows } = await database.query({
          name: 'brands',
          text: 'SELECT brand_id, brand_name FROM brand ORDER BY brand_id',
        });
        return rows;
      }),
    );
    app.get<{ Params: { id: string } }>('/brands/:id', (request) =>
      withDeadline(DEADLINE_MS, async () => {
        const { rows } = await database.query(
          { name: 'brand', text: 'SELECT brand_id, brand_name FROM brand WHERE brand_id = $1' },
          [request.params.id],
        );
        return rows[0];
      }),
    );
    app.post<{ Body: { product_name: string } }>('/product', (request, reply) =>
      withDeadline(DEADLINE_MS, async () => {
        const { product_name } = request.body;
        await database.transaction(async (client) => {
          await client.query({
            name: 'add-product',
            text: 'INSERT INTO product (product_name, brand_id) VALUES ($1, 1 + length($1) % 50)',
            values: [product_name],
          });
        });
        reply.code(201);
        return { product_name };
      }),
    );
    app.post<{ Body: { from: number; to: number } }>('/transfer', (request) =>
      withDeadline(10_000, async () => {
        const { from, to } = request.body;
        const balance = async (id: number, by: number) => {
          const { rows } = await database.query<{ balance: number }>(
            'SELECT balance FROM account WHERE account_id = $1',
            [id],
          );
          return (rows[0]?.balance ?? Number.NaN) + by;
        };
        return { from: await balance(from, -1), to: await balance(to, 1) };
      }),
    );
    return app;
  }
}
