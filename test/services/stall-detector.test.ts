import { AsyncLocalStorage } from 'node:async_hooks';
import { performance } from 'node:perf_hooks';
import { Entrypoint, type EventOf, entrypoint, type Scope, Service, service } from 'bosun';
import { AdminService } from 'bosun/services/admin';
import { StallDetectorService } from 'bosun/services/stall-detector';
import { contractCases } from 'bosun/testing';
import { describe, expect, test, vi } from 'vitest';
import { acquireWatcher } from '../../src/control/watcher.ts';
import type { Sample } from '../../src/metrics.ts';
import { hostOf } from '../../src/supervisor/run.ts';

vi.setConfig({ testTimeout: 60_000 });

type Stall = EventOf<'loop-stalled'>['stall'];

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

/** Blocks the loop when it is told to. */
class Blocker extends Service {
  #inScope = AsyncLocalStorage.snapshot();
  /** Resolves at the next beat. */
  beat = async () => {};

  override start(scope: Scope): void {
    this.#inScope = AsyncLocalStorage.snapshot();
    const { watcher, release } = acquireWatcher(hostOf(scope), () => {});
    scope.defer(release);
    this.beat = () =>
      new Promise((resolve) => {
        const end = watcher.heartbeat.onBeat(() => {
          end();
          resolve();
        });
      });
  }

  block(ms: number): void {
    this.#inScope(() => setImmediate(() => spinFor(ms)));
  }
}

