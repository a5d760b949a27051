import { AsyncLocalStorage } from 'node:async_hooks';
import { performance } from 'node:perf_hooks';
import { type BosunEvent, Entrypoint, type EventOf, entrypoint, Service, service } from 'bosun';
import { AdminService } from 'bosun/services/admin';
import { StallDetectorService } from 'bosun/services/stall-detector';
import { contractCases } from 'bosun/testing';
import { describe, expect, test, vi } from 'vitest';

vi.setConfig({ testTimeout: 60_000 });

type Stall = EventOf<'loop-stalled'>['stall'];

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

/** Blocks the loop when it is told to. */
class Blocker extends Service {
  #inScope = AsyncLocalStorage.snapshot();

  override start(): void {
    this.#inScope = AsyncLocalStorage.snapshot();
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

/** A daemon, and its next stalls in which the loop was blocked from here. */
async function watched(services: readonly Service[]) {
  const blocker = new Blocker();
  const daemon = await entrypoint([blocker, ...services], quiet);
  // From now on the threshold is that of a daemon that runs.
  await daemon.restart('stall-detector');
  const waiting: ((stall: Stall) => void)[] = [];
  const events: BosunEvent[] = [];
  daemon.on('loop-stalled', (event) => {
    if (!event.stall.stack.some(({ name }) => name === 'spinFor')) return;
    events.push(event);
    waiting.shift()?.(event.stall);
  });
  const stalled = async (ms: number) => {
    const { promise, resolve } = Promise.withResolvers<Stall>();
    waiting.push(resolve);
    blocker.block(ms);
    // On a busy machine, it may be over before its stack can be seen.
    const again = setInterval(() => blocker.block(ms), 5_000);
    const stall = await promise;
    clearInterval(again);
    return stall;
  };
  return { daemon, stalled, events, [Symbol.asyncDispose]: () => daemon.stop() };
}

test('one event is emitted for each stall, when it is over', async () => {
  await using watch = await watched([new StallDetectorService({ thresholdMs: 100 })]);
  const { stalled, events } = watch;
  const first = await stalled(400);
  const second = await stalled(1_000);
  expect(first).toMatchObject({ over: true, service: 'blocker' });
  expect(second.durationMs).toBeGreaterThanOrEqual(500);
  expect(second.id).toBeGreaterThan(first.id);
  expect(second.beganAt).toBeGreaterThanOrEqual(first.beganAt + first.durationMs);
  expect(events).toHaveLength(2);
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
  const detector = new StallDetectorService({ thresholdMs: 100 });
  await using watch = await watched([detector]);
  const { daemon, stalled } = watch;
  await stalled(400);
  await daemon.restart('stall-detector');
  expect(await stalled(400)).toMatchObject({ over: true, service: 'blocker' });
  const total = detector.metrics().find(({ name }) => name === 'bosun_event_loop_stalls_total');
  expect(total?.samples).toContainEqual({ labels: { culprit: 'blocker' }, value: 2 });
});

test('the control plane gives the last ones, the newest first, with and without restarts of either', async () => {
  const admin = new AdminService({ port: 0 });
  await using watch = await watched([admin, new StallDetectorService({ thresholdMs: 100, keep: 2 })]);
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
    blocker.block(100);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect(stalls.filter(({ service }) => service === 'slow')).toEqual([]);
});
