/** Start and stop of a thousand trivial services: node --conditions=bosun-source bench/lifecycle.ts */
import { Entrypoint, Service, service } from 'bosun';
import { z } from 'zod';
import { machine, report } from './lib/report.ts';
import { markdown, show, spread } from './lib/rounds.ts';

class Trivial extends Service.extend({ needs: z.array(service(Service)).default([]) }) {
  async start() {}
}

const COUNT = 1_000;
const shapes = {
  independent: () => Array.from({ length: COUNT }, (_, i) => new Trivial({ name: `s${i}` })),
  chain: () => {
    const services: Trivial[] = [];
    for (let i = 0; i < COUNT; i++) services.push(new Trivial({ name: `s${i}`, needs: services.slice(-1) }));
    return services.reverse();
  },
  'all on one': () => {
    const one = new Trivial({ name: 'one' });
    return [
      ...Array.from({ length: COUNT - 1 }, (_, i) => new Trivial({ name: `s${i}`, needs: [one] })),
      one,
    ];
  },
  'one on all': () => {
    const all = Array.from({ length: COUNT - 1 }, (_, i) => new Trivial({ name: `s${i}` }));
    return [new Trivial({ name: 'one', needs: all }), ...all];
  },
  'chain by name': () =>
    Array.from(
      { length: COUNT },
      (_, i) => new Trivial({ name: `s${i}`, after: i === 0 ? [] : [`s${i - 1}`] }),
    ),
};

const timed = async (work: () => unknown) => {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
};

const ROUNDS = 10;
const description = machine();
const rows: string[][] = [];
for (const [shape, make] of Object.entries(shapes)) {
  const times = { construct: [] as number[], start: [] as number[], stop: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    const services = make();
    let daemon: Entrypoint | undefined;
    times.construct.push(
      await timed(() => {
        daemon = new Entrypoint(services, { log: { level: 'silent' }, ownsProcess: false });
      }),
    );
    times.start.push(await timed(() => daemon?.start()));
    times.stop.push(await timed(() => daemon?.stop()));
  }
  rows.push([shape, ...Object.values(times).map((values) => show(spread(values), 1))]);
}

report('lifecycle', 'Start and stop of 1 000 trivial services', [
  `${description}.`,
  `${ROUNDS} rounds in one process, the cold first one included. ms, median [range]; the bar is 150 ms each way.`,
  markdown(['', 'construct', 'start', 'stop'], rows),
]);
