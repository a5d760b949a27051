import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { LeakSuspicion, MemoryReport } from 'bosun/services/memory-tracer';
import { build } from 'esbuild';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Child } from '../support/child.ts';
import { startDaemon } from '../support/daemon.ts';

const fixture = fileURLToPath(new URL('fixtures/memory-leaks.ts', import.meta.url));

interface Reported {
  readonly leaked: number;
  readonly report: MemoryReport;
}

/** Two reports of a program that leaks. */
async function reportsOf(kind: string, mode = ''): Promise<[Reported, Reported]> {
  await using child = new Child('memory-leaks.ts', [kind, mode], ['--expose-gc']);
  const { stdout, stderr, code } = await child.exit;
  expect(stderr).toBe('');
  expect(code).toBe(0);
  const reports = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Reported);
  expect(reports).toHaveLength(2);
  return reports as [Reported, Reported];
}

/** What one leaked item takes, heap and buffers, measured without a tracer. */
async function truthOf(kind: string): Promise<number> {
  await using child = new Child('memory-leaks.ts', [kind, 'truth'], ['--expose-gc']);
  const { stdout } = await child.exit;
  return (JSON.parse(stdout) as { bytes: number }).bytes;
}

async function lineOf(file: string, text: string): Promise<number> {
  return (await readFile(file, 'utf8')).split('\n').findIndex((line) => line.includes(text)) + 1;
}

describe('a leak is the top row of both of the first two reports, with its line and what it takes:', () => {
  test.each([
    ['buffers', 'leaking.push(randomBytes(128))'],
    ['objects', 'leaking.push({ id'],
    ['closures', "emitter.on('tick'"],
    ['timers', 'setTimeout(() => remember(id)'],
    ['map', 'cache.set(key'],
  ])('%s', async (kind, text) => {
    const [reports, truth, line] = await Promise.all([reportsOf(kind), truthOf(kind), lineOf(fixture, text)]);
    for (const { report } of reports) {
      const [top] = report.rows;
      expect(top?.stack).toHaveLength(1);
      expect(top?.stack[0]).toMatchObject({ file: fixture, line });
      expect(top?.bytesDiff).toBeGreaterThan(0);
      expect(top?.objectsDiff).toBeGreaterThan(0);
    }
    const [first, second] = reports;
    const perItem = (second.report.rows[0]?.bytesDiff ?? 0) / (second.leaked - first.leaked);
    expect(perItem).toBeGreaterThan(truth * 0.75);
    expect(perItem).toBeLessThan(truth * 1.25);
  });
});

test('at the default sampling the growth of a line is known to 25 % when it is large enough', async () => {
  const [[first, second], truth] = await Promise.all([reportsOf('objects', 'default'), truthOf('objects')]);
  const grown = second.report.rows[0]?.bytesDiff ?? 0;
  const samples = grown / second.report.samplingBytes;
  // 25 % are more than four standard deviations.
  expect(samples).toBeGreaterThan(256);
  const perItem = grown / (second.leaked - first.leaked);
  expect(perItem).toBeGreaterThan(truth * 0.75);
  expect(perItem).toBeLessThan(truth * 1.25);
});

describe('buffers add up to what the process has of them:', () => {
  async function reportOf(...args: readonly number[]): Promise<MemoryReport> {
    await using child = new Child('memory-buffers.ts', args.map(String));
    const { stdout, stderr } = await child.exit;
    expect(stderr).toBe('');
    return JSON.parse(stdout) as MemoryReport;
  }
  const externalOf = (rows: MemoryReport['rows']) =>
    rows.reduce((sum, { externalBytes = 0 }) => sum + externalBytes, 0);
  const KIB = 1_024;

  test.each([
    [64 * KIB, 2_000],
    [1_024 * KIB, 200],
  ])('%d bytes at the default sampling, whether they are attributed or not', async (bytes, count) => {
    const report = await reportOf(bytes, count);
    const { rows, unattributedBytes, unattributedBytesDiff, arrayBuffersBytes } = report;
    const sum = externalOf(rows) + unattributedBytes;
    expect(sum).toBeGreaterThan(bytes * count * 0.99);
    expect(sum).toBeLessThanOrEqual(arrayBuffersBytes + rows.length);
    expect(unattributedBytesDiff).toBe(unattributedBytes);
  });

  test('at a finer sampling they are attributed to their line', async () => {
    const report = await reportOf(64 * KIB, 4_000, 16 * KIB);
    const mine = report.rows.filter(({ stack: [site] }) => site?.file.endsWith('memory-buffers.ts'));
    expect(mine[0]?.stack[0]?.name).toBe('hold');
    expect(externalOf(mine)).toBeGreaterThan(64 * KIB * 4_000 * 0.75);
    expect(report.unattributedBytes).toBe(0);
  });
});

test('the line is found in functions of every kind', async () => {
  const file = fileURLToPath(new URL('fixtures/memory-kinds.ts', import.meta.url));
  // Without optimization nothing is inlined, so that each allocation is recorded in its own function.
  await using child = new Child('memory-kinds.ts', [], ['--no-opt', '--no-maglev']);
  const [{ stdout, stderr }, source] = await Promise.all([child.exit, readFile(file, 'utf8')]);
  expect(stderr).toBe('');
  const { rows } = JSON.parse(stdout) as MemoryReport;
  const expected = source.split('\n').flatMap((line, index) => (line.endsWith('// made') ? [index + 1] : []));
  expect(expected).toHaveLength(20);
  const found = rows.filter(({ stack }) => stack[0]?.file === file).map(({ stack }) => stack[0]?.line);
  expect(found).toEqual(expect.arrayContaining(expected));
});

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bosun-memory-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

