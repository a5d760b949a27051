/** What a control plane costs to have, and how it answers while the main loop is blocked; results/control.md. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { machine, report } from './lib/report.ts';
import { markdown, show, spread } from './lib/rounds.ts';

const RUNS = Number(process.env.BENCH_RUNS ?? 10);
const BLOCKED_MS = 5_000;

interface Started {
  readonly startMs: number;
  readonly rssBytes: number;
  readonly address: string;
}

/** The built package: what is loaded counts. */
async function start(): Promise<[ChildProcess, Started]> {
  const file = fileURLToPath(new URL('./servers/controlled.ts', import.meta.url));
  const child = fork(file, { execArgv: [] });
  const [started] = (await once(child, 'message')) as [Started];
  return [child, started];
}

async function stop(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}

/** How long an answer of `/livez` takes, in ms. */
async function answer(address: string): Promise<number> {
  const begun = performance.now();
  await (await fetch(`${address}/livez`)).text();
  return performance.now() - begun;
}

/** How long `/livez` takes, in ms, asked again and again while the main loop is blocked. */
async function answers(child: ChildProcess, address: string): Promise<number[]> {
  const over = once(child, 'message');
  child.send(BLOCKED_MS);
  await sleep(200);
  const times: number[] = [];
  const end = performance.now() + BLOCKED_MS - 700;
  while (performance.now() < end) {
    times.push(await answer(address));
    await sleep(10);
  }
  await over;
  return times.sort((a, b) => a - b);
}

const description = machine();
const starts: number[] = [];
const sizes: number[] = [];
for (let run = 0; run < RUNS; run++) {
  const [child, { startMs, rssBytes }] = await start();
  starts.push(startMs);
  sizes.push(rssBytes / 2 ** 20);
  await stop(child);
}
const [child, { address }] = await start();
// This process's own client has to be compiled, too.
const first = await answer(address);
const times = await answers(child, address);
await stop(child);
const at = (share: number) => (times[Math.floor(share * (times.length - 1))] as number).toFixed(1);

report('control', 'The control plane', [
  `${description}.`,
  `Added to a running daemon of the built package: from the import to its first address, and by how much the resident memory has grown half a second after the first answer. Median [range] of ${RUNS} processes. And \`/livez\`, asked by another process while the main loop spins for ${BLOCKED_MS / 1_000} s.`,
  markdown(
    ['', 'measured', 'bar'],
    [
      ['import and start, ms', show(spread(starts)), '150'],
      ['resident memory, MiB', show(spread(sizes), 1), '25'],
      [
        `\`/livez\` while blocked, ms: median, p99, longest of ${times.length}`,
        [0.5, 0.99, 1].map(at).join(', '),
        '50',
      ],
      ['`/livez` before, ms: the first, with a client that has yet to be compiled', first.toFixed(1), ''],
    ],
  ),
]);
