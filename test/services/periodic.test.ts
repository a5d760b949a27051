import { Entrypoint, type EntrypointOptions, entrypoint, type Scope } from 'bosun';
import { PeriodicService } from 'bosun/services/periodic';
import { FakeClock, settle } from 'bosun/testing';
import { describe, expect, it } from 'vitest';

const quiet: EntrypointOptions = { log: { level: 'silent' }, ownsProcess: false };
const HOUR_MS = 3_600_000;

/** Writes down when it is called, and does what it is told to. */
class Job extends PeriodicService {
  readonly calls: number[] = [];
  readonly signals: AbortSignal[] = [];
  work: (signal: AbortSignal, scope: Scope) => unknown = () => {};

  protected override async callback(signal: AbortSignal, scope: Scope) {
    this.calls.push(scope.clock.now());
    this.signals.push(signal);
    await this.work(signal, scope);
  }
}

describe('a periodic service', () => {
  it('calls back at once and then at the interval', async () => {
    const clock = new FakeClock(1_000);
    const job = new Job({ intervalMs: HOUR_MS });
    await using _daemon = await entrypoint([job], { ...quiet, clock });
    await clock.advance(3 * HOUR_MS);
    expect(job.calls).toEqual([0, 1, 2, 3].map((n) => 1_000 + n * HOUR_MS));
  });

  it('waits for the initial delay, which its start does not', async () => {
    const clock = new FakeClock();
    const job = new Job({ intervalMs: 100, initialDelayMs: 250 });
    await using _daemon = await entrypoint([job], { ...quiet, clock });
    await clock.advance(249);
    expect(job.calls).toEqual([]);
    await clock.advance(101);
    expect(job.calls).toEqual([250, 350]);
  });

  it('counts the interval from the end of a call, and never overlaps calls', async () => {
    const clock = new FakeClock();
    const job = new Job({ intervalMs: 100 });
    job.work = (signal) => clock.sleep(1_000, { signal });
    await using _daemon = await entrypoint([job], { ...quiet, clock });
    await clock.advance(2_500);
    expect(job.calls).toEqual([0, 1_100, 2_200]);
  });

  it('takes intervals longer than a timer can be, and Infinity for a single call', async () => {
    const clock = new FakeClock();
    const yearMs = 365 * 24 * HOUR_MS;
    const job = new Job({ intervalMs: yearMs });
    const once = new Job({ name: 'once', intervalMs: Number.POSITIVE_INFINITY });
    await using _daemon = await entrypoint([job, once], { ...quiet, clock });
    await clock.advance(2 * yearMs);
    expect(job.calls).toEqual([0, yearMs, 2 * yearMs]);
    expect(once.calls).toEqual([0]);
  });

  it('does not call at once when a real timer is set beyond its limit', async () => {
    const job = new Job({ intervalMs: 2 ** 31 });
    await using _daemon = await entrypoint([job], quiet);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(job.calls).toHaveLength(1);
  });

  it('lets the event loop turn between calls when the interval is 0', async () => {
    const job = new Job({ intervalMs: 0 });
    const tenth = Promise.withResolvers<void>();
    job.work = () => {
      if (job.calls.length === 10) tenth.resolve();
    };
    await using _daemon = await entrypoint([job], quiet);
    await tenth.promise;
  });

  it('counts an error and goes on', async () => {
    const clock = new FakeClock();
    const job = new Job({ intervalMs: 100 });
    job.work = async () => {
      await clock.sleep(5);
      if (job.calls.length === 2) throw new Error('no luck');
    };
    await using daemon = await entrypoint([job], { ...quiet, clock });
    await clock.advance(104);
    expect(job.statistics).toEqual({ runs: 1, errors: 0, lastRunAt: 0, lastDurationMs: 5, running: false });
    await clock.advance(3);
    expect(job.statistics).toEqual({ runs: 1, errors: 0, lastRunAt: 105, lastDurationMs: 5, running: true });
    await clock.advance(203);
    expect(job.statistics).toMatchObject({ runs: 3, errors: 1, lastRunAt: 210 });
    expect(daemon.services[0]?.state.status).toBe('running');
  });

  it('fails with an error when it is told to, and is restarted', async () => {
    const clock = new FakeClock();
    const job = new Job({ intervalMs: 100, onError: 'fail' });
    job.work = () => {
      if (job.calls.length === 1) throw new Error('no luck');
    };
    const failures: Error[] = [];
    const daemon = new Entrypoint([job], { ...quiet, clock });
    daemon.on('service-failed', ({ error }) => failures.push(error));
    await daemon.start();
    await clock.advance(300);
    expect(failures).toEqual([expect.objectContaining({ message: 'no luck' })]);
    expect(job.calls.length).toBeGreaterThan(1);
    await daemon.stop();
  });

  it.each([0, 100])('can finish its own service, with an interval of %d ms', async (intervalMs) => {
    const job = new Job({ intervalMs });
    job.work = (_signal, scope) => scope.finish();
    await using daemon = await entrypoint([job], quiet);
    expect(await daemon.closed).toMatchObject({ exitCode: 0, errors: [] });
    expect(job.calls).toHaveLength(1);
  });

  it('can fail its own service', async () => {
    const job = new Job({ intervalMs: 100, restart: 'never' });
    job.work = (_signal, scope) => scope.fail(new Error('no more'));
    await using daemon = await entrypoint([job], quiet);
    const { exitCode, errors } = await daemon.closed;
    expect(exitCode).toBe(1);
    expect(errors[0]?.cause).toMatchObject({ message: 'no more' });
  });

  it('aborts the call under way when it stops, waits for it, and counts no error', async () => {
    const clock = new FakeClock();
    const job = new Job({ intervalMs: 100 });
    const order: string[] = [];
    job.work = async (signal) => {
      await clock.sleep(10_000, { signal }).catch(() => order.push('aborted'));
      await settle();
      order.push('tidied up');
      signal.throwIfAborted();
    };
    const daemon = new Entrypoint([job], { ...quiet, clock });
    await daemon.start();
    await clock.advance(0);
    await daemon.stop();
    expect(order).toEqual(['aborted', 'tidied up']);
    expect(job.statistics).toMatchObject({ runs: 1, errors: 0, running: false });
    expect(clock.pending).toBe(0);
  });

  it('names the callback when that does not end', async () => {
    const clock = new FakeClock();
    const job = new Job({ intervalMs: 100 });
    job.work = () => new Promise(() => {});
    const daemon = new Entrypoint([job], { ...quiet, clock });
    await daemon.start();
    await clock.advance(0);
    const stopped = daemon.stop().catch((error: unknown) => error);
    await clock.advance(11_000);
    expect(await stopped).toMatchObject({ errors: [{ heldBy: ['task "callback"'] }] });
  });

  it.each([
    [{ intervalMs: -1 }, 'intervalMs'],
    [{ intervalMs: Number.NaN }, 'intervalMs'],
    [{ intervalMs: 1, initialDelayMs: '5' }, 'initialDelayMs'],
    [{ intervalMs: 1, onError: 'ignore' }, 'onError'],
    [{}, 'intervalMs'],
  ])('refuses %j', (options, option) => {
    expect(() => new Job(options as { intervalMs: number })).toThrow(`option "${option}"`);
  });
});
