import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { machine, report } from './lib/report.ts';
import { markdown, show, spread } from './lib/rounds.ts';

const RUNS = Number(process.env.BENCH_RUNS ?? 10);
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = await mkdtemp(join(tmpdir(), 'bosun-startup-'));

const ended = (child: ChildProcess) => new Promise<number | null>((resolve) => child.once('exit', resolve));

/** From `spawn` to the line that says ready, in ms. */
async function timeToReady(args: readonly string[]): Promise<number> {
  const begun = performance.now();
  const child = spawn(process.execPath, args, {
    cwd: folder,
    env: {
      ...process.env,
      PORT: '0',
      ECHO_PORT: '0',
      RATE_PORT: '0',
      UDP_PORT: '0',
      ADMIN_PORT: '0',
      BOSUN_LOG_FORMAT: 'json',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = ended(child);
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.includes('"msg":"ready in')) continue;
    const elapsed = performance.now() - begun;
    child.stdout.resume();
    child.kill('SIGTERM');
    const code = await exited;
    if (code !== 0) throw new Error(`exit code ${code} after a clean stop`);
    return elapsed;
  }
  throw new Error(`${args.join(' ')} ended before it was ready`);
}

/** From `spawn` to the exit of a process that only imports, less that of one that does nothing, in ms. */
async function timeToImport(): Promise<number> {
  const time = async (code: string) => {
    const begun = performance.now();
    await ended(
      spawn(process.execPath, ['--input-type=module', '-e', code], { cwd: root, stdio: 'inherit' }),
    );
    return performance.now() - begun;
  };
  const nothing = await time('');
  return (await time("await import('bosun')")) - nothing;
}

async function repeat(what: () => Promise<number>): Promise<string> {
  const times: number[] = [];
  for (let i = 0; i < RUNS; i++) times.push(await what());
  return show(spread(times));
}

const cli = (config: string) => [join(root, 'dist/cli/main.js'), 'run', join(root, config)];
const description = machine();
await timeToReady(cli('examples/catalogue/bosun.yaml'));
const rows = [
  ["`import 'bosun'`, beyond an empty process", await repeat(timeToImport), '60'],
  [
    'the reference daemon without its database (a small Fastify app for its API), to ready',
    await repeat(() => timeToReady(cli('bench/servers/no-database.yaml'))),
    '250',
  ],
  [
    'the reference daemon with a warm embedded Postgres, to ready',
    await repeat(() => timeToReady(cli('examples/catalogue/bosun.yaml'))),
    '1500',
  ],
];
await rm(folder, { recursive: true });

report('startup', 'Start-up', [
  `${description}.`,
  `The built package, each a process of its own, from spawn on; ${RUNS} runs. ms, median [range].`,
  markdown(['', 'ms', 'at most'], rows),
]);
