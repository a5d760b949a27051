import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { noBrowser } from '../test/support/browser.ts';
import { openDashboard, type PageMeasured } from './lib/page.ts';
import { machine, report } from './lib/report.ts';
import { markdown } from './lib/rounds.ts';
import { slopeOf } from './lib/trend.ts';
import type { Measured, Soaked, SoakRequest } from './servers/soaked.ts';

/** Of a simulated clock; the daemon does in it all that it does in real ones. */
const HOURS = 24;
/** With the dashboard open. */
const PAGE_HOURS = 12;
const MINUTES_PER_HOUR = 60;
const REQUESTS_PER_MINUTE = 6;

/** Growth that cannot be told from V8's own: of the code, feedback and shapes that it goes on adding for days. */
const NOISE_KIB = 16;

const ABOUT = `An http service, \`memory-tracer\` (every 10 s), \`profiler\` (every minute), \`stall-detector\` and
\`admin\` by a clock that is moved on as soon as each report is there. Each simulated minute brings ${REQUESTS_PER_MINUTE + 1}
requests, one of \`/metrics\`, 6 memory reports and a profile; each hour a stall. Heaps are measured after a garbage
collection, and V8 only interprets, so that what it compiles is not counted. The slope is Theil–Sen's over the second
half, with its 95 % confidence interval; a figure grows when the low end of that is above ${NOISE_KIB} KiB an hour, or above
0 of what is counted. The resident set follows V8's young generation, which grows with the rate of allocation: here
that of a day in a minute.`;

const paths = ['/hello', '/items/1', '/items/2', '/nowhere', '/fail', '/hello?page=2'];

class Daemon implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<never>;

  constructor() {
    const file = (name: string) => fileURLToPath(new URL(`./servers/${name}`, import.meta.url));
    const execArgv = [
      '--conditions=bosun-source',
      '--expose-gc',
      '--no-opt',
      '--no-maglev',
      '--no-sparkplug',
      '--import',
      file('thread-heap.ts'),
    ];
    this.#child = fork(file('soaked.ts'), { execArgv, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    this.#ended = once(this.#child, 'exit').then(([code]) => {
      throw new Error(`the daemon ended with exit code ${code}`);
    });
    this.#ended.catch(() => {});
  }

  async answer<Answer>(): Promise<Answer> {
    const [answer] = await Promise.race([once(this.#child, 'message'), this.#ended]);
    return answer as Answer;
  }

  async ask<Answer>(request: SoakRequest): Promise<Answer> {
    this.#child.send(request);
    return await this.answer();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    await this.#ended.catch(() => {});
  }
}

/** Reads all there is to read, and counts it. */
async function follow(url: string, signal: AbortSignal): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  const { body } = await fetch(url, { signal });
  let rest = '';
  try {
    for await (const chunk of (body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (!line.startsWith('event: ')) continue;
        counts.set(line.slice(7), (counts.get(line.slice(7)) ?? 0) + 1);
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return counts;
}

async function request(url: string, init: RequestInit = {}): Promise<string> {
  const response = await fetch(url, init);
  return await response.text();
}

/** A minute of requests; the metrics are read, too. */
async function load(api: string, admin: string): Promise<void> {
  for (let i = 0; i < REQUESTS_PER_MINUTE; i++) await request(`${api}${paths[i % paths.length]}`);
  await request(`${api}/items`, { method: 'POST', body: '{"name":"a"}' });
  await request(`${admin}/metrics`);
}

/** Lets hours pass, and measures at the beginning and after each. */
async function soak<More>(hours: number, { api, admin }: Soaked, daemon: Daemon, more: () => Promise<More>) {
  const measure = async () => ({ ...(await more()), ...(await daemon.ask<Measured>('measure')) });
  const measured = [await measure()];
  for (let hour = 1; hour <= hours; hour++) {
    for (let minute = 0; minute < MINUTES_PER_HOUR; minute++) {
      await Promise.all([daemon.ask('minute'), load(api, admin)]);
    }
    measured.push(await measure());
    process.stderr.write(`\r  hour ${hour} of ${hours}`);
  }
  process.stderr.write('\n');
  return measured;
}

const KIB = 1024;

/** What is measured: how it is called, and one of what is shown; in KiB, growth below `NOISE_KIB` an hour is none. */
type Figure<Key> = readonly [name: string, key: Key, unit: number];

const figures: readonly Figure<keyof Measured>[] = [
  ['heap of the main thread, KiB', 'heapBytes', KIB],
  ['heap of the watcher thread, KiB', 'threadHeapBytes', KIB],
  ['outside the heap, KiB', 'externalBytes', KIB],
  ['resident set, KiB', 'rssBytes', KIB],
  ["resident set beyond V8's heaps, KiB", 'nativeBytes', KIB],
  ['open files', 'files', 1],
  ['threads', 'threads', 1],
  ['active resources', 'resources', 1],
  ["listeners of the process's events", 'listeners', 1],
  ["pending timers of the daemon's clock", 'timers', 1],
];

const pageFigures: readonly Figure<keyof PageMeasured>[] = [
  ['heap of the page, KiB', 'pageHeapBytes', KIB],
  ['nodes', 'pageNodes', 1],
  ['listeners', 'pageListeners', 1],
];

/** The second half counts: by then V8's caches, and what is kept up to a limit, are full. */
function table<Key extends string>(
  measured: readonly Readonly<Record<Key, number>>[],
  figures: readonly Figure<Key>[],
): string {
  const hours = measured.length - 1;
  const half = hours >> 1;
  const rows = figures.map(([name, key, unit]) => {
    const values = measured.map((each) => each[key] / unit);
    const slope = slopeOf(values.slice(half));
    const show = (value: number | undefined, digits: number) => (value ?? Number.NaN).toFixed(digits);
    return [
      name,
      ...[values[0], values[half], values.at(-1)].map((value) => show(value, 0)),
      `${show(slope.perStep, 1)} [${show(slope.low, 1)} to ${show(slope.high, 1)}]`,
      slope.low <= (unit === KIB ? NOISE_KIB : 0) ? 'flat' : 'grows',
    ];
  });
  return markdown(['', 'at first', `after ${half} h`, `after ${hours} h`, 'slope per hour', ''], rows);
}

async function day(): Promise<string[]> {
  await using daemon = new Daemon();
  const soaked = await daemon.answer<Soaked>();
  const reading = new AbortController();
  const read = follow(`${soaked.admin}/api/stream`, reading.signal);
  const begun = performance.now();
  // Seen by the stall detector.
  const block = async () => void (await request(`${soaked.api}/block`));
  const measured = await soak(HOURS, soaked, daemon, block);
  const seconds = Math.round((performance.now() - begun) / 1_000);
  reading.abort();
  const events = [...(await read)].map(([kind, count]) => `${count} ${kind}`).join(', ');
  return [
    table(measured, figures),
    `The ${HOURS} hours took ${seconds} s; one client read all of \`/api/stream\`: ${events}.`,
  ];
}

async function dashboard(): Promise<string[]> {
  if (noBrowser) return [];
  await using daemon = new Daemon();
  const soaked = await daemon.answer<Soaked>();
  await using page = await openDashboard(soaked.admin);
  const measured = await soak(PAGE_HOURS, soaked, daemon, () => page.measure());
  return ['## With the dashboard open in Chromium', table(measured, pageFigures)];
}

const taken = machine();
report('soak', `${HOURS} simulated hours with all that watches a daemon`, [
  `${taken}.`,
  ABOUT,
  ...(await day()),
  ...(await dashboard()),
]);
