import pg from 'pg';
import { brandNames } from '../../examples/catalogue/seed.ts';
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts';

/** A server with the rows of `/brands`. */
export async function createDatabase(): Promise<TestPostgres> {
  const postgres = await startPostgres();
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  await client.query('CREATE TABLE brand (brand_id integer PRIMARY KEY, brand_name text NOT NULL)');
  await client.query(
    'INSERT INTO brand SELECT n, name FROM unnest($1::text[]) WITH ORDINALITY AS t(name, n)',
    [brandNames()],
  );
  await client.end();
  return postgres;
}
