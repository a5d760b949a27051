/** What a scrape costs a daemon of 100 services: node --conditions=bosun-source bench/metrics.ts */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { entrypoint, type Scope, Service, systemClock } from 'bosun';
import { CacheService } from 'bosun/services/cache';
import { HttpService } from 'bosun/services/http';
import { PeriodicService } from 'bosun/services/periodic';
import { TcpEchoService } from 'bosun/services/tcp-echo';
import { UdpService } from 'bosun/services/udp';
import fastify from 'fastify';
import { Collector } from '../src/control/collect.ts';
import { Heartbeat } from '../src/control/heartbeat.ts';
import { LoopMeter } from '../src/control/loop-meter.ts';
import { RequestMetrics } from '../src/services/http/request-metrics.ts';
import { hostOf } from '../src/supervisor/run.ts';
import { machine, report } from './lib/report.ts';
import { markdown, show, spread } from './lib/rounds.ts';

const ROUTES = 5;

class Api extends HttpService {
  protected override createApplication() {
    const app = fastify();
    for (let i = 0; i < ROUTES; i++) app.get(`/items-${i}/:id`, () => ({ ok: true }));
    return app;
  }
}

class Job extends PeriodicService {
  protected override callback() {}
}

class Rates extends CacheService<number> {
  protected override load() {
    return 1;
  }
}

class Printer extends UdpService {
  protected override handle() {}
}

class Observer extends Service {
  collector: Collector | undefined;

  override start(scope: Scope) {
    const heartbeat = new Heartbeat();
    const collector = new Collector(hostOf(scope), new LoopMeter(heartbeat));
    this.collector = collector;
    scope.defer(() => {
      collector.close();
      heartbeat[Symbol.dispose]();
    });
  }
}

const many = <Item>(count: number, make: (i: number) => Item) =>
  Array.from({ length: count }, (_, i) => make(i));
const apis = many(20, (i) => new Api({ name: `api-${i}`, port: 0 }));
const observer = new Observer();
const services = [
  ...apis,
  ...many(30, (i) => new Job({ name: `job-${i}`, intervalMs: 60_000 })),
  ...many(20, (i) => new TcpEchoService({ name: `echo-${i}` })),
  ...many(15, (i) => new Rates({ name: `rates-${i}`, intervalMs: 60_000 })),
  ...many(14, (i) => new Printer({ name: `printer-${i}` })),
  observer,
];

const description = machine();
await using _daemon = await entrypoint(services, { log: { level: 'silent' }, ownsProcess: false });
for (const { addresses } of apis) {
  for (let i = 0; i < ROUTES; i++) await (await fetch(`${addresses[0]}/items-${i}/1`)).text();
}
const { collector } = observer;
if (collector === undefined) throw new Error('the observer has not started');

const worker = new Worker(new URL('./lib/exposer.ts', import.meta.url));
const figures = {
  collect: [] as number[],
  post: [] as number[],
  main: [] as number[],
  thread: [] as number[],
  whole: [] as number[],
};
let size = '';
for (let round = -50; round < 200; round++) {
  const begun = performance.now();
  const collected = collector.collect();
  const done = performance.now();
  worker.postMessage(collected);
  const posted = performance.now();
  const [{ ms, bytes, lines }] = (await once(worker, 'message')) as [
    Record<'ms' | 'bytes' | 'lines', number>,
  ];
  if (round < 0) continue;
  figures.collect.push(done - begun);
  figures.post.push(posted - done);
  figures.main.push(posted - begun);
  figures.thread.push(ms);
  figures.whole.push(performance.now() - begun);
  size = `${lines} samples, ${Math.round(bytes / 1_024)} KiB`;
}
await worker.terminate();

const RECORDS = 1_000_000;
const requests = new RequestMetrics();
const since = systemClock.now();
const perRecord = many(11, () => {
  const begun = performance.now();
  for (let i = 0; i < RECORDS; i++) requests.record('/items/:id', 'GET', 200, systemClock.now() - since);
  return ((performance.now() - begun) / RECORDS) * 1_000;
});

report('metrics', 'Metrics: what a scrape costs', [
  description,
  `A daemon of ${services.length} services (20 http with ${ROUTES} routes, 30 periodic, 20 TCP, 15 caches, 14 UDP): ${size} per scrape, 200 scrapes. Median [least to most].`,
  markdown(
    ['', 'ms'],
    [
      ['main thread: collect', show(spread(figures.collect), 2)],
      ['main thread: copy to the watcher thread', show(spread(figures.post), 2)],
      ['main thread, together', show(spread(figures.main), 2)],
      ['watcher thread: write it', show(spread(figures.thread), 2)],
      ['from the question to the answer', show(spread(figures.whole), 2)],
    ],
  ),
  `Recording one request, with the look at the clock: ${show(spread(perRecord.slice(1)), 3)} µs.`,
]);
