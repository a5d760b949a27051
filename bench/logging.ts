/**
 * What a slow reader of stdout does to the event loop, and what a line costs; results in results/logging.md.
 *
 *     node --conditions=bosun-source bench/logging.ts
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Logger, pino } from 'pino';
import { createLogging } from '../src/logging/logging.ts';
import { logSchema } from '../src/logging/options.ts';

const LINES = 5_000;
const MESSAGE = 'x'.repeat(100);
/** How often the stall is measured, as the machine is busy with other things, too. */
const ROUNDS = 5;
const STALL = /^stall ([\d.]+) ([\d.]+)/m;
const READER = 'pv -q -L 20000 -B 4096';

/** A way to log, and to end the process. */
interface Contender {
  readonly log: (message: string) => void;
  readonly end: () => unknown;
}

const ours = (options: object): Contender => {
  const { logger, close } = createLogging(logSchema.parse(options));
  return { log: (message) => logger.info(message), end: close };
};

const ofPino = (logger: Logger, end: () => unknown): Contender => ({
  log: (message) => logger.info(message),
  end,
});

const contenders: Readonly<Record<string, () => Contender>> = {
  'nothing is logged': () => ({ log: () => {}, end: () => {} }),
  'console.log': () => ({ log: (message) => console.log(message), end: () => {} }),
  'pino, sync destination': () => ofPino(pino(pino.destination({ dest: 1, sync: true })), () => {}),
  'pino, async destination, process.exit()': () =>
    ofPino(pino(pino.destination({ dest: 1, sync: false })), () => process.exit()),
  'pino, worker transport, process.exit()': () =>
    ofPino(pino({ transport: { target: 'pino/file', options: { destination: 1 } } }), () => process.exit()),
  'bosun, close()': () => ours({ format: 'json' }),
  'bosun, close() with flushTimeoutMs: 60 000': () => ours({ format: 'json', flushTimeoutMs: 60_000 }),
  'bosun, process.exit()': () => ({ ...ours({ format: 'json' }), end: () => process.exit() }),
};

/** In the child: the longest time that the event loop did not turn, and the processor time spent in it. */
async function stall({ log, end }: Contender, mode: string): Promise<void> {
  await sleep(300);
  let longest = 0;
  let spent = 0;
  let last = performance.now();
  let cpu = process.threadCpuUsage();
  const beat = setInterval(() => {
    const now = performance.now();
    const { user, system } = process.threadCpuUsage(cpu);
    if (now - last > longest) {
      longest = now - last;
      spent = (user + system) / 1_000;
    }
    cpu = process.threadCpuUsage();
    last = now;
  }, 1);
  await sleep(50);
  longest = 0;
  for (let i = 0; i < LINES; i++) log(MESSAGE);
  await sleep(500);
  clearInterval(beat);
  process.stderr.write(`stall ${longest} ${spent}\n`);
  if (mode === 'stall') process.kill(process.pid, 'SIGKILL');
  process.stderr.write(`ending ${Date.now()}\n`);
  await end();
}

/** In the child: the time of a call, and the processor time of a line in all, warm, into /dev/null. */
async function cost(log: (message: string) => void, flush: () => Promise<void>): Promise<void> {
  const WARM_ROUNDS = 40;
  const PER_ROUND = 5_000;
  let calls = 0;
  let cpu = process.cpuUsage();
  for (let round = -WARM_ROUNDS; round < WARM_ROUNDS; round++) {
    if (round === 0) {
      calls = 0;
      cpu = process.cpuUsage();
    }
    const begun = performance.now();
    for (let i = 0; i < PER_ROUND; i++) log(MESSAGE);
    calls += performance.now() - begun;
    await flush();
  }
  const { user, system } = process.cpuUsage(cpu);
  const lines = WARM_ROUNDS * PER_ROUND;
  process.stderr.write(`cost ${(calls * 1e6) / lines} ${((user + system) * 1e3) / lines}\n`);
  process.exit();
}

