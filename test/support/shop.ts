import { type Entrypoint, entrypoint, service } from 'bosun';
import { HttpService } from 'bosun/services/http';
import { PostgresService } from 'bosun/services/postgres';
import Fastify from 'fastify';
import { Load } from './load.ts';
import { type MortalPostgres, startMortalPostgres } from './mortal-postgres.ts';

/** How long a request may take. */
export const DEADLINE_MS = 1_000;
/** What a busy machine may add. */
export const ROOM_MS = 1_500;
const CLIENTS = 8;
export const POOL_SIZE = 4;

export const brands = Array.from({ length: 50 }, (_, i) => ({
  brand_id: i + 1,
  brand_name: `Brand ${i + 1}`,
}));

const TABLES = `
  CREATE TABLE brand (brand_id integer PRIMARY KEY, brand_name text NOT NULL);
  CREATE TABLE product (
    product_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_name text NOT NULL,
    brand_id integer NOT NULL REFERENCES brand
  );
  INSERT INTO brand SELECT i, 'Brand ' || i FROM generate_series(1, ${brands.length}) AS i;
`;

/** A small HTTP API as they are written: reads, and a write in a transaction. */
class Shop extends HttpService.extend({ database: service(PostgresService) }) {
  /** How often requests have failed, by the code of the error. */
  readonly failures = new Map<string, number>();

  protected override createApplication() {
    const { database } = this.options;
    const app = Fastify();
    app.addHook('onError', (_request, _reply, error, done) => {
      const code = error.code ?? error.message;
      this.failures.set(code, (this.failures.get(code) ?? 0) + 1);
      done();
    });
    app.get('/brands', async () => {
      const text = 'SELECT brand_id, brand_name FROM brand ORDER BY brand_id';
      return (await database.query({ name: 'brands', text })).rows;
    });
    app.get<{ Params: { id: string } }>('/brands/:id', async ({ params }) => {
      const text = 'SELECT brand_id, brand_name FROM brand WHERE brand_id = $1';
      return (await database.query({ name: 'brand', text }, [params.id])).rows[0];
    });
    app.post<{ Body: { product_name: string } }>('/product', async ({ body }, reply) => {
      const text = 'INSERT INTO product (product_name, brand_id) VALUES ($1, $2)';
      await database.transaction(async (client) => {
        await client.query({ name: 'add-product', text }, [body.product_name, 1]);
      });
      return reply.code(201).send(body);
    });
    return app;
  }
}

/** A database that holds the shop's tables. */
export async function startShopDatabase(
  settings?: Readonly<Record<string, string>>,
): Promise<MortalPostgres> {
  const postgres = await startMortalPostgres(settings);
  await postgres.query(TABLES);
  return postgres;
}

/** A daemon that serves the shop, with clients at work. */
export interface ShopUnderLoad extends AsyncDisposable {
  readonly daemon: Entrypoint;
  readonly database: PostgresService;
  readonly address: string;
  readonly load: Load;
  /** How often requests have failed, by the code of the error. */
  readonly failures: ReadonlyMap<string, number>;
  /** Resolves when so many answers in a row were successful. */
  healthy(): Promise<void>;
}

let shops = 0;
let products = 0;

export async function openShop(postgres: MortalPostgres, port = postgres.port): Promise<ShopUnderLoad> {
  shops += 1;
  const database = new PostgresService({
    name: `database-${shops}`,
    url: postgres.url.replace(`:${postgres.port}/`, `:${port}/`),
    poolSize: POOL_SIZE,
    connectTimeoutMs: 500,
  });
  const shop = new Shop({ database, port: 0, deadlineMs: DEADLINE_MS });
  const daemon = await entrypoint([database, shop], { log: { level: 'silent' }, ownsProcess: false });
  const [address = ''] = shop.addresses;
  let turn = 0;
  const load = new Load(address, CLIENTS, DEADLINE_MS + ROOM_MS, () => {
    turn += 1;
    if (turn % 3 === 0) return { method: 'GET', path: '/brands' };
    if (turn % 3 === 1) return { method: 'GET', path: `/brands/${1 + (turn % brands.length)}` };
    products += 1;
    const name = `product ${products}`;
    return { method: 'POST', path: '/product', body: { product_name: name }, name };
  });
  return {
    daemon,
    database,
    address,
    load,
    failures: shop.failures,
    async healthy() {
      await load.until((answers) => answers.length >= 60 && answers.slice(-60).every(succeeded));
    },
    async [Symbol.asyncDispose]() {
      await load.stop();
      await daemon[Symbol.asyncDispose]();
    },
  };
}

const succeeded = ({ status }: { readonly status: number }) => status === 200 || status === 201;
