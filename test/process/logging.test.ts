import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { fifo, linesOf, parsed } from '../logging/fifo.ts';
import { owned } from '../support/owned.ts';

const path = fileURLToPath(new URL('./logging-child.ts', import.meta.url));
const argumentsFor = (scenario: object) => ['--conditions=bosun-source', path, JSON.stringify(scenario)];

interface Child {
  readonly process: ChildProcess;
  /** All of stderr, at its end. */
  readonly stderr: Promise<string>;
  readonly exitCode: Promise<number | null>;
  /** The next thing that it tells. */
  told(): Promise<Record<string, number>>;
}

function start(stdout: number | 'pipe', scenario: object, stderr: number | 'pipe' = 'pipe'): Child {
  const child = owned(
    spawn(process.execPath, argumentsFor(scenario), { stdio: ['ignore', stdout, stderr, 'ipc'] }),
  );
  const messages: Record<string, number>[] = [];
  child.on('message', (message) => messages.push(message as Record<string, number>));
  return {
    process: child,
    stderr: child.stderr ? text(child.stderr) : Promise.resolve(''),
    exitCode: once(child, 'exit').then(([code]) => code),
    async told() {
      while (messages.length === 0) await once(child, 'message');
      return messages.shift() as Record<string, number>;
    },
  };
}

const droppedIn = (stderr: string) => Number(/bosun: (\d+) log lines dropped/.exec(stderr)?.[1] ?? 0);

test('5 000 lines are logged and the loop turns before the reader has read anything; all arrive', async () => {
  using pipe = fifo();
  const child = start(pipe.fd, { lines: 5_000, end: 'run' });
  pipe.closeWriter();
  expect(await child.told()).toEqual({ logged: 5_000 });
  const output = await pipe.readUntil((read) => read.includes('exit code 0'));
  expect(await child.exitCode).toBe(0);
  const lines = parsed(output).filter((line) => line.service === 'burst' && 'i' in line);
  expect(lines.map((line) => line.i)).toEqual(Array.from({ length: 5_000 }, (_, i) => i));
  expect(await child.stderr).toBe('');
});

test('a reader that is too slow for the deadline costs lines, and stderr says how many', async () => {
  using pipe = fifo();
  const child = start(pipe.fd, { lines: 5_000, end: 'close', flushTimeoutMs: 50 });
  pipe.closeWriter();
  expect(await child.exitCode).toBe(0);
  const delivered = linesOf(pipe.read()).length;
  const dropped = droppedIn(await child.stderr);
  expect(delivered).toBeGreaterThan(100);
  expect(delivered + dropped).toBe(5_000);
});

test.each(['process.exit', 'throw', 'nothing'])(
  'the end by %s writes all lines that there is room for',
  async (end) => {
    using pipe = fifo();
    const child = start(pipe.fd, { lines: 100, end, lastWords: 100 });
    pipe.closeWriter();
    expect(await child.exitCode).toBe({ 'process.exit': 3, throw: 1, nothing: 0 }[end]);
    expect(parsed(pipe.read()).map((line) => line.i)).toEqual(Array.from({ length: 200 }, (_, i) => i));
    expect(droppedIn(await child.stderr)).toBe(0);
  },
);

test.each(['process.exit', 'throw', 'nothing'])(
  'the end by %s does not hang on a reader that stalls',
  async (end) => {
    using pipe = fifo();
    const child = start(pipe.fd, { lines: 5_000, end });
    pipe.closeWriter();
    expect(await child.exitCode).toBe({ 'process.exit': 3, throw: 1, nothing: 0 }[end]);
    expect(linesOf(pipe.read()).length + droppedIn(await child.stderr)).toBe(5_000);
  },
);

test('a stalled reader of stdout and stderr alike does not keep the process from ending', async () => {
  using pipe = fifo();
  const child = start(pipe.fd, { lines: 5_000, end: 'close', flushTimeoutMs: 50 }, pipe.fd);
  pipe.closeWriter();
  expect(await child.exitCode).toBe(0);
});