function spinFor(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

describe('a stall detector', () => {
  const cases = contractCases({
    make: () => new StallDetectorService(),
    badOptions: [
      { thresholdMs: 49 },
      { thresholdMs: Number.POSITIVE_INFINITY },
      { thresholdMs: '1s' },
      { keep: 0 },
      { keep: 1.5 },
      { thresholdMillis: 100 },
    ],
  });
  for (const { name, run } of cases) test(name, run);
});

const THRESHOLD_MS = 100;

/** A daemon, and its stalls. */
async function watched(services: readonly Service[]) {
  const blocker = new Blocker();
  const daemon = await entrypoint([blocker, ...services], quiet);
  // From now on the threshold is that of a daemon that runs.
  await daemon.restart('stall-detector');
  const stalls: Stall[] = [];
  let told = () => {};
  daemon.on('loop-stalled', ({ stall }) => {
    stalls.push(stall);
    told();
  });
  /**
   * The machine may be so busy that there are stalls beside this one, which are shorter; and it may suspend the
   * process for part of this one, which is then not told.
   */
  const stalled = async (ms: number): Promise<Stall> => {
    const from = stalls.length;
    const { promise, resolve } = Promise.withResolvers<Stall>();
    told = () => {
      const stall = stalls.slice(from).find(({ durationMs }) => durationMs >= ms / 2);
      if (stall !== undefined) resolve(stall);
    };
    blocker.block(ms);
    const stall = await promise;
    // Nobody else has done anything for so long.
    for (const { durationMs, service } of stalls) {
      if (durationMs >= 2 * THRESHOLD_MS) expect([undefined, 'blocker']).toContain(service);
    }
    return stall;
  };
  return { daemon, stalled, stalls, [Symbol.asyncDispose]: () => daemon.stop() };
}

test('one event is emitted for each stall, when it is over', async () => {
  await using watch = await watched([new StallDetectorService({ thresholdMs: THRESHOLD_MS })]);
  const { stalled, stalls } = watch;
  const first = await stalled(400);
  const second = await stalled(1_000);
  expect(first.over).toBe(true);
  expect(second.durationMs).toBeGreaterThanOrEqual(500);
  expect(second.id).toBeGreaterThan(first.id);
  expect(second.beganAt).toBeGreaterThanOrEqual(first.beganAt + first.durationMs);
  expect(new Set(stalls.map(({ id }) => id)).size).toBe(stalls.length);
  expect(() => structuredClone(second)).not.toThrow();
});

test('a second detector in one daemon does not start', async () => {
  const [first, second] = [new StallDetectorService(), new StallDetectorService({ name: 'second' })];
  await using daemon = new Entrypoint([first], quiet);
  await daemon.start();
  await expect(daemon.add(second)).rejects.toMatchObject({
    code: 'ERR_SERVICE_START',
    service: 'second',
    cause: { code: 'ERR_STALL_DETECTOR_EXISTS' },
  });
  await expect(daemon.restart('stall-detector')).resolves.toBeUndefined();
});

test('it watches again after it has been restarted, and counts on', async () => {
  const detector = new StallDetectorService({ thresholdMs: THRESHOLD_MS });
  await using watch = await watched([detector]);
  const { daemon, stalled, stalls } = watch;
  await stalled(400);
  await daemon.restart('stall-detector');
  await stalled(400);
  const total = detector.metrics().find(({ name }) => name === 'bosun_event_loop_stalls_total');
  const samples = (total?.samples ?? []) as readonly Sample[];
  const counts = samples.map(({ labels, value }) => [labels?.culprit, value]);
  const expected = new Map([['', 0]]);
  for (const { service = '' } of stalls) expected.set(service, (expected.get(service) ?? 0) + 1);
  expect(counts).toEqual([...expected]);
});

test('the control plane gives the last ones, the newest first, with and without restarts of either', async () => {
  const admin = new AdminService({ port: 0 });
  await using watch = await watched([
    admin,
    new StallDetectorService({ thresholdMs: THRESHOLD_MS, keep: 2 }),
  ]);
  const { daemon, stalled } = watch;
  const read = async () => {
    const response = await fetch(`${admin.addresses[0]}/api/stalls`);
    return (await response.json()) as Stall[];
  };
  const first = await stalled(400);
  expect((await read()).map(({ id }) => id)).toContain(first.id);
  await stalled(400);
  const third = await stalled(400);
  const kept = await read();
  expect(kept).toHaveLength(2);
  expect(kept).toContainEqual(third);
  expect(kept.map(({ id }) => id)).toEqual(kept.map(({ id }) => id).toSorted((a, b) => b - a));
  await daemon.restart('admin');
  expect(await read()).toContainEqual(third);
  await daemon.restart('stall-detector');
  const fourth = await stalled(400);
  expect(await read()).toContainEqual(fourth);
  expect(fourth.id).toBeGreaterThan(third.id);
  // As a reload does that changes its options.
  await daemon.remove('stall-detector');
  await daemon.add(new StallDetectorService({ thresholdMs: THRESHOLD_MS }));
  const fifth = await stalled(400);
  expect(fifth.id).toBeGreaterThan(fourth.id);
  expect((await read()).map(({ id }) => id)).toContain(fourth.id);
});

test('what the loop is like is told once, with and without the control plane', async () => {
  const [admin, detector] = [new AdminService({ port: 0 }), new StallDetectorService()];
  await using daemon = await entrypoint([admin, detector], quiet);
  const read = async () => {
    const text = await (await fetch(`${admin.addresses[0]}/metrics`)).text();
    const lines = text.split('\n').filter((line) => /^bosun_event_loop_(delay|stalls)/.test(line));
    return lines.filter((line) => /(_count|_total)\b/.test(line)).map((line) => line.replace(/ \S+$/, ''));
  };
  const stalls = 'bosun_event_loop_stalls_total{service="stall-detector",culprit=""}';
  expect((await read()).toSorted()).toEqual(['bosun_event_loop_delay_seconds_count', stalls]);
  await daemon.remove('stall-detector');
  expect(await read()).toEqual(['bosun_event_loop_delay_seconds_count']);
  expect(detector.metrics().map(({ name }) => name)).toContain('bosun_event_loop_delay_seconds');
});

test('what blocks the loop for less than a second counts once the daemon is ready', async () => {
  const blocker = new Blocker();
  class Slow extends Service.extend({ detector: service(StallDetectorService) }) {
    override start(): void {
      spinFor(400);
    }
  }
  const detector = new StallDetectorService({ thresholdMs: 50 });
  await using daemon = new Entrypoint([blocker, detector, new Slow({ detector })], quiet);
  const stalls: Stall[] = [];
  daemon.on('loop-stalled', ({ stall }) => stalls.push(stall));
  await daemon.start();
  while (!stalls.some(({ service }) => service === 'blocker')) {
    blocker.block(200);
    // One after it, and one before the next.
    await blocker.beat();
    await blocker.beat();
  }
  expect(stalls.filter(({ service }) => service === 'slow')).toEqual([]);
});
