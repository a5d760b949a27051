import { createDatabase, PRODUCTS } from './lib/brands.ts';
import { type Peer, startPeer } from './lib/peers.ts';
import { machine, report } from './lib/report.ts';
import { roundRobin, table } from './lib/rounds.ts';
import { randomIds, wrk } from './lib/wrk.ts';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 11);
const SLICE_SECONDS = 2;
/** A daemon runs for weeks: what V8 has not optimized yet is not what is asked for here. */
const WARM_UP_SECONDS = 8;
/** The figures are for the middle one; the others show whether it holds with few and with many. */
const CONNECTIONS = [10, 200, 1_000];

const description = machine();
await using postgres = await createDatabase();
const env = { DATABASE_URL: postgres.url };
await using fastify = await startPeer('Fastify and pg', 'fastify.ts', env);
await using catalogue = await startPeer('the catalogue', 'catalogue.ts', env);
await using single = await startPeer('Bosun, each its own query', 'json.ts', env, ['bosun']);
await using cachedFastify = await startPeer('Fastify, a cached body', 'cached.ts', env, ['Fastify']);
await using cachedBare = await startPeer('node:http, a cached body', 'cached.ts', env, ['node:http']);

await using more = new AsyncDisposableStack();
/** Processes of each contender for short answers, of which a process has its own speed. */
const PROCESSES = 3;
const several = async (name: string, file: string, args: readonly string[] = []) => {
  const started: Peer[] = [];
  for (let i = 0; i < PROCESSES; i++) started.push(more.use(await startPeer(name, file, env, args)));
  return started;
};

async function warmUp(peers: readonly Peer[], path: string, script?: string): Promise<void> {
  for (const { port } of peers) await wrk(`http://127.0.0.1:${port}${path}`, 200, WARM_UP_SECONDS, script);
}

const sections: string[] = [];

const brands = [fastify, catalogue, single, cachedFastify, cachedBare];
const body = await (await fetch(`http://127.0.0.1:${fastify.port}/brands`)).text();
for (const peer of brands) {
  const other = await (await fetch(`http://127.0.0.1:${peer.port}/brands`)).text();
  if (other !== body) throw new Error(`${peer.name} answers otherwise than Fastify and pg`);
}
await warmUp(brands, '/brands');
for (const connections of CONNECTIONS) {
  const samples = await roundRobin(brands, ROUNDS, (peer) =>
    wrk(`http://127.0.0.1:${peer.port}/brands`, connections, SLICE_SECONDS),
  );
  sections.push(
    `## \`/brands\`, ${connections} connections: 250 rows, a body of ${body.length} bytes`,
    table(samples, 'Fastify and pg'),
  );
}

const products = [
  ...(await several('Fastify and pg', 'fastify.ts')),
  ...(await several('the catalogue', 'catalogue.ts')),
  ...(await several('Fastify, no database', 'constant.ts', ['fastify'])),
  ...(await several('Bosun http, no database', 'constant.ts', ['bosun'])),
];
for (const peer of products) {
  const { status } = await fetch(`http://127.0.0.1:${peer.port}/products/${PRODUCTS}`);
  if (status !== 200) throw new Error(`${peer.name} has no product ${PRODUCTS}`);
}
const script = randomIds(PRODUCTS);
await warmUp(products, '/products/', script);
for (const connections of CONNECTIONS) {
  const samples = await roundRobin(products, ROUNDS, (peer) =>
    wrk(`http://127.0.0.1:${peer.port}/products/`, connections, SLICE_SECONDS, script),
  );
  sections.push(
    `## \`/products/{id}\`, ${connections} connections: a random one of ${PRODUCTS}`,
    table(samples, 'Fastify and pg'),
  );
}

report('reads', 'Reads', [
  `${description}.`,
  `The API of the reference daemon, whose reads are always fresh, against Fastify on pg with the same named statement and a pool of 6, and against what needs no database: a body that is never read again, a product that is made up. ${ROUNDS} rounds of ${SLICE_SECONDS} s (wrk) per server, in turn; ratios are taken round by round; for \`/products\`, each round asks another of ${PROCESSES} processes. Each process has been loaded for ${WARM_UP_SECONDS} s before. Median [range].`,
  ...sections,
]);