test('a closed reader kills nothing: lines are counted as dropped, and stderr says so once', async () => {
  using pipe = fifo();
  const child = start(pipe.fd, { lines: 5_000, end: 'close' });
  pipe.closeReader();
  pipe.closeWriter();
  expect(await child.told()).toEqual({ logged: 5_000 });
  expect(await child.told()).toEqual({ dropped: 5_000 });
  expect(await child.exitCode).toBe(0);
  const stderr = await child.stderr;
  expect(stderr.match(/cannot be written any more/g)).toHaveLength(1);
  expect(droppedIn(stderr)).toBe(5_000);
});

test('a daemon whose reader closes ends cleanly', async () => {
  using pipe = fifo();
  const child = start(pipe.fd, { lines: 5_000, end: 'run' });
  pipe.closeReader();
  pipe.closeWriter();
  expect(await child.told()).toEqual({ logged: 5_000 });
  expect(await child.exitCode).toBe(0);
});

test('fatal is written although earlier lines wait for a reader', async () => {
  using pipe = fifo();
  const child = start(pipe.fd, { lines: 5_000, fatal: true, end: 'process.exit' });
  pipe.closeWriter();
  await child.told();
  const output = await pipe.readUntil((read) => read.includes('the end'));
  expect(await child.exitCode).toBe(3);
  const lines = parsed(output + pipe.read());
  expect(lines.filter((line) => line.level === 60)).toHaveLength(1);
});

test('stdout may be a socket: calls return while nobody reads, and all arrive', async () => {
  const child = start('pipe', { lines: 5_000, end: 'run' });
  expect(await child.told()).toEqual({ logged: 5_000 });
  const output = await text(child.process.stdout as NonNullable<ChildProcess['stdout']>);
  expect(await child.exitCode).toBe(0);
  expect(parsed(output).filter((line) => 'i' in line)).toHaveLength(5_000);
});

test('a process that inherits the socket, and makes it blocking by that, does not make the calls block', async () => {
  const child = start('pipe', { lines: 5_000, end: 'run', inherit: true });
  expect(await child.told()).toEqual({ logged: 5_000 });
  const output = await text(child.process.stdout as NonNullable<ChildProcess['stdout']>);
  expect(await child.exitCode).toBe(0);
  expect(parsed(output).filter((line) => 'i' in line)).toHaveLength(5_000);
});

const needs = (command: string) =>
  process.env.CI !== 'true' && spawnSync(command, ['--version']).error !== undefined;

const unless = (command: string) => (needs(command) ? ` (skipped: no ${command})` : '');

async function shell(command: string, scenario: object): Promise<{ stdout: string; stderr: string }> {
  const child = owned(spawn('sh', ['-c', command, process.execPath, ...argumentsFor(scenario)]));
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { stdout, stderr };
}

test.skipIf(needs('pv'))(
  `a slow reader gets every line that it takes within the deadline${unless('pv')}`,
  async () => {
    const { stdout, stderr } = await shell('"$0" "$@" | pv -q -L 200000 -B 4096', {
      lines: 1_000,
      end: 'close',
    });
    expect(parsed(stdout).map((line) => line.i)).toEqual(Array.from({ length: 1_000 }, (_, i) => i));
    expect(stderr).toBe('');
  },
);

test.skipIf(needs('pv'))(
  `a reader of 20 kB/s through 4 KB gets whole lines; the rest is counted${unless('pv')}`,
  async () => {
    const scenario = { lines: 5_000, end: 'close', flushTimeoutMs: 100 };
    const { stdout, stderr } = await shell('"$0" "$@" | pv -q -L 20000 -B 4096', scenario);
    expect(parsed(stdout).length + droppedIn(stderr)).toBe(5_000);
  },
);

test.skipIf(needs('script'))(`on a terminal the format is pretty${unless('script')}`, async () => {
  const module = new URL('../../src/logging/logging.ts', import.meta.url);
  const script = `import("${module}").then(async ({ createLogging }) => {
      const { logger, close } = createLogging({
        level: "info", redact: [], bufferBytes: 1e6, flushIntervalMs: 0, flushTimeoutMs: 5000,
      });
      logger.info("hello");
      await close();
    })`;
  const command = `"${process.execPath}" --conditions=bosun-source -e '${script}'`;
  const child = spawn('script', ['-qec', command, '/dev/null']);
  expect(await text(child.stdout)).toMatch(/INFO.*hello/);
});
