/** What a scrape costs a daemon of 100 services: node --conditions=bosun-source bench/metrics.ts */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { entrypoint, systemClock } from 'bosun';
import { AdminService } from 'bosun/services/admin';
import { CacheService } from 'bosun/services/cache';
import { HttpService } from 'bosun/services/http';
import { PeriodicService } from 'bosun/services/periodic';
import { TcpEchoService } from 'bosun/services/tcp-echo';
import { UdpService } from 'bosun/services/udp';
import fastify from 'fastify';
import { Collector } from '../src/control/collect.ts';
import { RequestMetrics } from '../src/services/http/request-metrics.ts';
import { machine, report } from './lib/report.ts';
import { markdown, show, spread } from './lib/rounds.ts';
import type { Scraped } from './lib/scraper.ts';

const ROUTES = 5;
const WARM_UP = 50;
const SCRAPES = 200;

/** How long each call of a method takes from now on, in ms. */
function timed(prototype: object, name: string): number[] {
  const times: number[] = [];
  const method = Reflect.get(prototype, name) as (...args: unknown[]) => unknown;
  Reflect.set(prototype, name, function (this: unknown, ...args: unknown[]) {
    const begun = performance.now();
    try {
      return method.apply(this, args);
    } finally {
      times.push(performance.now() - begun);
    }
  });
  return times;
}

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

const many = <Item>(count: number, make: (i: number) => Item) =>
  Array.from({ length: count }, (_, i) => make(i));
const apis = many(20, (i) => new Api({ name: `api-${i}`, port: 0 }));
const admin = new AdminService({ port: 0 });
const services = [
  ...apis,
  ...many(30, (i) => new Job({ name: `job-${i}`, intervalMs: 60_000 })),
  ...many(20, (i) => new TcpEchoService({ name: `echo-${i}` })),
  ...many(15, (i) => new Rates({ name: `rates-${i}`, intervalMs: 60_000 })),
  ...many(14, (i) => new Printer({ name: `printer-${i}` })),
  admin,
];

const description = machine();
await using _daemon = await entrypoint(services, { log: { level: 'silent' }, ownsProcess: false });
for (const { addresses } of apis) {
  for (let i = 0; i < ROUTES; i++) await (await fetch(`${addresses[0]}/items-${i}/1`)).text();
}
const collect = timed(Collector.prototype, 'collect');
// The main thread answers the watcher's by it, and nothing else is said while nobody else asks.
const post = timed(Worker.prototype, 'postMessage');
const url = `${admin.addresses[0]}/metrics`;
const scraper = new Worker(new URL('./lib/scraper.ts', import.meta.url), {
  workerData: { url, scrapes: WARM_UP + SCRAPES },
});
const [{ ms, bytes, lines }] = (await once(scraper, 'message')) as [Scraped];
const main = collect.map((time, i) => time + (post[i] as number));
if (main.length !== ms.length || post.length !== ms.length)
  throw new Error('something else was measured, too');

const RECORDS = 1_000_000;
const requests = new RequestMetrics();
const since = systemClock.now();
const perRecord = many(11, () => {
  const begun = performance.now();
  for (let i = 0; i < RECORDS; i++) requests.record('/items/:id', 'GET', 200, systemClock.now() - since);
  return ((performance.now() - begun) / RECORDS) * 1_000;
});

const row = (what: string, times: readonly number[]) => [
  what,
  show(spread(times.slice(WARM_UP)), 2),
  (times[0] as number).toFixed(2),
];

report('metrics', 'Metrics: what a scrape costs', [
  description,
  `\`GET /metrics\` of a daemon of ${services.length} services (20 http with ${ROUTES} routes, 30 periodic, 20 TCP, 15 caches, 14 UDP, admin), by a client on another thread: ${lines} samples, ${Math.round(bytes / 1_024)} KiB per scrape. ${SCRAPES} scrapes after ${WARM_UP}, median [least to most]; and the very first one, whose code is compiled in it.`,
  markdown(
    ['', 'ms', 'the first'],
    [
      row('main thread: collect', collect),
      row('main thread: copy to the watcher thread', post),
      row('main thread, together', main),
      row('from the question to the answer', ms),
    ],
  ),
  `Recording one request, with the look at the clock: ${show(spread(perRecord.slice(1)), 3)} µs.`,
]);
