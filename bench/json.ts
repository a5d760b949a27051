import { createDatabase } from './lib/brands.ts';
import { startPeer } from './lib/peers.ts';
import { machine, report } from './lib/report.ts';
import { roundRobin, table } from './lib/rounds.ts';
import { wrk } from './lib/wrk.ts';

const CONNECTIONS = 200;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 16);
const SLICE_SECONDS = 2;

const description = machine();
await using postgres = await createDatabase();
const env = { DATABASE_URL: postgres.url };
await using fastify = await startPeer('Fastify and pg', 'fastify.ts', env);
await using json = await startPeer('Fastify and db.json', 'json.ts', env, ['db.json']);
await using control = await startPeer('Fastify and pg again', 'fastify.ts', env);
await using bosun = await startPeer('Bosun http and db.json', 'json.ts', env, ['bosun']);
await using aggregated = await startPeer('Fastify, pg and json_agg', 'json.ts', env, ['json_agg']);
const peers = [fastify, json, control, bosun, aggregated];

const body = await (await fetch(`http://127.0.0.1:${fastify.port}/brands`)).text();
for (const peer of peers) {
  const other = await (await fetch(`http://127.0.0.1:${peer.port}/brands`)).text();
  // PostgreSQL's own JSON has white space.
  const same = peer === aggregated ? JSON.stringify(JSON.parse(other)) === body : other === body;
  if (!same) throw new Error(`${peer.name} answers otherwise than Fastify and pg`);
}

const samples = await roundRobin(peers, ROUNDS, (peer) =>
  wrk(`http://127.0.0.1:${peer.port}/brands`, CONNECTIONS, SLICE_SECONDS),
);

report('json', 'Rows as JSON', [
  `${description}.`,
  `\`/brands\`: 250 rows from Postgres by a named statement, a body of ${body.length} bytes, a pool of 6. Fastify makes it of pg's rows; of the text that \`db.json\` gives, by itself and as a Bosun http service; and of the text that PostgreSQL's \`json_agg\` gives. A second Fastify with pg shows what the machine's noise makes of two equals. ${CONNECTIONS} connections (wrk), ${ROUNDS} rounds of ${SLICE_SECONDS} s per server, in turn; ratios are taken round by round. Median [range].`,
  table(samples, 'Fastify and pg'),
]);
