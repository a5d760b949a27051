import { afterEach, describe, expect, it, vi } from 'vitest';
import { Profile } from '../../../src/observe/profile/index.ts';
import type { Mark, TimeProfiler, TimeProfilerClass } from '../../../src/observe/profile/native.ts';
import { Sampler } from '../../../src/observe/profile/sampler.ts';
import { captureOf } from '../../support/raw-profile.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a sampler', () => {
  it('counts how long it has held up the loop: beginning, taking the samples, and beginning anew', async () => {
    let now = 0;
    let stuck = false;
    vi.spyOn(performance, 'now').mockImplementation(() => now);
    const { root } = captureOf([]);
    class SlowProfiler implements TimeProfiler {
      start(): void {
        now += 60;
      }

      stop() {
        now += 8;
        return { topDownRoot: root, startTime: 0, endTime: 1_000_000 };
      }

      v8ProfilerStuckEventLoopDetected(): number {
        return stuck ? 1 : 0;
      }

      set context(_: Mark | undefined) {}
    }
    const options = { hertz: 100, windowMs: 1_000, discoveryMs: 0 };
    const sampler = new Sampler(SlowProfiler as TimeProfilerClass, options);
    const captures = [sampler.collect(), sampler.collect()];
    stuck = true;
    captures.push(sampler.collect(), sampler.stop());
    expect(captures.map(({ pauseMs }) => pauseMs)).toEqual([68, 8, 8, 76]);
    expect((await Profile.from(captures, 0, 100)).pauseMs).toBe(160);
  });
});