const costs: Readonly<Record<string, () => Promise<void>>> = {
  'pino, async destination': () => {
    const destination = pino.destination({ dest: 1, sync: false });
    const logger = pino(destination);
    return cost(
      (message) => logger.info(message),
      () => new Promise((resolve) => destination.flush(() => resolve())),
    );
  },
  ...Object.fromEntries(
    (['json', 'plain', 'journald', 'pretty'] as const).map((format) => [
      `bosun, ${format}`,
      () => {
        const { logger, flush } = createLogging(logSchema.parse({ format }));
        return cost((message) => logger.info(message), flush);
      },
    ]),
  ),
};

async function child(mode: string, name: string, pipe: string): Promise<{ out: string; err: string }> {
  const command = `{ "$0" --conditions=bosun-source "$1" ${mode} "$2"; echo "ended $(date +%s%3N)" >&2; } ${pipe}`;
  const shell = spawn('sh', ['-c', command, process.execPath, fileURLToPath(import.meta.url), name]);
  const [out, err] = await Promise.all([text(shell.stdout), text(shell.stderr), once(shell, 'close')]);
  return { out, err };
}

const numbers = (pattern: RegExp, within: string) => (pattern.exec(within) ?? []).slice(1).map(Number);

async function main(): Promise<void> {
  const rows = [
    `| | longest stall: least of ${ROUNDS} | median | processor time in it, median | delivered | said to be lost | from the end until the exit |`,
    '|---|--:|--:|--:|--:|--:|--:|',
  ];
  for (const name of Object.keys(contenders)) {
    const { out, err } = await child('whole', name, `| ${READER} | wc -l`);
    const stalls = [numbers(STALL, err)];
    // One that stalls for seconds needs no second look.
    const rounds = (stalls[0]?.[0] ?? 0) > 1_000 ? 1 : ROUNDS;
    while (stalls.length < rounds) {
      const again = await child('stall', name, `| timeout 3 ${READER} >/dev/null`);
      stalls.push(numbers(STALL, again.err));
    }
    const walls = stalls.map(([wall = Number.NaN]) => wall).sort((a, b) => a - b);
    const spent = stalls.map(([, cpu = Number.NaN]) => cpu).sort((a, b) => a - b);
    const middle = Math.floor(stalls.length / 2);
    const [ending = 0] = numbers(/^ending (\d+)/m, err);
    const [ended = 0] = numbers(/^ended (\d+)/m, err);
    const [lost] = numbers(/(\d+) log lines dropped/, err);
    const times = [walls[0], walls[middle], spent[middle]].map((ms) => `${ms?.toFixed(1)} ms`).join(' | ');
    rows.push(`| ${name} | ${times} | ${out.trim()} | ${lost ?? '-'} | ${ended - ending} ms |`);
    console.log(rows.at(-1));
  }
  const costRows = ['| | in the call | processor time in all |', '|---|--:|--:|'];
  for (const name of Object.keys(costs)) {
    const { err } = await child('cost', name, '>/dev/null');
    const [call = Number.NaN, cpu = Number.NaN] = numbers(/^cost ([\d.]+) ([\d.]+)/m, err);
    costRows.push(`| ${name} | ${call.toFixed(0)} ns | ${cpu.toFixed(0)} ns |`);
    console.log(costRows.at(-1));
  }
  const machine = `${availableParallelism()} × ${cpus()[0]?.model.trim()}, Node ${process.version}`;
  const page = [
    '# Logging',
    '',
    `Made by \`node --conditions=bosun-source bench/logging.ts\` on ${machine}.`,
    '',
    `## ${LINES} lines, each with a message of ${MESSAGE.length} B, logged in one go into \`${READER}\``,
    '',
    ...rows,
    '',
    '“Nothing is logged” shows what the machine itself adds; the processor time is what the logging costs.',
    'The burst comes first in its process, so much of it is spent before the compiler has got hold of pino.',
    '',
    '## A line into /dev/null, warm',
    '',
    ...costRows,
    '',
  ].join('\n');
  writeFileSync(new URL('./results/logging.md', import.meta.url), page);
}

const [, , mode, name = ''] = process.argv;
if (mode === 'stall' || mode === 'whole') await stall((contenders[name] as () => Contender)(), mode);
else if (mode === 'cost') await costs[name]?.();
else await main();
