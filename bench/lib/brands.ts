import pg from 'pg';
import { brandNames } from '../../examples/catalogue/seed.ts';
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts';

/** How many products there are. */
export const PRODUCTS = 100_000;

/** A server with the rows of `/brands` and `/products/{id}`. */
export async function createDatabase(): Promise<TestPostgres> {
  const postgres = await startPostgres();
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  await client.query('CREATE TABLE brand (brand_id integer PRIMARY KEY, brand_name text NOT NULL)');
  await client.query(
    'INSERT INTO brand SELECT n, name FROM unnest($1::text[]) WITH ORDINALITY AS t(name, n)',
    [brandNames()],
  );
  await client.query(
    `CREATE TABLE product (
       product_id integer PRIMARY KEY,
       product_name text NOT NULL,
       brand_id integer NOT NULL REFERENCES brand
     )`,
  );
  await client.query(
    "INSERT INTO product SELECT n, 'product ' || n, 1 + n % 250 FROM generate_series(1, $1::integer) AS n",
    [PRODUCTS],
  );
  await client.query('ANALYZE brand, product');
  await client.end();
  return postgres;
}
