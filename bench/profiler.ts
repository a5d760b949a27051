import { Profile } from '../src/observe/profile/index.ts';
import { loadTimeProfiler } from '../src/observe/profile/native.ts';
import { Sampler } from '../src/observe/profile/sampler.ts';
import { machine, report } from './lib/report.ts';
import { markdown } from './lib/rounds.ts';
import { longestTurn } from './lib/turns.ts';
import { brandsApp } from './servers/app.ts';

const description = machine();

report('profiler', 'How long the profiler holds up the loop', [
  `${description}.`,
  'In a process that does nothing but answer requests by a Fastify app. In the last column the longest time between two turns of the event loop while the report and both files are made. What it costs beside that is in observe.md.',
  await measurePauses(),
]);

/** A table: what beginning, collecting and reporting a profile hold up. */
async function measurePauses(): Promise<string> {
  const app = brandsApp(async () => ({ rows: Array.from({ length: 250 }, (_, i) => ({ brand_id: i })) }));
  const busy = async (ms: number) => {
    const end = performance.now() + ms;
    while (performance.now() < end) {
      await app.inject('/brands');
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await busy(1_000);
  const Native = await loadTimeProfiler();
  const rows: string[][] = [];
  for (const [what, hertz, windowMs] of [
    ['a minute at 167 Hz', 167, 60_000],
    ['10 s at 1,000 Hz', 1_000, 10_000],
  ] as const) {
    const begun = performance.now();
    const sampler = new Sampler(Native, { hertz, windowMs, discoveryMs: 1_000 });
    const beginningMs = performance.now() - begun;
    await busy(windowMs);
    const stopped = performance.now();
    const capture = sampler.stop();
    const takingMs = performance.now() - stopped;
    const longestMs = await longestTurn(async () => {
      const profile = await Profile.from([capture], Date.now(), hertz);
      await profile.report();
      await profile.encode('cpuprofile');
      await profile.encode('pprof');
    });
    rows.push([what, ...[beginningMs, takingMs, longestMs].map((ms) => ms.toFixed(1))]);
  }
  await app.close();
  return markdown(['', 'beginning, ms', 'taking the samples, ms', 'longest turn while reporting, ms'], rows);
}
