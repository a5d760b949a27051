import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { entrypoint, type Scope, Service } from 'bosun';
import { FakeClock, settle } from 'bosun/testing';
import { transform } from 'esbuild';
import { describe, expect, it } from 'vitest';
import {
  ContinuousProfiler,
  Profile,
  type TakeProfileOptions,
  takeProfile,
} from '../../../src/observe/profile/index.ts';
import { temporaryFolder } from '../../support/postgres.ts';

const cpuMs = () => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
};

let turns = 0;

/** Takes that much of the CPU, however long it has to wait for it. */
function spinTheWheels(ms: number): void {
  const end = cpuMs() + ms;
  while (cpuMs() < end) for (let i = 0; i < 10_000; i++) turns = (turns + i) % 1_000_003;
}

/** Lets the event loop turn until the thread has taken that much of the CPU; `work` is done in each turn. */
async function turnFor(ms: number, work = () => {}): Promise<void> {
  const end = cpuMs() + ms;
  while (cpuMs() < end) {
    work();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Begins to sample; gives the way to end that, and to have the profile. */
async function beginProfile(options: TakeProfileOptions = {}): Promise<() => Promise<Profile>> {
  const clock = new FakeClock();
  const taking = takeProfile({ ...options, clock });
  while (clock.pending === 0) await settle();
  return async () => {
    await clock.advance((options.seconds ?? 10) * 1_000);
    return await taking;
  };
}

const reasonOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

class Burner extends Service {
  start({ spawn }: Scope) {
    spawn('burn', async (signal) => {
      while (!signal.aborted) {
        spinTheWheels(5);
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
  }
}

describe('taking a profile', () => {
  it('names the busy loop in its top row', async () => {
    const end = await beginProfile({ hertz: 1_000 });
    await turnFor(200, () => spinTheWheels(5));
    const { bySelf, samples, durationMs } = await (await end()).report();
    expect(bySelf[0]).toMatchObject({ frame: { name: 'spinTheWheels', file: import.meta.filename } });
    expect(bySelf[0]?.selfShare).toBeGreaterThan(0.5);
    expect(samples).toBeGreaterThan(0);
    expect(durationMs).toBeGreaterThan(200);
  });

  it("finds the author's place of a function in built code", async () => {
    await using folder = await temporaryFolder();
    const author = `${'\n'.repeat(40)}  export function burnInBuiltCode(turns: number): void {
      for (let i = 0; i < turns; i++) Math.hypot(i, turns);
    }`;
    const options = { loader: 'ts', format: 'cjs', sourcemap: 'inline', sourcefile: 'author.ts' } as const;
    const path = join(folder.path, 'built.cjs');
    await writeFile(path, (await transform(author, options)).code);
    // Vitest would transform once more what is imported.
    const { burnInBuiltCode } = createRequire(import.meta.url)(path);
    const end = await beginProfile();
    burnInBuiltCode(10_000_000);
    const { byTotal } = await (await end()).report();
    const row = byTotal.find(({ frame }) => frame.name === 'burnInBuiltCode');
    expect(row?.frame).toMatchObject({ file: join(folder.path, 'author.ts'), line: 41 });
  });

  it('tells whose code ran, of services that had started long before', async () => {
    await using _daemon = await entrypoint([new Burner({ name: 'hot' })], {
      log: { level: 'silent' },
      ownsProcess: false,
    });
    const end = await beginProfile();
    await turnFor(200);
    const { byService, bySelf } = await (await end()).report({ top: 1_000 });
    // The stacks tell that, too.
    const burned = bySelf
      .filter(({ frame }) => frame.file === import.meta.filename)
      .reduce((sum, { selfHits }) => sum + selfHits, 0);
    expect(burned).toBeGreaterThan(0);
    expect(byService.hot).toBeGreaterThan(burned * 0.8);
  });

  it("tells whose code ran when a service has another one's task started", async () => {
    const profiled = Promise.withResolvers<void>();
    const burned = Promise.withResolvers<void>();
    class Caller extends Service.extend({}) {
      other: Scope | undefined;

      start({ spawn }: Scope) {
        spawn('call', async () => {
          // By then it is being profiled, and what it starts would inherit its mark.
          await profiled.promise;
          this.other?.spawn('burn', async () => {
            for (let i = 0; i < 20; i++) {
              spinTheWheels(10);
              await null;
            }
            burned.resolve();
          });
        });
      }
    }
    const caller = new Caller();
    class Callee extends Service {
      start(scope: Scope) {
        caller.other = scope;
      }
    }
    await using _daemon = await entrypoint([new Callee(), caller], {
      log: { level: 'silent' },
      ownsProcess: false,
    });
    const end = await beginProfile();
    profiled.resolve();
    await burned.promise;
    const { bySelf } = await (await end()).report();
    expect(bySelf[0]).toMatchObject({ frame: { file: import.meta.filename }, service: 'callee' });
  });

  it('ends at once when its signal aborts, and lets the next one begin', async () => {
    const abort = new AbortController();
    const taking = takeProfile({ seconds: 150, signal: abort.signal });
    const reason = new Error('nobody looks');
    await settle();
    abort.abort(reason);
    await expect(taking).rejects.toBe(reason);
    await expect(takeProfile({ signal: abort.signal })).rejects.toBe(reason);
    expect((await takeProfile({ seconds: 0.01 })).durationMs).toBeGreaterThan(0);
  });

  it('happens once at a time', async () => {
    const abort = new AbortController();
    const first = reasonOf(takeProfile({ signal: abort.signal }));
    await expect(takeProfile()).rejects.toMatchObject({ code: 'ERR_PROFILER_BUSY' });
    abort.abort('over');
    expect(await first).toBe('over');
  });

  it.each([
    { seconds: 0 },
    { seconds: -1 },
    { seconds: Number.NaN },
    { seconds: 151, hertz: 1_000 },
    { seconds: 3_001 },
    { hertz: 49 },
    { hertz: 10_001 },
  ])('refuses %o', async (options) => {
    await expect(takeProfile(options)).rejects.toThrow(RangeError);
  });

  it('leaves nothing behind', async () => {
    const listeners = process.listenerCount('exit');
    const resources = process.getActiveResourcesInfo().length;
    await takeProfile({ seconds: 0.01 });
    expect(process.listenerCount('exit')).toBe(listeners);
    expect(process.getActiveResourcesInfo().length).toBeLessThanOrEqual(resources);
  });
});

describe('profiling all the time', () => {
  it('pauses for a profile of another rate, and its window covers the time before and after', async () => {
    const profiler = await ContinuousProfiler.start({ hertz: 200, windowMs: 10_000 });
    try {
      spinTheWheels(50);
      const end = await beginProfile({ hertz: 1_000 });
      spinTheWheels(50);
      expect((await end()).hertz).toBe(1_000);
      spinTheWheels(50);
      const captures = profiler.collect();
      expect(captures).toHaveLength(2);
      const profile = await Profile.from(captures, Date.now(), profiler.hertz);
      // V8 may have inlined it into its caller by now, so not by its name.
      expect((await profile.report()).bySelf[0]?.frame.file).toBe(import.meta.filename);
      spinTheWheels(50);
      expect(profiler.collect()).toHaveLength(1);
    } finally {
      profiler.stop();
    }
  });

  it('lends its samples to a profile on demand of its own rate, and loses none', async () => {
    const profiler = await ContinuousProfiler.start({ hertz: 200, windowMs: 10_000 });
    try {
      const end = await beginProfile();
      spinTheWheels(50);
      const early = profiler.collect();
      spinTheWheels(50);
      const { hertz, durationMs, tree } = await end();
      expect(hertz).toBe(200);
      const [before, ...rest] = [...early, ...profiler.collect()];
      const after = rest.pop();
      expect(before).toBeDefined();
      expect(after).toBeDefined();
      expect(rest).toHaveLength(2);
      expect(durationMs).toBe(rest.reduce((all, capture) => all + capture.durationMs, 0));
      const own = await Profile.from(rest, Date.now(), profiler.hertz);
      expect(tree.samples.map(({ at }) => at)).toEqual(own.tree.samples.map(({ at }) => at));
    } finally {
      profiler.stop();
    }
  });

  it('begins only after a profile on demand that is being taken', async () => {
    const abort = new AbortController();
    const taking = reasonOf(takeProfile({ signal: abort.signal }));
    const profiler = await ContinuousProfiler.start({ hertz: 200, windowMs: 10_000 });
    try {
      expect(profiler.collect()).toEqual([]);
      abort.abort();
      await taking;
      expect(profiler.collect()).toHaveLength(1);
    } finally {
      profiler.stop();
    }
  });

  it('may stop while a profile on demand is being taken', async () => {
    for (const hertz of [200, 1_000]) {
      const profiler = await ContinuousProfiler.start({ hertz: 200, windowMs: 10_000 });
      const end = await beginProfile({ hertz });
      profiler.stop();
      expect((await end()).durationMs).toBeGreaterThan(0);
      expect((await takeProfile({ seconds: 0.01 })).hertz).toBe(1_000);
    }
  });

  it('happens once per process', async () => {
    const options = { hertz: 99, windowMs: 1_000 };
    const profiler = await ContinuousProfiler.start(options);
    try {
      await expect(ContinuousProfiler.start(options)).rejects.toMatchObject({ code: 'ERR_PROFILER_BUSY' });
    } finally {
      profiler.stop();
    }
  });
});
