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
await using bare = await startPeer('node:http', 'node-http.ts', env);
await using fastify = await startPeer('Fastify', 'fastify.ts', env);
await using control = await startPeer('Fastify again', 'fastify.ts', env);
await using bosun = await startPeer('Bosun http', 'bosun-http.ts', env);
await using whole = await startPeer('Bosun http and postgres', 'bosun-http.ts', env, ['--postgres-service']);
const peers = [bare, fastify, bosun, control, whole];

const body = await (await fetch(`http://127.0.0.1:${bosun.port}/brands`)).text();
for (const peer of peers) {
  const other = await (await fetch(`http://127.0.0.1:${peer.port}/brands`)).text();
  if (other !== body) throw new Error(`${peer.name} answers otherwise than Bosun`);
}

const measure = (path: string) =>
  roundRobin(peers, ROUNDS, (peer) =>
    wrk(`http://127.0.0.1:${peer.port}${path}`, CONNECTIONS, SLICE_SECONDS),
  );
// Before the other: garbage of 250 rows per answer leaves a heap that favours whoever had less of it.
const hello = await measure('/hello');
const brands = await measure('/brands');

report('http', 'HTTP', [
  `${description}.`,
  `The same Fastify app, with a pool of 6, listening by itself and behind Bosun's http service; the same answers from bare node:http; and, as a user would have it, on Bosun's postgres service, too. A second Fastify shows what the machine's noise makes of two equals. ${CONNECTIONS} connections (wrk), ${ROUNDS} rounds of ${SLICE_SECONDS} s per server, in turn; ratios are taken round by round. Median [range].`,
  `## \`/brands\`: 250 rows from Postgres, a body of ${body.length} bytes`,
  table(brands, 'Fastify'),
  '## `/hello`: no database, a body of 17 bytes',
  table(hello, 'Fastify'),
]);
