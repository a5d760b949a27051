/**
 * What a task on a worker thread costs beside bare piscina, and that the main thread stays free meanwhile;
 * results in results/workers.md.
 *
 *     node --conditions=bosun-source bench/workers.ts
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { type Scope, Service } from 'bosun';
import { Piscina } from 'piscina';
import { entrypoint } from '../src/entrypoint.ts';
import { machine, report } from './lib/report.ts';
import { markdown, show, spread } from './lib/rounds.ts';

const THREADS = 2;
const ROUNDS = Number(process.env.ROUNDS ?? 41);
const SLICE_MS = 150;
const IN_FLIGHT = [1, 2, 64];
const url = new URL('./servers/tasks.ts', import.meta.url);

type Call = (value: number) => Promise<unknown>;

interface Figure {
  readonly perSecond: number;
  /** Of all threads; less disturbed than the rate by what else the machine does. */
  readonly cpuMicros: number;
}

/** One slice with so many tasks in flight. */
async function load(call: Call, inFlight: number): Promise<Figure> {
  const before = process.cpuUsage();
  const begun = performance.now();
  const end = begun + SLICE_MS;
  let done = 0;
  const lane = async () => {
    while (performance.now() < end) {
      await call(1);
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  const { user, system } = process.cpuUsage(before);
  return {
    perSecond: (done / (performance.now() - begun)) * 1_000,
    cpuMicros: (user + system) / done,
  };
}

/**
 * The rounds go through the contenders in turn, every other one the other way round; the first is for warmth. No
 * collection is forced between them: with no task under way it would throw away the optimised code of both, and
 * a slice would mostly tell how long that takes to come back.
 */
async function compare(bare: Call, ours: Call, inFlight: number): Promise<string[]> {
  const figures: Record<'bare' | 'ours', Figure>[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const figure: Partial<Record<'bare' | 'ours', Figure>> = {};
    const order = round % 2 === 0 ? (['bare', 'ours'] as const) : (['ours', 'bare'] as const);
    for (const name of order) {
      figure[name] = await load(name === 'bare' ? bare : ours, inFlight);
    }
    if (round > 0) figures.push(figure as Required<typeof figure>);
  }
  return [
    String(inFlight),
    show(spread(figures.map((figure) => figure.bare.perSecond))),
    show(spread(figures.map((figure) => figure.ours.perSecond))),
    show(spread(figures.map(({ bare, ours }) => ours.perSecond / bare.perSecond)), 3),
    show(spread(figures.map((figure) => figure.bare.cpuMicros)), 1),
    show(spread(figures.map((figure) => figure.ours.cpuMicros)), 1),
    show(spread(figures.map(({ bare, ours }) => ours.cpuMicros / bare.cpuMicros)), 3),
  ];
}

/** The longest delay of the main thread, in ms, while the sum of 10^7 squares is computed on a worker. */
async function delayDuring(sum: (to: number) => Promise<number>): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await sum(10_000_000);
  delay.disable();
  return delay.max / 1e6;
}

class Bench extends Service {
  async start({ workers }: Scope): Promise<void> {
    const tasks = workers.module<typeof import('./servers/tasks.ts')>(url);
    const bare = new Piscina({
      filename: fileURLToPath(url),
      name: 'trivial',
      minThreads: THREADS,
      maxThreads: THREADS,
    });
    const rows: string[][] = [];
    const call: Call = (value) => bare.run(value);
    for (const inFlight of IN_FLIGHT) rows.push(await compare(call, tasks.trivial, inFlight));
    await tasks.sum(10);
    const delays: number[] = [];
    for (let i = 0; i < 7; i++) delays.push(await delayDuring(tasks.sum));
    await bare.destroy();
    report('workers', 'Tasks on worker threads', [
      machine(),
      `A task that gives back its argument, on ${THREADS} threads; rate and CPU time of all threads per task, median [range] of ${ROUNDS} rounds of ${SLICE_MS} ms each, in turn.`,
      markdown(
        [
          'in flight',
          'piscina, tasks/s',
          'bosun, tasks/s',
          'bosun ÷ piscina',
          'piscina, CPU µs',
          'bosun, CPU µs',
          'CPU ÷ piscina',
        ],
        rows,
      ),
      `Longest delay of the main thread's event loop while \`sum(i*i)\` for 10^7 runs on a worker, ms: ${show(spread(delays), 1)}.`,
    ]);
  }
}

await using daemon = await entrypoint([new Bench({ startTimeoutMs: Number.POSITIVE_INFINITY })], {
  log: { level: 'silent' },
  workers: { threads: THREADS },
});
await daemon.stop();
