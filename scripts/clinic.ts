import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startPostgres } from '../test/support/postgres.ts';

/**
 * Runs the reference daemon under one of clinic's tools, loads it, ends it, and leaves the report in `.clinic/`:
 * `node --conditions=bosun-source scripts/clinic.ts doctor|flame|bubble|heap [--seconds 10]`.
 */
const tools: Readonly<Record<string, { readonly command: string; readonly maxRequests: number }>> = {
  doctor: { command: 'doctor', maxRequests: Number.POSITIVE_INFINITY },
  flame: { command: 'flame', maxRequests: Number.POSITIVE_INFINITY },
  // It traces every promise, and does not cope with the trace of a few thousand requests.
  bubble: { command: 'bubbleprof', maxRequests: 200 },
  heap: { command: 'heapprofiler', maxRequests: Number.POSITIVE_INFINITY },
};

/** How long clinic may take after the load: it reads all that it has traced, and draws. */
const ANALYSIS_MS = 180_000;
const START_MS = 60_000;
const CONNECTIONS = 20;

const root = fileURLToPath(new URL('..', import.meta.url));
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '10' } },
});
const tool = tools[positionals[0] ?? ''];
const seconds = Number(values.seconds);
if (tool === undefined || !(seconds > 0)) {
  console.error(`usage: scripts/clinic.ts ${Object.keys(tools).join('|')} [--seconds 10]`);
  process.exit(2);
}

const work = mkdtempSync(join(tmpdir(), 'bosun-clinic-'));
const failure = await profile(tool.command, tool.maxRequests).catch((error: Error) => error.message);
rmSync(work, { recursive: true, force: true });
if (failure !== undefined) {
  console.error(`clinic ${tool.command}: ${failure}\nWhat to use instead: docs/profiler.md.`);
  process.exitCode = 1;
}

/** What went wrong, if anything. */
async function profile(tool: string, maxRequests: number): Promise<string | undefined> {
  await using postgres = await startPostgres();
  const daemon = [
    process.execPath,
    '--conditions=bosun-source',
    `${root}src/cli/main.ts`,
    'run',
    `${root}examples/catalogue/bosun.yaml`,
  ];
  const child = spawn('npx', ['--yes', 'clinic@13', tool, '--open=false', '--', ...daemon], {
    cwd: work,
    // A group of its own: all of npx, clinic and the daemon can be ended together.
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      DATABASE_URL: postgres.url,
      PORT: '0',
      RATE_PORT: '0',
      ECHO_PORT: '0',
      UDP_PORT: '0',
      ADMIN_PORT: '0',
      BOSUN_LOG_FORMAT: 'json',
      NO_INSIGHT: '1',
      NO_UPDATE_NOTIFIER: '1',
    },
  });
  const killAll = () => {
    try {
      process.kill(-(child.pid as number), 'SIGKILL');
    } catch {} // Gone already.
  };
  const exited = new Promise<number | string>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? (signal as string)));
  });
  process.once('SIGINT', killAll);
  try {
    const started = await within(START_MS, Promise.race([readiness(child.stdout), exited]));
    if (typeof started !== 'object') {
      return started === undefined ? 'the daemon was not ready within a minute' : `it ended with ${started}`;
    }
    const requests = await load(`${started.url}/brands`, seconds, maxRequests);
    console.log(`clinic ${tool}: ${requests} requests`);
    process.kill(started.pid, 'SIGTERM');
    const code = await within(ANALYSIS_MS, exited);
    if (code === undefined) return `its analysis was not done within ${ANALYSIS_MS / 1000} s`;
    const report = `${work}/.clinic`;
    const pages = existsSync(report) ? readdirSync(report).filter((name) => name.endsWith('.html')) : [];
    if (pages.length === 0) return `it ended with ${code}, and left no report`;
    mkdirSync(`${root}.clinic`, { recursive: true });
    for (const page of pages) {
      cpSync(join(report, page), `${root}.clinic/${page}`);
      console.log(`.clinic/${page}`);
    }
    return requests === 0 ? 'the daemon has answered no request' : undefined;
  } finally {
    killAll();
  }
}

/** Where the daemon's API is, once it says that it is ready. */
async function readiness(
  stdout: NodeJS.ReadableStream,
): Promise<{ readonly url: string; readonly pid: number }> {
  return await new Promise((resolve) => {
    createInterface({ input: stdout }).on('line', (line) => {
      if (!line.startsWith('{')) return void console.log(line);
      const { addresses, pid } = JSON.parse(line);
      if (addresses?.api !== undefined) resolve({ url: addresses.api[0], pid });
    });
  });
}

/** How many requests were answered. */
async function load(url: string, seconds: number, maxRequests: number): Promise<number> {
  const end = performance.now() + seconds * 1000;
  let sent = 0;
  let answered = 0;
  const one = () =>
    new Promise<void>((resolve) => {
      const outgoing = request(url, (response) => {
        if (response.statusCode === 200) answered++;
        response.resume().once('close', resolve);
      });
      outgoing.once('error', () => resolve()).end();
    });
  const connection = async () => {
    while (performance.now() < end && sent++ < maxRequests) await one();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, connection));
  return answered;
}

async function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
