import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import { Worker } from 'node:worker_threads';
import type { EventOf } from 'bosun';
import { expect, test } from 'vitest';
import { BEAT_MS, steadyMs } from '../../src/control/heartbeat.ts';
import { processorTime } from '../../src/control/thread/processor-time.ts';
import { StallWatch } from '../../src/control/thread/stalls.ts';

type Stall = EventOf<'loop-stalled'>['stall'];

function spinFor(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** A watch, in this thread, of a heart that beats when it is told to. */
function watching(thresholdMs: number) {
  const memory = new SharedArrayBuffer(3 * Float64Array.BYTES_PER_ELEMENT);
  const times = new Float64Array(memory);
  const begunAt = steadyMs();
  times[0] = begunAt;
  const over = Promise.withResolvers<Stall>();
  let ids = 0;
  const watch = new StallWatch(
    memory,
    { thresholdMs, expression: 'undefined' },
    {
      newId: () => ++ids,
      changed() {},
      tell() {},
      over: over.resolve,
    },
  );
  /** Beats after a gap, and says how long a stall that was. */
  const beat = () => {
    const now = steadyMs();
    times[2] = now;
    times[1] = begunAt;
    times[0] = now;
    return Math.round(now - begunAt - BEAT_MS);
  };
  return { watch, over: over.promise, beat };
}

test('time in which the watching thread was busy itself is not taken for a suspension', async () => {
  const { watch, over, beat } = watching(200);
  setImmediate(() => spinFor(600));
  const durationMs = await new Promise<number>((resolve) => setTimeout(() => resolve(beat()), 300));
  expect(await over).toMatchObject({ over: true, durationMs });
  await watch.close();
});

test('time in which only the watching thread was held up is not taken for a suspension', async () => {
  const memory = new SharedArrayBuffer(3 * Float64Array.BYTES_PER_ELEMENT);
  const heart = new Float64Array(memory);
  heart[0] = steadyMs();
  const worker = new Worker(new URL('./fixtures/held-up-watch.ts', import.meta.url), {
    workerData: { memory, thresholdMs: 100, heldUpAfterMs: 150, heldUpMs: 120 },
  });
  const exit = once(worker, 'exit');
  await once(worker, 'message');
  const began = steadyMs();
  heart[0] = began;
  const before = processorTime('self');
  spinFor(400);
  const { ranMs, waitedMs } = processorTime('self');
  const ended = steadyMs();
  heart.set([ended, began, ended]);
  const [stall] = (await once(worker, 'message')) as [Stall];
  // What the machine has taken from this thread, too, may be missing.
  const leastMs = ranMs + waitedMs - before.ranMs - before.waitedMs - BEAT_MS;
  expect(stall.durationMs).toBeGreaterThanOrEqual(Math.floor(leastMs) - 10);
  expect(stall.durationMs).toBeLessThanOrEqual(Math.round(ended - began - BEAT_MS));
  await exit;
});

test('a watch that was closed is not woken by another threshold', async () => {
  const { watch } = watching(200);
  await watch.close();
  const timers = () => process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length;
  const before = timers();
  watch.setThreshold(100);
  expect(timers()).toBe(before);
});
