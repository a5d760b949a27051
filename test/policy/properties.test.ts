import { backoff, circuitBreaker, retry, TimeoutError } from 'bosun/policy';
import { FakeClock } from 'bosun/testing';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WindowedCount } from '../../src/policy/windowed-count.ts';
import { caught } from './support.ts';

const RUNS = 60;

describe('the pauses of a policy', () => {
  const strategies = [
    { strategy: 'fixed' },
    { strategy: 'fixed', jitter: 'none' },
    { strategy: 'exponential', factor: 1 },
    { strategy: 'exponential', factor: 3.5 },
    { strategy: 'exponential', jitter: 'none' },
    { strategy: 'decorrelated' },
    { strategy: 'decorrelated', factor: 1 },
  ] as const;

  test('are at least 0, at most maxPauseMs, and as long as their strategy says', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...strategies),
        fc.integer({ min: 0, max: 1_000 }),
        fc.integer({ min: 0, max: 20_000 }),
        fc.integer({ min: 1, max: 60 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        async (strategy, pauseMs, maxPauseMs, maxTries, random) => {
          const clock = new FakeClock();
          const pauses: number[] = [];
          let calls = 0;
          const last = new Error();
          const outcome = caught(
            retry({
              ...strategy,
              pauseMs,
              maxPauseMs,
              maxTries,
              clock,
              random: () => random,
              onRetry: (info) => pauses.push(info.pauseMs),
            })(async () => {
              throw ++calls === maxTries ? last : new Error();
            })(),
          );
          while (calls < maxTries) await clock.advance(maxPauseMs);
          expect(await outcome).toBe(last);
          expect(calls).toBe(maxTries);
          expect(clock.pending).toBe(0);
          expect(pauses).toHaveLength(maxTries - 1);
          for (const pause of pauses) expect(pause >= 0 && pause <= maxPauseMs).toBe(true);
          if (strategy.strategy === 'exponential' && 'jitter' in strategy) {
            expect(pauses).toEqual(pauses.map((_, i) => Math.min(maxPauseMs, pauseMs * 2 ** i)));
          }
          if (strategy.strategy === 'decorrelated') {
            for (const pause of pauses) expect(pause).toBeGreaterThanOrEqual(Math.min(pauseMs, maxPauseMs));
          }
        },
      ),
      { numRuns: RUNS },
    );
  });
});

class Listed extends Error {}
class Unlisted extends Error {}

interface Attempt {
  readonly takesMs: number;
  readonly ends: 'well' | 'listed' | 'unlisted';
}

interface Limits {
  readonly attemptTimeoutMs: number;
  readonly deadlineMs: number;
  readonly pauseMs: number;
  readonly maxTries: number;
}

interface End {
  readonly at: number;
  readonly calls: number;
  readonly comesTo: string;
}

/** What the rules say, step by step; `script` goes on with its last attempt. */
function expectedEnd(script: readonly Attempt[], limits: Limits): End {
  const { attemptTimeoutMs, deadlineMs, pauseMs, maxTries } = limits;
  let at = 0;
  let lastReal: string | undefined;
  for (let calls = 1; ; calls++) {
    const { takesMs, ends } = script[Math.min(calls, script.length) - 1] as Attempt;
    const cut = attemptTimeoutMs < takesMs;
    const end = at + (cut ? attemptTimeoutMs : takesMs);
    if (end > deadlineMs) return { at: deadlineMs, calls, comesTo: lastReal ?? `timeout ${deadlineMs}` };
    at = end;
    if (!cut && ends !== 'listed') return { at, calls, comesTo: ends };
    if (!cut) lastReal = ends;
    const error = cut ? `timeout ${attemptTimeoutMs}` : ends;
    if (calls === maxTries) return { at, calls, comesTo: error };
    const pause = pauseMs * 2 ** (calls - 1);
    if (at + pause >= deadlineMs) return { at, calls, comesTo: lastReal ?? error };
    at += pause;
  }
}

