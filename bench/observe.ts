/**
 * What it costs to watch the reference daemon; results in results/observe.md. One process, in which the services
 * that watch are added and removed: equal processes differ by more than what is to be measured. Slices are short and
 * many, and each is compared with those around it: what disturbs the machine goes on for longer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createDatabase, PRODUCTS } from './lib/brands.ts';
import { startPeer, threadMicros } from './lib/peers.ts';
import { machine, report } from './lib/report.ts';
import { markdown, show, spread } from './lib/rounds.ts';
import { paced, randomIds, wrk } from './lib/wrk.ts';
import type { Counts } from './servers/observed.ts';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 100);
/** Those alone, by name and with `;` between them, for a quicker look. */
const ONLY = (process.env.BENCH_ONLY ?? '').split(';').filter((name) => name !== '');
const SLICE_MS = 2_000;
/**
 * Before each slice: what a change sets off goes on for two seconds or so, to compile and to collect, and is not what
 * watching costs. The half lets as many scrapes fall into each slice as it has seconds, where /metrics is read once in
 * each.
 */
const SETTLE_MS = 3_500;
/** The load ends with the last slice. */
const MAX_SECONDS = 24 * 3_600;
/** Before the first one. */
const WARM_UP_MS = 12_000;
const CONNECTIONS = 50;
/** Of all threads these do something: JavaScript, what V8 does beside it, and the control plane. */
const SHOWN_THREADS = ['MainThread', 'V8Worker', 'bosun watcher'];

/** What watches, how often /metrics is read, and the rounds in which it is measured: one of so many. */
interface Watch {
  readonly by: string;
  readonly scrapeMs: number;
  readonly oneOf: number;
}

const CONTROL = 'stall detector and control plane';
const measured = [
  { name: 'memory tracer', oneOf: 3 },
  { name: 'profiler', oneOf: 3 },
  // The least of them, and the one with the lowest bar.
  { name: CONTROL, oneOf: 1 },
  { name: 'all', oneOf: 10 },
  // What one sample or scrape costs is below the noise of few slices; what many cost is not.
  { name: 'memory tracer, 16 times the samples', oneOf: 10 },
  { name: 'memory tracer, 60 times the reports', oneOf: 10 },
  { name: 'profiler, 3 times the samples', oneOf: 10 },
  { name: `${CONTROL}, 10 times the scrapes`, by: CONTROL, scrapeMs: 100, oneOf: 10 },
  { name: 'nothing again', by: 'nothing', oneOf: 3 },
];
const watches = new Map<string, Watch>(
  measured
    .filter(({ name }) => ONLY.length === 0 || ONLY.includes(name))
    .map(({ name, by = name, scrapeMs = 1_000, oneOf }) => [name, { by, scrapeMs, oneOf }]),
);

/** A slice, by what one request took. */
interface Cost {
  readonly cpuMicros: number;
  /** Processor time of the threads, ms per second, by name. */
  readonly threads: ReadonlyMap<string, number>;
}

const description = machine();
await using postgres = await createDatabase();
await using daemon = await startPeer('nothing', 'observed.ts', { DATABASE_URL: postgres.url });

async function measure(): Promise<Cost> {
  await sleep(SETTLE_MS);
  const threadsBefore = threadMicros(daemon.pid);
  const before = (await daemon.ask('count')) as Counts;
  await sleep(SLICE_MS);
  const after = (await daemon.ask('count')) as Counts;
  const threads = [...threadMicros(daemon.pid)].map(([name, micros]): [string, number] => [
    name,
    (micros - (threadsBefore.get(name) ?? 0)) / 1_000 / (SLICE_MS / 1_000),
  ]);
  return {
    cpuMicros: (after.cpuMicros - before.cpuMicros) / (after.requests - before.requests),
    threads: new Map(threads),
  };
}

async function measureWith({ by, scrapeMs }: Watch): Promise<Cost> {
  const { admin } = (await daemon.ask(by)) as { admin?: string };
  const end = new AbortController();
  // It reads as little as a scraper can: it has the same two processors.
  const scraping =
    admin === undefined ? undefined : wrk(`${admin}/metrics`, 1, 60, paced(scrapeMs), end.signal);
  try {
    return await measure();
  } finally {
    end.abort();
    await scraping;
    await daemon.ask('nothing');
  }
}

const end = new AbortController();
const loading = wrk(
  `http://127.0.0.1:${daemon.port}/products/`,
  CONNECTIONS,
  MAX_SECONDS,
  randomIds(PRODUCTS),
  end.signal,
);
await Promise.race([loading, sleep(WARM_UP_MS)]);

const costs = new Map<string, Cost[]>([...watches.keys()].map((name) => [name, []]));
const ratios = new Map<string, number[]>([...watches.keys()].map((name) => [name, []]));
const without: Cost[] = [await measure()];
for (let round = 1; round <= ROUNDS; round++) {
  for (const [name, watch] of watches) {
    if (round % watch.oneOf !== 0) continue;
    const before = without.at(-1) as Cost;
    const cost = await measureWith(watch);
    const after = await measure();
    without.push(after);
    costs.get(name)?.push(cost);
    ratios.get(name)?.push((2 * cost.cpuMicros) / (before.cpuMicros + after.cpuMicros));
  }
  process.stderr.write(`\r  round ${round} of ${ROUNDS}`);
}
process.stderr.write('\n');
end.abort();
const { requests, seconds: loaded } = await loading;

/** With its standard error. */
function mean(values: readonly number[], digits = 4): string {
  const of = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - of) ** 2, 0) / Math.max(1, values.length - 1);
  return `${of.toFixed(digits)} ± ${Math.sqrt(variance / values.length).toFixed(digits)}`;
}

report('observe', 'Watching a daemon', [
  `${description}.`,
  `The API of the reference daemon under load (\`/products/{id}\`, ${CONNECTIONS} connections, ${Math.round(requests / loaded)} requests per second in the whole run), watched by services with their default options, which are added to one process and removed again. A slice is ${SLICE_MS / 1_000} s, ${SETTLE_MS / 1_000} s after a change, and its ratio is to the mean of the two slices with nothing around it; "nothing again" shows what the noise makes of equals. With the control plane /metrics is read each second, by wrk. The thread of the control plane runs throughout, so that its code is compiled; the stall detector's timer on the main loop is counted. The memory tracer reports each minute, and none of its reports falls in a slice: what they cost is a sixtieth of what 60 times as many cost, over the row without.`,
  markdown(
    ['', 'slices', 'CPU, µs per request', 'CPU ÷ nothing: median [range]', 'mean ± standard error'],
    [
      [
        'nothing',
        String(without.length),
        show(spread(without.map(({ cpuMicros }) => cpuMicros)), 2),
        '1',
        '',
      ],
      ...[...watches.keys()].map((name) => {
        const of = ratios.get(name) ?? [];
        const cpu = (costs.get(name) ?? []).map(({ cpuMicros }) => cpuMicros);
        return [name, String(of.length), show(spread(cpu), 2), show(spread(of), 3), mean(of)];
      }),
    ],
  ),
  'Processor time of the threads, ms per second, mean ± standard error:',
  markdown(
    ['', ...SHOWN_THREADS],
    [['nothing', without] as const, ...costs].map(([name, of]) => [
      name,
      ...SHOWN_THREADS.map((thread) =>
        mean(
          of.map(({ threads }) => threads.get(thread) ?? 0),
          2,
        ),
      ),
    ]),
  ),
]);
