import { Profile } from '../src/observe/profile/index.ts';
import { loadTimeProfiler } from '../src/observe/profile/native.ts';
import { Sampler } from '../src/observe/profile/sampler.ts';
import { createDatabase } from './lib/brands.ts';
import { startPeer } from './lib/peers.ts';
import { machine, report } from './lib/report.ts';
import { markdown, roundRobin, table } from './lib/rounds.ts';
import { longestTurn } from './lib/turns.ts';
import { wrk } from './lib/wrk.ts';
import { brandsApp } from './servers/app.ts';

const CONNECTIONS = 50;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 16);
const SLICE_SECONDS = 2;

const description = machine();
const pauses = await measurePauses();

await using postgres = await createDatabase();
const env = { DATABASE_URL: postgres.url };
const start = (name: string, args: readonly string[] = []) => startPeer(name, 'bosun-http.ts', env, args);
await using plain = await start('without');
await using control = await start('without, again');
await using profiled = await start('with the profiler', ['--profiler']);

const measure = (path: string) =>
  roundRobin([plain, profiled, control], ROUNDS, (peer) =>
    wrk(`http://127.0.0.1:${peer.port}${path}`, CONNECTIONS, SLICE_SECONDS),
  );
const hello = await measure('/hello');
const brands = await measure('/brands');

report('profiler', 'Profiler', [
  `${description}.`,
  `Bosun's http service with and without a profiler at its default rate, 251 Hz, that reports every 5 s, which is twelve times as often as by default. A second one without shows what the machine's noise makes of two equals. ${CONNECTIONS} connections (wrk), ${ROUNDS} rounds of ${SLICE_SECONDS} s per server, in turn; ratios are taken round by round. Median [range].`,
  '## `/hello`: no database',
  table(hello, 'without'),
  '## `/brands`: 250 rows from Postgres',
  table(brands, 'without'),
  '## How long it holds up the loop',
  'In a process that does nothing but answer requests by a Fastify app. In the last column the longest time between two turns of the event loop while the report and both files are made.',
  pauses,
]);

/** A table: what beginning, collecting and reporting a profile hold up. */
async function measurePauses(): Promise<string> {
  const app = brandsApp(async () => ({ rows: Array.from({ length: 250 }, (_, i) => ({ brand_id: i })) }));
  const busy = async (ms: number) => {
    const end = performance.now() + ms;
    while (performance.now() < end) {
      await app.inject('/brands');
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await busy(1_000);
  const Native = await loadTimeProfiler();
  const rows: string[][] = [];
  for (const [what, hertz, windowMs] of [
    ['a minute at 251 Hz', 251, 60_000],
    ['10 s at 1,000 Hz', 1_000, 10_000],
  ] as const) {
    const begun = performance.now();
    const sampler = new Sampler(Native, { hertz, windowMs, discoveryMs: 1_000 });
    const beginningMs = performance.now() - begun;
    await busy(windowMs);
    const capture = sampler.stop();
    const longestMs = await longestTurn(async () => {
      const profile = await Profile.from([capture], Date.now());
      await profile.report();
      await profile.encode('cpuprofile');
      await profile.encode('pprof');
    });
    rows.push([what, ...[beginningMs, capture.pauseMs, longestMs].map((ms) => ms.toFixed(1))]);
  }
  await app.close();
  return markdown(['', 'beginning, ms', 'taking the samples, ms', 'longest turn while reporting, ms'], rows);
}
