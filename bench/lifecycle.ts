/** Start and stop of a thousand trivial services: node --conditions=bosun-source bench/lifecycle.ts */
import { Entrypoint, Service, service } from 'bosun';
import { z } from 'zod';

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

const rows: Record<string, Record<string, string>> = {};
for (const [shape, make] of Object.entries(shapes)) {
  const best = {
    construct: Number.POSITIVE_INFINITY,
    start: Number.POSITIVE_INFINITY,
    stop: Number.POSITIVE_INFINITY,
  };
  const first = { start: 0, stop: 0 };
  for (let round = 0; round < 5; round++) {
    const services = make();
    let daemon: Entrypoint | undefined;
    const construct = await timed(() => {
      daemon = new Entrypoint(services, { log: { level: 'silent' }, ownsProcess: false });
    });
    const start = await timed(() => daemon?.start());
    const stop = await timed(() => daemon?.stop());
    if (round === 0) Object.assign(first, { start, stop });
    best.construct = Math.min(best.construct, construct);
    best.start = Math.min(best.start, start);
    best.stop = Math.min(best.stop, stop);
  }
  const ms = (value: number) => `${value.toFixed(1)} ms`;
  rows[shape] = {
    construct: ms(best.construct),
    start: ms(best.start),
    stop: ms(best.stop),
    'first start': ms(first.start),
    'first stop': ms(first.stop),
  };
}
console.table(rows);
