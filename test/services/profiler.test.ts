import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type EntrypointOptions, type EventOf, entrypoint, type Scope, Service } from 'bosun';
import { ProfilerService } from 'bosun/services/profiler';
import { contractCases, FakeClock, settle } from 'bosun/testing';
import { describe, expect, it, test } from 'vitest';
import { takeProfile } from '../../src/observe/profile/index.ts';
import { temporaryFolder } from '../support/postgres.ts';

const quiet: EntrypointOptions = { log: { level: 'silent' }, ownsProcess: false };

/** Always at work, a little at a time. */
class Turning extends Service {
  override start({ spawn }: Scope): void {
    spawn('turn', async (signal) => {
      while (!signal.aborted) {
        for (let i = 0; i < 100_000; i++) Math.hypot(i, 1);
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
  }
}

type Taken = EventOf<'profile-taken'>;

async function profiled(profiler: ProfilerService) {
  const clock = new FakeClock(1_000);
  const daemon = await entrypoint([profiler], { ...quiet, clock });
  const reports: Taken['report'][] = [];
  let arrived = Promise.withResolvers<Taken['report']>();
  daemon.on('profile-taken', ({ report }) => {
    reports.push(report);
    arrived.resolve(report);
  });
  return {
    daemon,
    clock,
    reports,
    interval: profiler.options.intervalMs,
    /** Lets the interval pass, and resolves with what is reported. */
    async next() {
      arrived = Promise.withResolvers();
      await clock.advance(profiler.options.intervalMs);
      return await arrived.promise;
    },
    [Symbol.asyncDispose]: () => daemon.stop(),
  };
}

describe('the profiler service', () => {
  it('reports at each interval, and not before', async () => {
    await using run = await profiled(new ProfilerService({ intervalMs: 5_000, hertz: 500 }));
    await run.clock.advance(4_999);
    expect(run.reports).toEqual([]);
    const first = await run.next();
    expect(first).toMatchObject({ at: 6_000, hertz: 500, files: [] });
    const second = await run.next();
    expect(second.at).toBeGreaterThan(first.at);
    expect(second.durationMs).toBeGreaterThan(0);
  });

  it('reports nothing of an interval that a profile at another rate took, and goes on after it', async () => {
    await using folder = await temporaryFolder();
    await using run = await profiled(new ProfilerService({ dir: folder.path }));
    const abort = new AbortController();
    const taking = takeProfile({ hertz: 1_000, signal: abort.signal }).catch((error: unknown) => error);
    await settle();
    await run.next();
    await run.clock.advance(run.interval);
    abort.abort('over');
    expect(await taking).toBe('over');
    await run.next();
    expect(run.reports.map(({ at, hertz }) => [at, hertz])).toEqual([
      [61_000, 167],
      [181_000, 167],
    ]);
    const written = await readdir(folder.path);
    expect(written).toHaveLength(2);
    for (const name of written) {
      const { startTime, endTime } = JSON.parse(await readFile(join(folder.path, name), 'utf8'));
      expect(endTime).toBeGreaterThanOrEqual(startTime);
    }
  });

  it('is not critical, unless it is told to be', () => {
    expect(new ProfilerService().options).toMatchObject({
      critical: false,
      intervalMs: 60_000,
      hertz: 167,
      top: 10,
    });
    expect(new ProfilerService({ critical: true }).options.critical).toBe(true);
  });

  it('counts samples by service, reports and what it has held up, for the metrics', async () => {
    const profiler = new ProfilerService({ hertz: 500 });
    await using run = await profiled(profiler);
    const report = await run.next();
    const samplesOf = (name: string) => profiler.metrics().find((metric) => metric.name === name)?.samples;
    const samples = Object.values(report.byService).reduce((sum, hits) => sum + hits, 0) + report.idleSamples;
    const counted = samplesOf('bosun_profiler_samples_total') as readonly { readonly value: number }[];
    expect(counted.reduce((sum, { value }) => sum + value, 0)).toBe(samples);
    expect(counted).toContainEqual({ labels: { owner: '(idle)' }, value: report.idleSamples });
    expect(samplesOf('bosun_profiler_reports_total')).toEqual([{ value: 1 }]);
    expect(samplesOf('bosun_profiler_file_errors_total')).toEqual([{ value: 0 }]);
  });

  it('forgets the samples of services that are no more', async () => {
    const profiler = new ProfilerService();
    await using run = await profiled(profiler);
    await run.daemon.add(new Turning({ name: 'short-lived' }));
    while (!('short-lived' in (await run.next()).byService));
    const owners = () => profiler.metrics()[0]?.samples.map((sample) => sample.labels?.owner);
    expect(owners()).toContain('short-lived');
    await run.daemon.remove('short-lived');
    while ('short-lived' in (await run.next()).byService);
    expect(owners()).not.toContain('short-lived');
    expect(owners()).toContain('(idle)');
  });

  it('writes files, counts those it cannot write, and goes on', async () => {
    await using folder = await temporaryFolder();
    const dir = join(folder.path, 'profiles');
    await writeFile(dir, 'in the way');
    const profiler = new ProfilerService({ dir });
    await using run = await profiled(profiler);
    expect((await run.next()).files).toEqual([]);
    expect((await run.next()).files).toEqual([]);
    const failed = profiler.metrics().find(({ name }) => name === 'bosun_profiler_file_errors_total');
    expect(failed?.samples).toEqual([{ value: 2 }]);
    expect(run.daemon.services[0]?.state.status).toBe('running');
  });

  it('names the files that it has written', async () => {
    await using folder = await temporaryFolder();
    await using run = await profiled(new ProfilerService({ dir: folder.path, formats: ['pprof'] }));
    const { files } = await run.next();
    expect(files).toHaveLength(1);
    expect(files[0]).toMatch(/^\/.*\/profile-1970-01-01T.*\.pb\.gz$/);
  });

  it('writes the formats that it can, and names those', async () => {
    await using folder = await temporaryFolder();
    // Where the one file would be.
    await mkdir(join(folder.path, `profile-1970-01-01T000101.000Z-${process.pid}.pb.gz`));
    const profiler = new ProfilerService({ dir: folder.path, formats: ['cpuprofile', 'pprof'] });
    await using run = await profiled(profiler);
    expect((await run.next()).files).toEqual([expect.stringMatching(/\.cpuprofile$/)]);
    const failed = profiler.metrics().find(({ name }) => name === 'bosun_profiler_file_errors_total');
    expect(failed?.samples).toEqual([{ value: 1 }]);
  });

  it('reports again after a restart', async () => {
    await using run = await profiled(new ProfilerService());
    await run.next();
    await run.daemon.restart('profiler');
    expect((await run.next()).durationMs).toBeGreaterThan(0);
  });

  it('cannot run twice in a process', async () => {
    await using run = await profiled(new ProfilerService());
    await expect(run.daemon.add(new ProfilerService({ name: 'another' }))).rejects.toMatchObject({
      code: 'ERR_SERVICE_START',
      cause: { code: 'ERR_PROFILER_BUSY' },
    });
    expect((await run.next()).hertz).toBe(167);
  });
});

describe('the contract of services, held by the profiler', () => {
  const badOptions = [
    { intervalMs: 999 },
    { intervalMs: 300_001 },
    { intervalMs: Number.POSITIVE_INFINITY },
    { intervalMs: '1m' },
    { hertz: 49 },
    { hertz: 501 },
    { hertz: 99.5 },
    { top: 0 },
    { dir: '' },
    { formats: [] },
    { formats: ['svg'] },
    { maxFiles: 0 },
    { formats: ['cpuprofile', 'pprof'], maxFiles: 1 },
    { logLevel: 'loud' },
    { interval: 1_000 },
  ];
  for (const { name, run } of contractCases({ make: () => new ProfilerService(), badOptions }))
    test(name, run);
});
