import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parse, stringify } from 'yaml';
import { startPostgres } from '../test/support/postgres.ts';

/**
 * Runs the reference daemon under one of clinic's tools, loads it, ends it, and leaves the report in a folder:
 * `node --conditions=bosun-source scripts/clinic.ts doctor|flame|bubble|heap [--seconds 10] [--out .clinic]`.
 */
const tools: Readonly<Record<string, { readonly command: string; readonly maxRequests: number }>> = {
  doctor: { command: 'doctor', maxRequests: Number.POSITIVE_INFINITY },
  flame: { command: 'flame', maxRequests: Number.POSITIVE_INFINITY },
  // It traces every promise, and does not cope with the trace of a few thousand requests.
  bubble: { command: 'bubbleprof', maxRequests: 200 },
  heap: { command: 'heapprofiler', maxRequests: Number.POSITIVE_INFINITY },
};

const watchers = new Set(['admin', 'memory-tracer', 'profiler', 'stall-detector']);

/** How long clinic may take after the load: it reads all that it has traced, and draws. */
const ANALYSIS_MS = 180_000;
/** How long until the daemon is ready; the first time, npx fetches clinic before. */
const START_MS = 180_000;
const CONNECTIONS = 20;

const root = fileURLToPath(new URL('..', import.meta.url));
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '10' },
    out: { type: 'string', default: join(root, '.clinic') },
  },
});
const tool = tools[positionals[0] ?? ''];
const seconds = Number(values.seconds);
const out = resolve(values.out);
if (tool === undefined || !(seconds > 0)) {
  console.error(`usage: scripts/clinic.ts ${Object.keys(tools).join('|')} [--seconds 10] [--out .clinic]`);
  process.exit(2);
}

const interrupted = new AbortController();
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const onSignal = (signal: NodeJS.Signals) => interrupted.abort(signal);
for (const signal of signals) process.once(signal, onSignal);

const work = mkdtempSync(join(tmpdir(), 'bosun-clinic-'));
const failure = await profile(tool.command, tool.maxRequests).catch((error: Error) => error.message);
rmSync(work, { recursive: true, force: true });
for (const signal of signals) process.off(signal, onSignal);
// Ended as the signal would have ended it, now that nothing is left.
if (interrupted.signal.aborted) {
  process.kill(process.pid, interrupted.signal.reason);
} else if (failure !== undefined) {
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
    writeConfig(),
    // What says that the daemon is ready is read below, whatever the environment wants.
    '--log-level=info',
    '--log-format=json',
  ];
  const child = spawn(
    'npx',
    ['--yes', '--prefer-offline', 'clinic@13', tool, '--open=false', '--', ...daemon],
    {
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
        NO_INSIGHT: '1',
        NO_UPDATE_NOTIFIER: '1',
      },
    },
  );
  const killAll = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {} // Gone already.
  };
  const ended = new Promise<string>((resolve) => {
    child.once('error', ({ message }) => resolve(`npx could not be started: ${message}`));
    child.once('close', (code, signal) => resolve(`it ended with ${code ?? signal}`));
  });
  interrupted.signal.addEventListener('abort', killAll);
  if (interrupted.signal.aborted) killAll();
  try {
    const started = await within(START_MS, Promise.race([readiness(child.stdout), ended]));
    if (started === undefined) return `the daemon was not ready within ${START_MS / 1000} s`;
    if (typeof started === 'string') return started;
    console.log(`clinic ${tool}: loads ${started.url}/brands for ${seconds} s`);
    const requests = await load(`${started.url}/brands`, seconds, maxRequests);
    console.log(`clinic ${tool}: ${requests} requests`);
    process.kill(started.pid, 'SIGTERM');
    const end = await within(ANALYSIS_MS, ended);
    if (end === undefined) return `its analysis was not done within ${ANALYSIS_MS / 1000} s`;
    const report = `${work}/.clinic`;
    const pages = existsSync(report) ? readdirSync(report).filter((name) => name.endsWith('.html')) : [];
    if (pages.length === 0) return `${end}, and left no report`;
    mkdirSync(out, { recursive: true });
    for (const page of pages) {
      cpSync(join(report, page), join(out, page));
      console.log(relative(process.cwd(), join(out, page)));
    }
    return requests === 0 ? 'the daemon has answered no request' : undefined;
  } finally {
    killAll();
    await ended;
  }
}

/**
 * The reference daemon's config, without what watches it itself: that would be in the report, and V8 samples the heap
 * for one at a time.
 */
function writeConfig(): string {
  const folder = `${root}examples/catalogue`;
  const config: { readonly services: Record<string, { use: string }> } = parse(
    readFileSync(`${folder}/bosun.yaml`, 'utf8'),
  );
  for (const [name, service] of Object.entries(config.services)) {
    if (watchers.has(service.use)) delete config.services[name];
    else if (service.use.startsWith('./')) service.use = join(folder, service.use);
  }
  const file = join(work, 'bosun.yaml');
  writeFileSync(file, stringify(config));
  return file;
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
    while (!interrupted.signal.aborted && performance.now() < end && sent++ < maxRequests) await one();
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
