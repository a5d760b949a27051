import { getEventListeners } from 'node:events';
import { withDeadline } from 'bosun';
import { BulkheadFullError, bulkhead, pipe, timeout } from 'bosun/policy';
import { FakeClock, settle } from 'bosun/testing';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { caught, never } from './support.ts';

/** Work that is counted, and ends when it is told to. */
function gate() {
  const begun: number[] = [];
  const ends = new Map<number, PromiseWithResolvers<number>>();
  const work = (id: number, _signal?: AbortSignal) => {
    begun.push(id);
    const end = Promise.withResolvers<number>();
    ends.set(id, end);
    return end.promise;
  };
  const end = async (id: number) => {
    ends.get(id)?.resolve(id);
    await settle();
  };
  return { begun, ends, work, end };
}

test('runs as many as it may, and the others in the order in which they came', async () => {
  const { begun, work, end } = gate();
  const policy = bulkhead({ maxConcurrent: 2, maxQueued: 3 });
  const limited = policy(work);
  const outcomes = [1, 2, 3, 4, 5].map((id) => limited(id));
  expect(begun).toEqual([1, 2]);
  expect([policy.running, policy.queued]).toEqual([2, 3]);
  await end(2);
  expect(begun).toEqual([1, 2, 3]);
  await end(1);
  await end(3);
  expect(begun).toEqual([1, 2, 3, 4, 5]);
  await end(4);
  await end(5);
  expect(await Promise.all(outcomes)).toEqual([1, 2, 3, 4, 5]);
  expect([policy.running, policy.queued]).toEqual([0, 0]);
});

test('refuses what cannot wait', async () => {
  const { begun, work, end } = gate();
  const limited = bulkhead({ name: 'narrow', maxConcurrent: 1, maxQueued: 1 })(work);
  const outcomes = [limited(1), limited(2)];
  const error = await caught(limited(3));
  expect(error).toBeInstanceOf(BulkheadFullError);
  expect(error).toMatchObject({
    code: 'ERR_BULKHEAD_FULL',
    message: 'bulkhead "narrow" is full: 1 calls are running and 1 waiting',
    retryAfterMs: 0,
  });
  await end(1);
  await end(2);
  await Promise.all(outcomes);
  expect(begun).toEqual([1, 2]);
});

test('frees the place of work that throws, at once or later', async () => {
  const policy = bulkhead({ maxConcurrent: 1 });
  const throwing = policy(() => {
    throw new Error('at once');
  });
  const rejecting = policy(() => Promise.reject(new Error('later')));
  for (let i = 0; i < 3; i++) {
    await caught(throwing());
    await caught(rejecting());
  }
  expect(policy.running).toBe(0);
  expect(await policy.run(() => 'free')).toBe('free');
});

test('lets a waiting caller that gives up leave the queue at once', async () => {
  const { begun, work, end } = gate();
  const policy = bulkhead({ maxConcurrent: 1, maxQueued: 2 });
  const limited = policy(work);
  const first = limited(1);
  const controller = new AbortController();
  const second = caught(limited(2, controller.signal));
  const third = limited(3);
  controller.abort('gone');
  expect(await second).toBe('gone');
  expect(policy.queued).toBe(1);
  expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  await end(1);
  await end(3);
  expect(await Promise.all([first, third])).toEqual([1, 3]);
  expect(begun).toEqual([1, 3]);
});

test('does not begin work whose caller gives up just as its turn comes', async () => {
  const { begun, work, end } = gate();
  const policy = bulkhead({ maxConcurrent: 1, maxQueued: 2 });
  const limited = policy(work);
  const first = limited(1);
  const controller = new AbortController();
  const second = caught(limited(2, controller.signal));
  void first.then(() => controller.abort('gone'));
  await end(1);
  expect(await second).toBe('gone');
  await settle();
  expect(begun.length).toBeLessThanOrEqual(2);
  expect(policy.queued).toBe(0);
});

test('lets a caller go whose deadline passes while it waits', async () => {
  const clock = new FakeClock();
  const policy = bulkhead({ maxConcurrent: 1, maxQueued: 1 });
  const controller = new AbortController();
  const first = caught(policy.run(never, { signal: controller.signal }));
  const second = caught(withDeadline(50, () => policy.run(() => 'never'), { clock }));
  await clock.advance(50);
  expect(await second).toMatchObject({ code: 'ERR_DEADLINE' });
  expect(policy.queued).toBe(0);
  expect(clock.pending).toBe(0);
  controller.abort();
  await first;
});

test('keeps the place of work that goes on although its caller has been let go', async () => {
  const clock = new FakeClock();
  const { work, end } = gate();
  const policy = bulkhead({ maxConcurrent: 1 });
  const outcome = caught(pipe(timeout(10, { clock }), policy)(work)(1));
  await clock.advance(10);
  expect(await outcome).toMatchObject({ code: 'ERR_TIMEOUT' });
  expect(policy.running).toBe(1);
  expect(await caught(policy.run(() => 1))).toBeInstanceOf(BulkheadFullError);
  await end(1);
  expect(policy.running).toBe(0);
});

test('never runs more than it may, loses nobody, and keeps the order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.constantFrom('call', 'end', 'give up'), { maxLength: 60 }),
      async (maxConcurrent, steps) => {
        const { begun, ends, work, end } = gate();
        const policy = bulkhead({ maxConcurrent, maxQueued: Number.POSITIVE_INFINITY });
        const limited = policy(work);
        const callers = new Map<number, AbortController>();
        const outcomes: Promise<unknown>[] = [];
        const ended = new Set<number>();
        const endNext = async () => {
          const id = begun.find((one) => !ended.has(one));
          if (id === undefined) return false;
          ended.add(id);
          await end(id);
          return true;
        };
        for (const step of steps) {
          if (step === 'call') {
            const id = outcomes.length;
            const controller = new AbortController();
            callers.set(id, controller);
            outcomes.push(limited(id, controller.signal).catch(() => 'gave up'));
          } else if (step === 'end') {
            await endNext();
          } else {
            const id = [...callers.keys()].find((one) => !begun.includes(one));
            if (id === undefined) continue;
            callers.get(id)?.abort();
            callers.delete(id);
          }
          await settle();
          expect(begun.length - ended.size).toBeLessThanOrEqual(maxConcurrent);
        }
        while (await endNext());
        await Promise.all(outcomes);
        expect(begun).toEqual(begun.toSorted((a, b) => a - b));
        expect(ends.size).toBe(begun.length);
        expect([policy.running, policy.queued]).toEqual([0, 0]);
      },
    ),
    { numRuns: 30 },
  );
});
