import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import { Worker } from 'node:worker_threads';
import type { EventOf } from 'bosun';
import { describe, expect, test } from 'vitest';
import { BEAT_MS, HeartbeatWriter } from '../../src/control/heartbeat.ts';
import { processorTime } from '../../src/control/thread/processor-time.ts';
import { StallWatch } from '../../src/control/thread/stalls.ts';

type Stall = EventOf<'loop-stalled'>['stall'];

function spinFor(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** A watch, in this thread, of a heart that beats when it is told to. */
function watching(thresholdMs: number) {
  const heart = new HeartbeatWriter();
  const stalls: Stall[] = [];
  const first = Promise.withResolvers<void>();
  let ids = 0;
  const watch = new StallWatch(
    heart.memory,
    { thresholdMs, expression: 'undefined' },
    {
      newId: () => ++ids,
      changed() {},
      tell() {},
      over(stall) {
        stalls.push(stall);
        first.resolve();
      },
    },
  );
  return { watch, stalls, first: first.promise, beat: () => stallBeforeBeat(heart) };
}

/** Beats, and says how long a stall that has ended, in ms. */
function stallBeforeBeat(heart: HeartbeatWriter): number {
  const began = heart.lastBeatMs;
  return Math.round(heart.beat() - began - BEAT_MS);
}

test('time in which the watching thread was busy itself is not taken for a suspension', async () => {
  const { watch, stalls, first, beat } = watching(200);
  setImmediate(() => spinFor(600));
  const durationMs = await new Promise<number>((resolve) => setTimeout(() => resolve(beat()), 300));
  await first;
  expect(stalls).toMatchObject([{ over: true, durationMs }]);
  await watch.close();
});

test('each of several stalls that were over when the watching thread came to look is told, and no short one', async () => {
  const { watch, stalls, beat } = watching(100);
  const durations = [170, 60, 240, 60].map((ms) => {
    spinFor(ms);
    return beat();
  });
  const told = durations.filter((durationMs) => durationMs >= 100);
  expect(told.length).toBeGreaterThanOrEqual(2);
  await watch.close();
  expect(stalls).toMatchObject(told.map((durationMs) => ({ over: true, durationMs, stack: [] })));
});

describe('time in which only the watching thread was held up is not taken for a suspension', () => {
  test.each([
    ['while the main one was busy', 400],
    ['while the main one became idle', 200],
  ])('%s', async (_, busyMs) => {
    const heart = new HeartbeatWriter();
    const worker = new Worker(new URL('./fixtures/held-up-watch.ts', import.meta.url), {
      workerData: { memory: heart.memory, thresholdMs: 100, heldUpAfterMs: 150, heldUpMs: 120 },
    });
    const exit = once(worker, 'exit');
    await once(worker, 'message');
    heart.beat();
    worker.postMessage('watch');
    const before = processorTime('self');
    spinFor(busyMs);
    const { ranMs, waitedMs } = processorTime('self');
    const mostMs = stallBeforeBeat(heart);
    const beating = setInterval(() => heart.beat(), BEAT_MS);
    const [stall] = (await once(worker, 'message')) as [Stall];
    clearInterval(beating);
    // What the machine has taken from this thread, too, may be missing.
    const leastMs = ranMs + waitedMs - before.ranMs - before.waitedMs - BEAT_MS;
    expect(stall.durationMs).toBeGreaterThanOrEqual(Math.floor(leastMs) - 10);
    expect(stall.durationMs).toBeLessThanOrEqual(mostMs);
    await exit;
  });
});

test('a watch that was closed is not woken by another threshold', async () => {
  const { watch } = watching(200);
  await watch.close();
  const timers = () => process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length;
  const before = timers();
  watch.setThreshold(100);
  expect(timers()).toBe(before);
});
