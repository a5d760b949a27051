import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Entrypoint, type EntrypointOptions, entrypoint } from 'bosun';
import { type MemoryReport, MemoryTracerService } from 'bosun/services/memory-tracer';
import { contractCases, FakeClock } from 'bosun/testing';
import { describe, expect, onTestFinished, test, vi } from 'vitest';

const quiet: EntrypointOptions = { log: { level: 'silent' }, ownsProcess: false };
const INTERVAL_MS = 10_000;

describe('the memory tracer keeps the contract of services:', () => {
  const badOptions = [
    { intervalMs: 0 },
    { intervalMs: Number.POSITIVE_INFINITY },
    { top: 0 },
    { top: 1.5 },
    { against: 'last' },
    { groupBy: 'function' },
    { samplingBytes: 100 },
    { samplingBytes: Number.POSITIVE_INFINITY },
    { stackDepth: 0 },
    { logLevel: 'loud' },
    { warmUpMs: -1 },
    { snapshotAtHeapShare: 0 },
    { snapshotAtHeapShare: 1.1 },
    { maxSnapshots: 0 },
    { interval: 1 },
  ];
  for (const { name, run } of contractCases({ make: () => new MemoryTracerService(), badOptions }))
    test(name, run);
});

test('it is not critical, unless it is told to be', () => {
  expect(new MemoryTracerService().options.critical).toBe(false);
  expect(new MemoryTracerService({ critical: true }).options.critical).toBe(true);
});

function keep(held: unknown[], count: number): void {
  for (let id = 0; id < count; id++) held.push({ id, parent: { id } });
}

/** Runs a tracer by a fake clock; `report` lets the interval pass. */
async function trace(options: ConstructorParameters<typeof MemoryTracerService>[0] = {}) {
  const clock = new FakeClock(1_000_000);
  const tracer = new MemoryTracerService({ intervalMs: INTERVAL_MS, samplingBytes: 1_024, ...options });
  const daemon = await entrypoint([tracer], { ...quiet, clock });
  onTestFinished(() => daemon.stop());
  const report = async (): Promise<MemoryReport> => {
    const reported = Promise.withResolvers<MemoryReport>();
    using stack = new DisposableStack();
    stack.defer(daemon.on('memory-reported', (event) => reported.resolve(event.report)));
    await clock.advance(INTERVAL_MS);
    return await reported.promise;
  };
  return { clock, tracer, daemon, report };
}

describe('a report', () => {
  test('carries the figures of the process and how it was sampled', async () => {
    const { report, tracer, clock } = await trace({ top: 2 });
    const first = await report();
    expect(first.rows.length).toBeLessThanOrEqual(2);
    expect(first.samplingBytes).toBe(1_024);
    expect(first.at).toBeLessThanOrEqual(clock.now());
    expect(first.rssBytes).toBeGreaterThan(first.heapUsedBytes);
    expect(first.heapTotalBytes).toBeGreaterThan(0);
    expect(first.externalBytes).toBeGreaterThanOrEqual(first.arrayBuffersBytes);
    expect(first.unattributedBytes).toBeLessThanOrEqual(first.arrayBuffersBytes);
    // Whatever the clock says.
    expect(first.pauseMs).toBeGreaterThan(0);
    const [pauses, warnings] = tracer.metrics();
    expect(pauses).toMatchObject({
      name: 'bosun_memory_tracer_report_pause_seconds',
      samples: [{ counts: expect.any(Array) }],
    });
    expect(warnings?.samples).toEqual([{ value: 0 }]);
  });

  test('comes in the last quarter of each interval', async () => {
    const { report, clock } = await trace();
    const start = clock.now();
    for (let count = 1; count <= 3; count++) {
      const { at } = await report();
      expect(at).toBeGreaterThanOrEqual(start + (count - 0.25) * INTERVAL_MS);
      expect(at).toBeLessThanOrEqual(start + count * INTERVAL_MS);
    }
  });

  test('has the differences to the last report, or to the first one', async () => {
    const ofKeep = ({ rows }: MemoryReport) => rows.find(({ stack }) => stack[0]?.name === 'keep');
    for (const against of ['previous', 'start'] as const) {
      const held: unknown[] = [];
      const { report, daemon } = await trace({ against, top: 1_000 });
      keep(held, 5_000);
      const first = ofKeep(await report());
      expect(first?.bytesDiff).toBe(first?.bytes);
      keep(held, 20_000);
      await report();
      keep(held, 5_000);
      const third = ofKeep(await report());
      expect(third?.bytes).toBeGreaterThan(0);
      const grownBy = (third?.bytesDiff ?? 0) / (third?.bytes ?? 1);
      if (against === 'previous') expect(grownBy).toBeLessThan(0.5);
      else expect(grownBy).toBeGreaterThan(0.5);
      expect(held.length).toBe(30_000);
      await daemon.stop();
    }
  });

  test.each([
    ['file', 1],
    ['line', 1],
  ] as const)('by %s has one frame in a row', async (groupBy, frames) => {
    const held: unknown[] = [];
    const { report } = await trace({ groupBy, top: 5 });
    keep(held, 10_000);
    const { rows } = await report();
    for (const { stack } of rows) expect(stack).toHaveLength(frames);
    const mine = rows.find(({ stack }) => stack[0]?.file.endsWith('memory-tracer.test.ts'));
    expect(mine).toBeDefined();
    if (groupBy === 'file') expect(mine?.stack[0]).toMatchObject({ name: '', line: 0, column: 0 });
    expect(held.length).toBe(10_000);
  });

  test('by stack has the frames of who called, too', async () => {
    const held: unknown[] = [];
    const { report } = await trace({ groupBy: 'stack', top: 1_000 });
    function caller() {
      keep(held, 10_000);
    }
    caller();
    const { rows } = await report();
    const mine = rows.find(({ stack }) => stack[0]?.name === 'keep');
    expect(mine?.stack[1]?.name).toBe('caller');
    expect(held.length).toBe(10_000);
  });
});

test('a second tracer in the process does not start, and leaves the first one alone', async () => {
  const { report } = await trace();
  const second = new Entrypoint([new MemoryTracerService({ name: 'second', critical: true })], quiet);
  await expect(second.start()).rejects.toThrow(/could not start: Heap profiler is already started/);
  expect((await report()).rows.length).toBeGreaterThan(0);
});

test('a report that fails is left out; the next one is to the last that was made', async () => {
  const { report, daemon, clock } = await trace({ top: 1_000 });
  const failures: unknown[] = [];
  daemon.on('service-failed', (event) => failures.push(event));
  const first = await report();
  const failed = Promise.withResolvers<void>();
  const usage = vi.spyOn(process, 'memoryUsage').mockImplementationOnce(() => {
    failed.resolve();
    throw new Error('not now');
  });
  onTestFinished(() => usage.mockRestore());
  await clock.advance(INTERVAL_MS);
  await failed.promise;
  const { at, rows } = await report();
  expect(at).toBeGreaterThan(first.at + INTERVAL_MS);
  expect(rows.some(({ bytes, bytesDiff }) => bytesDiff < bytes)).toBe(true);
  expect(failures).toEqual([]);
});

test('it can be restarted, and reports what was allocated since', async () => {
  const { daemon, report } = await trace();
  await report();
  await daemon.restart('memory-tracer');
  expect((await report()).rows.length).toBeGreaterThan(0);
});

test('no snapshot is taken without being asked for', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'bosun-tracer-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const { report } = await trace({ snapshotDir: folder });
  await report();
  expect(await readdir(folder)).toEqual([]);
});
