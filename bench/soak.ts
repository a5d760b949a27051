import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { machine, report } from './lib/report.ts';
import { markdown } from './lib/rounds.ts';
import { type Slope, slopeOf } from './lib/trend.ts';
import type { Measured, Soaked, SoakRequest } from './servers/soaked.ts';

/** A day in the life of a daemon with all that watches it, in minutes of a simulated clock. */
const HOURS = Number(process.argv[2] ?? 24);
const MINUTES_PER_HOUR = 60;
/** What is compiled, cached or filled up by then is none of the growth. */
const WARM_UP_HOURS = Math.min(4, Math.floor(HOURS / 4));
const REQUESTS_PER_MINUTE = 6;

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

const begun = performance.now();
const machineBefore = machine();
await using daemon = new Daemon();
const { api, admin } = await daemon.answer<Soaked>();
const reading = new AbortController();
const read = follow(`${admin}/api/stream`, reading.signal);
const measured = [await daemon.ask<Measured>('measure')];
let requests = 0;
for (let hour = 0; hour < HOURS; hour++) {
  for (let minute = 0; minute < MINUTES_PER_HOUR; minute++) {
    const load = async () => {
      for (let i = 0; i < REQUESTS_PER_MINUTE; i++) {
        await request(`${api}${paths[requests++ % paths.length]}`);
      }
      await request(`${api}/items`, { method: 'POST', body: JSON.stringify({ minute }) });
      await request(`${admin}/metrics`);
    };
    await Promise.all([daemon.ask('minute'), load()]);
  }
  // Seen by the stall detector.
  await request(`${api}/block`);
  measured.push(await daemon.ask<Measured>('measure'));
  process.stderr.write(`\r  hour ${hour + 1} of ${HOURS}`);
}
process.stderr.write('\n');
reading.abort();
const events = await read;

const warm = measured.slice(WARM_UP_HOURS);

/** What grows for certain: even the low end of the slope's confidence interval does, by this much an hour. */
const isFlat = ({ low }: Slope, allowed: number) => low <= allowed;

const KIB = 1024;
const figures: readonly [string, keyof Measured, number][] = [
  ['heap of the main thread, KiB', 'heapBytes', KIB],
  ['heap of the watcher thread, KiB', 'threadHeapBytes', KIB],
  ['outside the heap, KiB', 'externalBytes', KIB],
  ['resident set, KiB', 'rssBytes', KIB],
  ['open files', 'files', 1],
  ['threads', 'threads', 1],
  ['active resources', 'resources', 1],
  ["listeners of the process's events", 'listeners', 1],
  ["pending timers of the daemon's clock", 'timers', 1],
];
const rows = figures.map(([name, key, unit]) => {
  const values = measured.map((each) => each[key] / unit);
  const slope = slopeOf(warm.map((each) => each[key] / unit));
  const show = (value: number | undefined, digits: number) => (value ?? Number.NaN).toFixed(digits);
  return [
    name,
    show(values[0], 0),
    show(values[WARM_UP_HOURS], 0),
    show(values.at(-1), 0),
    `${show(slope.perStep, 2)} [${show(slope.low, 2)} to ${show(slope.high, 2)}]`,
    isFlat(slope, unit === KIB ? 1 : 0) ? 'flat' : 'GROWS',
  ];
});
console.error(
  measured
    .map((m) => [m.heapBytes, m.threadHeapBytes, m.rssBytes >> 10, m.externalBytes].join(' '))
    .join('\n'),
);
console.log(machineBefore, Math.round((performance.now() - begun) / 1000), 's', events);
console.log(
  markdown(['', 'at first', `after ${WARM_UP_HOURS} h`, `after ${HOURS} h`, 'slope per hour', ''], rows),
);
void report;