describe('a backoff', () => {
  // Times that never coincide, so that it is certain what comes first.
  const tens = (min: number, max: number) => fc.integer({ min, max }).map((n) => n * 10);
  const attempts = fc.array(
    fc.record({ takesMs: tens(1, 6), ends: fc.constantFrom('well', 'listed', 'unlisted') }),
    { minLength: 1, maxLength: 8 },
  );
  const limits = fc.record({
    attemptTimeoutMs: tens(1, 5).map((ms) => ms + 5),
    deadlineMs: tens(1, 60).map((ms) => ms + 3),
    pauseMs: tens(0, 4),
    maxTries: fc.integer({ min: 1, max: 8 }),
  });

  test('ends when and as its rules say, and after as many calls', async () => {
    await fc.assert(
      fc.asyncProperty(attempts, limits, async (script, options) => {
        const clock = new FakeClock();
        let calls = 0;
        const work = async () => {
          const { takesMs, ends } = script[Math.min(calls++, script.length - 1)] as Attempt;
          await clock.sleep(takesMs);
          if (ends === 'well') return 'well';
          throw ends === 'listed' ? new Listed('listed') : new Unlisted('unlisted');
        };
        const policy = backoff({ ...options, retryOn: [Listed], jitter: 'none', clock });
        const end = policy(work)().then(
          (comesTo): End => ({ at: clock.now(), calls, comesTo }),
          (error: Error): End => {
            const comesTo = error instanceof TimeoutError ? `timeout ${error.limitMs}` : error.message;
            return { at: clock.now(), calls, comesTo };
          },
        );
        await clock.advance(options.deadlineMs);
        expect(await end).toEqual(expectedEnd(script, options));
        await clock.advance(100);
        expect(clock.pending).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});

describe('a windowed count', () => {
  test('holds what the window holds, give or take a bucket', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 100 }),
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: -2_000, max: 2_000 }),
        (steps, buckets, start) => {
          const windowMs = 1_000;
          const count = new WindowedCount(windowMs, buckets);
          const times: number[] = [];
          let now = start;
          for (const step of steps) {
            now += step;
            count.add(now);
            times.push(now);
            const within = (ms: number) => times.filter((time) => now - time < ms).length;
            expect(count.total(now)).toBeGreaterThanOrEqual(within(windowMs - windowMs / buckets));
            expect(count.total(now)).toBeLessThanOrEqual(within(windowMs));
          }
        },
      ),
    );
  });
});

describe('a circuit breaker', () => {
  const options = { windowMs: 1_000, buckets: 10, minimumCalls: 10, errorRatio: 0.5 };
  const calls = (outcomes: readonly boolean[], breaker: ReturnType<typeof circuitBreaker>) =>
    Promise.all(
      outcomes.map((ok) =>
        ok ? breaker.run(() => 1) : caught(breaker.run(() => Promise.reject(new Error()))),
      ),
    );

  test('is never broken by one failure among few calls, nor by fewer than half of many', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { maxLength: 80 }), async (outcomes) => {
        const breaker = circuitBreaker({ ...options, clock: new FakeClock() });
        let [failed, all, expected] = [0, 0, false];
        for (const ok of outcomes) {
          await calls([ok], breaker);
          all++;
          if (!ok) failed++;
          if (!ok && all >= options.minimumCalls && failed >= all / 2) expected = true;
          expect(breaker.state.status).toBe(expected ? 'broken' : 'passing');
          if (expected) return;
        }
      }),
      { numRuns: RUNS },
    );
  });

  test('is always broken by nine failures in ten, however healthy one bucket is', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 9 }),
        fc.integer({ min: 10, max: 30 }),
        async (healthy, perBucket) => {
          const clock = new FakeClock();
          const breaker = circuitBreaker({ ...options, clock });
          for (let bucket = 0; bucket < 10 && breaker.state.status === 'passing'; bucket++) {
            const outcomes = Array.from({ length: perBucket }, (_, i) => bucket === healthy || i % 10 === 0);
            await calls(outcomes, breaker);
            await clock.advance(100);
          }
          expect(breaker.state.status).toBe('broken');
        },
      ),
      { numRuns: 30 },
    );
  });

  test('lets no more through at a time than have succeeded, and one', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('call', 'succeed', 'fail'), { maxLength: 40 }),
        async (steps) => {
          const clock = new FakeClock();
          const breaker = circuitBreaker({
            ...options,
            minimumCalls: 1,
            brokenMs: 50,
            recoveryCalls: 8,
            clock,
          });
          await calls([false], breaker);
          const open: PromiseWithResolvers<void>[] = [];
          let succeeded = 0;
          await clock.advance(50);
          for (const step of steps) {
            if (breaker.state.status === 'passing') return;
            if (breaker.state.status === 'broken' && clock.now() > 50) return;
            if (step === 'call') {
              const work = Promise.withResolvers<void>();
              let called = false;
              const outcome = breaker.run(() => {
                called = true;
                return work.promise;
              });
              outcome.catch(() => {});
              expect(called).toBe(open.length <= succeeded);
              if (called) open.push(work);
            } else {
              const work = open.shift();
              if (work === undefined) continue;
              if (step === 'succeed') work.resolve();
              else work.reject(new Error());
              await clock.advance(0);
              if (step === 'fail') {
                expect(breaker.state.status).toBe('broken');
                return;
              }
              succeeded++;
            }
          }
        },
      ),
      { numRuns: RUNS },
    );
  });
});