test('a leak in a minified bundle is reported with the line that its author wrote', async () => {
  const folder = await temporaryFolder();
  const source = join(folder, 'source.ts');
  await writeFile(
    source,
    `interface Session { readonly id: number; readonly user: { readonly name: string } }

const sessions: Session[] = [];

export function leak(id: number): void {
  const name: string = 'user ' + (id % 7);
  if (name === '') throw new Error('no name');
  sessions.push({ id, user: { name } });
}
`,
  );
  const bundle = join(folder, 'bundle.mjs');
  await build({
    entryPoints: [source],
    outfile: bundle,
    bundle: true,
    minify: true,
    sourcemap: true,
    format: 'esm',
  });
  const reports = await reportsOf(pathToFileURL(bundle).href);
  for (const { report } of reports) {
    expect(report.rows[0]?.stack[0]).toMatchObject({ file: source, line: 8 });
  }
});

interface Seen {
  readonly events: readonly { type: string; suspicion: LeakSuspicion; path: string; bytes: number }[];
  readonly metrics: readonly { name: string; samples: readonly { value: number }[] }[];
}

async function seenIn(scenario: string, folder = ''): Promise<Seen> {
  await using child = new Child('memory-tracer.ts', [scenario, folder], ['--expose-gc']);
  const { stdout, stderr, code } = await child.exit;
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return JSON.parse(stdout) as Seen;
}

test('a heap that grows for good is warned of, with the line that holds most of the growth', async () => {
  const file = fileURLToPath(new URL('fixtures/memory-tracer.ts', import.meta.url));
  const [{ events, metrics }, line] = await Promise.all([seenIn('leak'), lineOf(file, 'held.push(')]);
  const [first] = events;
  expect(first?.type).toBe('leak-suspected');
  expect(first?.suspicion.confidence).toBeGreaterThan(0.999);
  // 5000 arrays of 16 entries, every 15 s.
  expect(first?.suspicion.mibPerHour).toBeGreaterThan(120);
  expect(first?.suspicion.mibPerHour).toBeLessThan(360);
  expect(first?.suspicion.suspect?.stack[0]).toMatchObject({ name: 'leak', file, line });
  const warnings = metrics.find(({ name }) => name === 'bosun_memory_tracer_leak_warnings_total');
  expect(warnings?.samples).toEqual([{ value: events.length }]);
});

test('the line is named that has grown since the growth began, not the cache that was filled before', async () => {
  const file = fileURLToPath(new URL('fixtures/memory-tracer.ts', import.meta.url));
  const [{ events }, line] = await Promise.all([seenIn('cache'), lineOf(file, 'held.push(')]);
  expect(events[0]?.suspicion.suspect?.stack[0]).toMatchObject({ name: 'leak', file, line });
});

test('growth of buffers that were not sampled is warned of without naming a line', async () => {
  const [first] = (await seenIn('buffers')).events;
  expect(first).toMatchObject({ type: 'leak-suspected' });
  expect(first?.suspicion.suspect).toBeUndefined();
  // 4 MiB every 15 s.
  expect(first?.suspicion.mibPerHour).toBeGreaterThan(900);
});

test('a heap that does not grow is not warned of', async () => {
  expect((await seenIn('calm')).events).toEqual([]);
});

test('near the limit of the heap one snapshot is taken, not one at each collection', async () => {
  const folder = join(await temporaryFolder(), 'snapshots');
  const { events } = await seenIn('snapshot', folder);
  expect(events).toHaveLength(1);
  expect(events[0]?.type).toBe('heap-snapshot-taken');
  expect(await readdir(folder)).toEqual([basename(events[0]?.path as string)]);
});

test('near the limit of the heap a snapshot that is refused is taken as soon as it can be', async () => {
  const folder = join(await temporaryFolder(), 'snapshots');
  const { events } = await seenIn('snapshot-later', folder);
  expect(events).toHaveLength(1);
  expect(await readdir(folder)).toContain(basename(events[0]?.path as string));
});

test('from a config file, reports are tables in the log with the same as fields', async () => {
  const folder = await temporaryFolder();
  const config = join(folder, 'bosun.yaml');
  await writeFile(
    config,
    'services:\n  tracer: { use: memory-tracer, interval: 200ms, top: 2, sampling: 4KiB, logLevel: warn }\n',
  );
  await using daemon = await startDaemon(config);
  const line = await daemon.logged(({ msg }) => msg.startsWith('memory: RSS '));
  expect(line).toMatchObject({ level: 40, service: 'tracer' });
  const [summary, head, ...rows] = line.msg.split('\n');
  expect(summary).toMatch(
    /^memory: RSS \S+ MiB, heap \S+ MiB of \S+ MiB, external \S+ MiB \(buffers .*\); differences since the start; sampled every 4\.0 KiB, this report took \S+ ms$/,
  );
  expect(head?.split('|').map((name) => name.trim())).toEqual([
    'Objects',
    'Obj.diff',
    'Memory',
    'Mem.diff',
    'Call site',
  ]);
  const { rows: fields, pauseMs, samplingBytes, unattributedBytes } = line.memory as MemoryReport;
  expect(rows).toHaveLength(fields.length + (unattributedBytes > 0 ? 1 : 0));
  expect(rows[0]?.split('|')[0]?.trim()).toBe(String(fields[0]?.objects));
  expect(samplingBytes).toBe(4_096);
  expect(pauseMs).toBeGreaterThan(0);
  daemon.kill('SIGTERM');
  expect(await daemon.exited).toBe(0);
});
