import { lstat, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import type { HeapSnapshot, SnapshotPlan, SnapshotRefusal } from '../../src/observe/memory/heap-snapshot.ts';
import { Child } from '../support/child.ts';
import { mountSmallDisk } from '../support/small-disk.ts';

let folder = '';

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bosun-heap-'));
});

afterEach(() => rm(folder, { recursive: true }));

async function run<Result>(scenario: string, dir = join(folder, 'snapshots'), maxFiles = 2) {
  await using child = new Child('heap-snapshots.ts', [dir, scenario, String(maxFiles)]);
  const { stdout, stderr, code } = await child.exit;
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return JSON.parse(stdout) as { result: Result; logged: string[] };
}

test('a snapshot is written whole, for its owner alone, and announced with the pause to expect', async () => {
  const { result, logged } = await run<{ plan: SnapshotPlan; taken: HeapSnapshot; after: SnapshotPlan }>(
    'once',
  );
  const { plan, taken, after } = result;
  expect(plan.refusal).toBeNull();
  expect(plan.estimatedPauseMs).toBeCloseTo((plan.heapUsedBytes / 2 ** 20) * 50, -1);
  expect(plan.estimatedBytes).toBeGreaterThan(plan.heapUsedBytes);
  expect(plan.freeBytes).toBeGreaterThan(plan.estimatedBytes);
  const { snapshot } = JSON.parse(await readFile(taken.path, 'utf8'));
  expect(snapshot.node_count).toBeGreaterThan(1_000);
  const { mode, size } = await stat(taken.path);
  expect(mode & 0o777).toBe(0o600);
  expect(taken.bytes).toBe(size);
  expect((await stat(join(folder, 'snapshots'))).mode & 0o777).toBe(0o700);
  expect(await readdir(join(folder, 'snapshots'))).toEqual([basename(taken.path)]);
  expect(logged[0]).toMatch(/^taking a heap snapshot: the main loop will stand still for about \d+\.\d s$/);
  expect(logged[1]).toContain(taken.path);
  // It has learned from the first one.
  const [guessed, learned] = [plan, after].map((it) => it.estimatedBytes / it.heapUsedBytes);
  expect(guessed).toBeCloseTo(2, 1);
  expect(learned).toBeLessThan(1.5);
  expect(after.refusal?.reason).toBe('too-soon');
});

test('there is one at a time and one in an interval, and the oldest files are removed', async () => {
  const { result } = await run<{ paths: string[]; meanwhile: SnapshotRefusal; tooSoon: SnapshotRefusal }>(
    'often',
  );
  expect(result.meanwhile).toMatchObject({ code: 'ERR_HEAP_SNAPSHOT_REFUSED', reason: 'busy' });
  expect(result.tooSoon).toMatchObject({ reason: 'too-soon', retryAfterMs: 60_000 });
  expect(await readdir(join(folder, 'snapshots'))).toEqual(
    result.paths.slice(1).map((path) => basename(path)),
  );
});

test('what a process that died left unfinished is removed, and files that are not its own are not', async () => {
  const gone = 'bosun-20260101T000000000Z-999999999.heapsnapshot.partial';
  for (const file of [gone, 'mine.heapsnapshot', 'bosun.txt']) await writeFile(join(folder, file), '');
  const { result } = await run<{ taken: HeapSnapshot }>('once', folder);
  expect((await readdir(folder)).sort()).toEqual(
    ['mine.heapsnapshot', 'bosun.txt', basename(result.taken.path)].sort(),
  );
});

test('so is what this process itself is not writing', async () => {
  const { result } = await run<{ taken: HeapSnapshot }>('left', folder);
  expect(await readdir(folder)).toEqual([basename(result.taken.path)]);
});

test('one that is aborted leaves nothing, takes nothing away, and is not what the next has to wait for', async () => {
  const { result } = await run<{ path: string; files: string[]; after: SnapshotPlan }>(
    'aborted',
    undefined,
    1,
  );
  expect(result).toMatchObject({ before: 'no', during: 'enough' });
  expect(result.files).toEqual([basename(result.path)]);
  expect(result.after.refusal).toBeNull();
});

test('it does not follow a link, and overwrites nothing', async () => {
  const { result } = await run('linked', folder);
  expect(result).toEqual({ isAtLink: true, content: 'precious' });
  expect((await lstat(join(folder, 'precious'))).isFile()).toBe(true);
});

test('it does not pass through memory as a whole', async () => {
  const { result } = await run<{ grownBytes: number; bytes: number }>('lean');
  expect(result.grownBytes).toBeLessThan(result.bytes / 4);
});

test('without a folder each has one of its own, which stays when there are snapshots in it', async () => {
  vi.stubEnv('TMPDIR', folder);
  onTestFinished(() => void vi.unstubAllEnvs());
  const { result } = await run<{ path: string }>('temporary');
  expect(await readdir(folder)).toEqual([basename(dirname(result.path))]);
  expect((await stat(dirname(result.path))).mode & 0o777).toBe(0o700);
});

const cannotMount = process.platform !== 'linux' || process.getuid?.() !== 0;

test.skipIf(cannotMount)('it is refused when the disk has too little room', async ({ skip }) => {
  const disk = await mountSmallDisk(1_000_000, 0).catch(() => undefined);
  if (disk === undefined) return skip('cannot mount');
  await using _disk = disk;
  const { result } = await run<{ refusal: SnapshotRefusal; thrown: SnapshotRefusal }>('full', disk.path);
  expect(result.refusal.reason).toBe('no-space');
  expect(result.thrown).toMatchObject({ code: 'ERR_HEAP_SNAPSHOT_REFUSED', reason: 'no-space' });
  expect(result.thrown.message).toMatch(/would take about .* MiB, but .* has only .* free$/);
  expect(await readdir(disk.path)).toEqual([]);
});
