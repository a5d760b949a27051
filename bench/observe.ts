/**
 * What it costs to watch the reference daemon; results in results/observe.md. One process, in which the services
 * that watch are added and removed: equal processes differ by more than what is to be measured.
 */
import { setInterval as every } from 'node:timers/promises';
import { createDatabase, PRODUCTS } from './lib/brands.ts';
import { type Peer, startPeer, threadMicros } from './lib/peers.ts';
import { machine, report } from './lib/report.ts';
import { markdown, roundRobin, show, spread, table } from './lib/rounds.ts';
import { randomIds, wrk } from './lib/wrk.ts';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 8);
/** Those alone, by name and with `;` between them, for a quicker look. */
const ONLY = (process.env.BENCH_ONLY ?? '').split(';').filter((name) => name !== '');
const SLICE_SECONDS = 6;
/**
 * After a change: what is begun once, compiled once and read once is not what watching costs. By default the slice ends
 * before the memory tracer's first report.
 */
const WARM_UP_SECONDS = 8;
const CONNECTIONS = 50;
/** Of all threads these do something: JavaScript, what V8 does beside it, and the control plane. */
const SHOWN_THREADS = ['MainThread', 'V8Worker', 'bosun watcher'];

const description = machine();
await using postgres = await createDatabase();
await using daemon = await startPeer('nothing', 'observed.ts', { DATABASE_URL: postgres.url });

/** What watches, as the daemon knows it; and how often /metrics is read. */
interface Watch {
  readonly by: string;
  readonly scrapeMs: number;
}

const CONTROL = 'stall detector and control plane';
const usual = [
  'nothing',
  'memory tracer',
  'profiler',
  CONTROL,
  'all',
  // What one sample or scrape costs is below the noise of the slices; what many cost is not.
  'memory tracer, 16 times the samples',
  'memory tracer, 60 times the reports',
  'profiler, 3 times the samples',
].map((by): [string, Watch] => [by, { by, scrapeMs: 1_000 }]);
const watches = new Map<string, Watch>([
  ...usual,
  [`${CONTROL}, 10 times the scrapes`, { by: CONTROL, scrapeMs: 100 }],
  ['nothing again', { by: 'nothing', scrapeMs: 1_000 }],
]);
/** The same process, watched by something. */
const peers = [...watches.keys()]
  .filter((name) => ONLY.length === 0 || ONLY.includes(name))
  .map((name): Peer => ({ ...daemon, name }));

/** As Prometheus would, but more often. */
async function scrape(admin: string | undefined, everyMs: number, signal: AbortSignal): Promise<void> {
  for await (const _ of every(everyMs, undefined, { signal })) {
    if (admin === undefined) return;
    const response = await fetch(new URL('/metrics', admin), { signal });
    await response.text();
  }
}

const script = randomIds(PRODUCTS);
const load = (port: number, seconds: number) =>
  wrk(`http://127.0.0.1:${port}/products/`, CONNECTIONS, seconds, script);
/** Processor time of the threads in the slices, in ms per second, by what watches and by name. */
const threads = new Map<string, Map<string, number>[]>(peers.map(({ name }) => [name, []]));
const samples = await roundRobin(
  peers,
  ROUNDS,
  async ({ name, pid, port }) => {
    const before = threadMicros(pid);
    const slice = await load(port, SLICE_SECONDS);
    const used = [...threadMicros(pid)].map(([thread, micros]): [string, number] => [
      thread,
      (micros - (before.get(thread) ?? 0)) / 1_000 / slice.seconds,
    ]);
    threads.get(name)?.push(new Map(used));
    return slice;
  },
  async ({ name, port }) => {
    const { by, scrapeMs } = watches.get(name) as Watch;
    const { admin } = (await daemon.ask(by)) as { admin?: string };
    const end = new AbortController();
    const scraping = scrape(admin, scrapeMs, end.signal).catch((error) => {
      if (!end.signal.aborted) throw error;
    });
    await load(port, WARM_UP_SECONDS);
    return async () => {
      end.abort();
      await scraping;
    };
  },
);

report('observe', 'Watching a daemon', [
  `${description}.`,
  `The API of the reference daemon under load (\`/products/{id}\`, ${CONNECTIONS} connections), watched by services with their default options; they are added to and removed from one process between slices, ${WARM_UP_SECONDS} s before each, and with the control plane /metrics is read each second. Ratios are taken round by round; the second slice with nothing shows what the noise makes of two equals. The memory tracer reports each minute, and none of its reports falls in a slice: what they cost is a sixtieth of what 60 times as many cost, over the row without. ${ROUNDS} rounds of ${SLICE_SECONDS} s each, in turn. Median [range].`,
  table(samples, 'nothing'),
  'Processor time of the threads, ms per second:',
  markdown(
    ['', ...SHOWN_THREADS],
    [...threads].map(([name, slices]) => [
      name,
      ...SHOWN_THREADS.map((thread) =>
        // The first slice warms up.
        show(spread(slices.slice(1).map((used) => used.get(thread) ?? 0)), 1),
      ),
    ]),
  ),
]);
