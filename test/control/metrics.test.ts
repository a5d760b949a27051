import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { PerformanceObserver } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { counter, entrypoint, gauge, Histogram, histogram, type Metric, Service, Supervisor } from 'bosun';
import { timeout } from 'bosun/policy';
import { FakeClock } from 'bosun/testing';
import { pino } from 'pino';
import { describe, expect, test, vi } from 'vitest';
import { compose } from '../../src/config/compose.ts';
import { loadConfig } from '../../src/config/load.ts';
import { Collector } from '../../src/control/collect.ts';
import { Heartbeat } from '../../src/control/heartbeat.ts';
import { LoopMeter } from '../../src/control/loop-meter.ts';
import { expose } from '../../src/control/thread/exposition.ts';
import { Observer, type Scrape } from '../support/metrics.ts';
import { startPostgres } from '../support/postgres.ts';
import { Bench, barrier, Probe } from '../support/probe.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

/** A service that has measured what it is told. */
class Measured extends Service {
  give: () => unknown = () => [];

  override start(): void {}

  override metrics() {
    return this.give() as readonly Metric[];
  }
}

const measured = (name: string, give: () => unknown) => Object.assign(new Measured({ name }), { give });

/** What is scraped of a daemon with such services, after a first scrape. */
async function scraping(services: readonly Service[], format: 'prometheus' | 'openmetrics' = 'prometheus') {
  const observer = new Observer();
  await using _daemon = await entrypoint([...services, observer], quiet);
  return await observer.scrape(format);
}

const hasPromtool = spawnSync('promtool', ['--version']).status === 0;

/** What `promtool check metrics` complains of. */
function lint(body: string): string {
  const { stdout, stderr, error } = spawnSync('promtool', ['check', 'metrics'], {
    input: body,
    encoding: 'utf8',
  });
  if (error !== undefined) throw error;
  return stdout + stderr;
}

describe('what a service has measured', () => {
  const own = () => [
    counter('app_orders_total', 'Orders taken.', 3),
    gauge('app_stock', 'Items in stock.', [
      { labels: { depot: 'north' }, value: 4 },
      { labels: { depot: 'south' }, value: -0.5 },
    ]),
  ];

  test('is shown with its name, and that of the service', async () => {
    const scrape = await scraping([measured('shop', own), measured('stall', own)]);
    expect(scrape.value('app_orders_total', { service: 'shop' })).toBe(3);
    expect(scrape.of('app_stock').map(({ labels, value }) => [labels, value])).toEqual([
      [{ service: 'shop', depot: 'north' }, 4],
      [{ service: 'shop', depot: 'south' }, -0.5],
      [{ service: 'stall', depot: 'north' }, 4],
      [{ service: 'stall', depot: 'south' }, -0.5],
    ]);
    expect(scrape.body).toContain('# HELP app_orders_total Orders taken.\n# TYPE app_orders_total counter\n');
    expect(scrape.value('bosun_metrics_errors_total')).toBeUndefined();
  });

  test('is found in supervisors, too', async () => {
    const inner = new Supervisor({ name: 'inner', services: [measured('deep', own)] });
    const scrape = await scraping([inner]);
    expect(scrape.value('app_orders_total', { service: 'deep' })).toBe(3);
    expect(scrape.value('bosun_service_info', { service: 'deep', supervisor: 'inner' })).toBe(1);
  });

  test('keeps samples of other label names, or other bounds, apart', async () => {
    const durations = (bounds: readonly number[], labels = {}) => {
      const of = new Histogram(bounds);
      for (const value of [0.5, 1, 7]) of.observe(value);
      return of.sample(labels);
    };
    const scrape = await scraping([
      measured('a', () => [
        gauge('mixed', 'Mixed.', [
          { value: 1 },
          { labels: { x: '1' }, value: 2 },
          { labels: { y: '1' }, value: 3 },
        ]),
        histogram('took_seconds', 'Took.', [durations([1, 2]), durations([5], { x: '1' }), durations([5])]),
      ]),
    ]);
    expect(scrape.of('mixed').map(({ labels, value }) => [labels, value])).toEqual([
      [{ service: 'a' }, 1],
      [{ service: 'a', x: '1' }, 2],
      [{ service: 'a', y: '1' }, 3],
    ]);
    expect(scrape.of('took_seconds_bucket').map(({ labels, value }) => [labels.x, labels.le, value])).toEqual(
      [
        [undefined, '1', 2],
        [undefined, '2', 2],
        [undefined, '+Inf', 3],
        ['1', '5', 2],
        ['1', '+Inf', 3],
      ],
    );
    expect(scrape.value('took_seconds_sum', { x: '1' })).toBe(8.5);
    expect(scrape.value('took_seconds_count', { x: '1' })).toBe(3);
  });

  test('in OpenMetrics loses _total in its family, not in its samples, and has bounds as floats', async () => {
    const of = new Histogram([0.5, 1]);
    const give = () => [...own(), histogram('took_seconds', 'Took "long".', [of.sample()])];
    const scrape = await scraping([measured('a', give)], 'openmetrics');
    expect(scrape.contentType).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8');
    expect(scrape.body).toContain(
      '# HELP app_orders Orders taken.\n# TYPE app_orders counter\napp_orders_total{service="a"} 3\n',
    );
    expect(scrape.body).toContain("# HELP took_seconds Took 'long'.\n");
    expect(scrape.of('took_seconds_bucket').map(({ labels }) => labels.le)).toEqual(['0.5', '1.0', '+Inf']);
    expect(scrape.body).toMatch(/\n# EOF\n$/);
    expect(scrape.body.match(/# EOF/g)).toHaveLength(1);
    expect(scrape.body).not.toContain('\n\n');
  });

  test('is written so that quotes, backslashes and new lines come out as they went in', async () => {
    const value = 'a "b" \\n \n c, d="e" } 1 ä 🚀';
    const give = () => [gauge('odd', 'Two\nlines \\ "quoted"', [{ labels: { of: value }, value: 1 }])];
    for (const format of ['prometheus', 'openmetrics'] as const) {
      const scrape = await scraping([measured('a', give)], format);
      expect(scrape.of('odd')).toEqual([{ name: 'odd', labels: { service: 'a', of: value }, value: 1 }]);
      expect(scrape.body).toMatch(/^# HELP odd Two\\nlines \\\\ ["']quoted["']$/m);
    }
  });

  test('may be no number that is finite', async () => {
    const give = () => [
      gauge('odd', 'Odd.', [{ value: Number.POSITIVE_INFINITY }]),
      gauge('none', 'None.', Number.NaN),
    ];
    const scrape = await scraping([measured('a', give)]);
    expect(scrape.value('odd')).toBe(Number.POSITIVE_INFINITY);
    expect(scrape.value('none')).toBeNaN();
  });
});

describe('what cannot be shown is dropped and counted, and nothing else:', () => {
  const good = gauge('app_good', 'Good.', 1);
  const sample = { bounds: [1, 2], counts: [1, 2, 3], sum: 4 };
  const bad: Record<string, unknown> = {
    'a name with a blank': gauge('a b', 'Bad.', 1),
    'a name that begins with a digit': gauge('1a', 'Bad.', 1),
    'an empty name': gauge('', 'Bad.', 1),
    'a name that every object has: constructor': gauge('constructor', 'Bad.', 1),
    'a name that every object has: toString': counter('toString', 'Bad.', 1),
    'a name that every object has: valueOf': gauge('valueOf', 'Bad.', 1),
    'a name that every object has: __proto__': gauge('__proto__', 'Bad.', 1),
    'no name': { help: 'Bad.', type: 'gauge', samples: [{ value: 1 }] },
    'no help': { name: 'bad', type: 'gauge', samples: [{ value: 1 }] },
    'an unknown type': { name: 'bad', help: 'Bad.', type: 'summary', samples: [] },
    'a value that is a string': gauge('bad', 'Bad.', [{ value: '1' as never }]),
    'no samples': { name: 'bad', help: 'Bad.', type: 'gauge' },
    'samples that are no array': {
      name: 'bad',
      help: 'Bad.',
      type: 'gauge',
      samples: new Set([{ value: 1 }]),
    },
    'no value': gauge('bad', 'Bad.', [{} as never]),
    'a bigint': gauge('bad', 'Bad.', [{ value: 1n as never }]),
    'a label name with a dash': gauge('bad', 'Bad.', [{ labels: { 'a-b': '' }, value: 1 }]),
    'a reserved label name': gauge('bad', 'Bad.', [{ labels: { __a: '' }, value: 1 }]),
    'the label of buckets': gauge('bad', 'Bad.', [{ labels: { le: '1' }, value: 1 }]),
    'the label of the service': gauge('bad', 'Bad.', [{ labels: { service: 'other' }, value: 1 }]),
    'a label value that is no string': gauge('bad', 'Bad.', [{ labels: { a: 1 as never }, value: 1 }]),
    'a label value that is too long': gauge('bad', 'Bad.', [{ labels: { a: 'x'.repeat(1_025) }, value: 1 }]),
    'a histogram with a value': histogram('bad', 'Bad.', [{ value: 1 } as never]),
    'a gauge with bounds': gauge('bad', 'Bad.', [sample as never]),
    'a count too few': histogram('bad', 'Bad.', [{ ...sample, counts: [1, 2] }]),
    'a count that is no number': histogram('bad', 'Bad.', [{ ...sample, counts: [1, 2, '3' as never] }]),
    'no sum': histogram('bad', 'Bad.', [{ ...sample, sum: undefined as never }]),
    'bounds that descend': histogram('bad', 'Bad.', [{ ...sample, bounds: [2, 1] }]),
    'a bound that is twice there': histogram('bad', 'Bad.', [{ ...sample, bounds: [1, 1] }]),
    'an infinite bound': histogram('bad', 'Bad.', [{ ...sample, bounds: [1, Number.POSITIVE_INFINITY] }]),
  };

  test.each(Object.entries(bad))('%s', async (_what, metric) => {
    const scrape = await scraping([measured('a', () => [metric, good]), measured('b', () => [good])]);
    expect(scrape.of('bad')).toEqual([]);
    expect(scrape.of('app_good').map(({ labels }) => labels.service)).toEqual(['a', 'b']);
    expect(scrape.of('bosun_metrics_errors_total')).toEqual([
      { name: 'bosun_metrics_errors_total', labels: { service: 'a', reason: 'invalid' }, value: 1 },
    ]);
  });

  test('a bad sample among good ones of its family', async () => {
    const samples = [
      { labels: { a: '1' }, value: 1 },
      { labels: { a: 2 as never }, value: 2 },
      { labels: { b: 3 as never }, value: 3 },
      { labels: { b: 3 as never }, value: 3 },
      { labels: { a: '4' }, value: 4 },
      { labels: { b: '5' }, value: 5 },
    ];
    const scrape = await scraping([measured('a', () => [gauge('some', 'Some.', samples)])]);
    expect(scrape.of('some').map(({ labels, value }) => [labels.a ?? labels.b, value])).toEqual([
      ['1', 1],
      ['4', 4],
      ['5', 5],
    ]);
    expect(scrape.value('bosun_metrics_errors_total', { service: 'a', reason: 'invalid' })).toBe(3);
  });

  test.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw new Error('broken');
      },
    ],
    [
      'throws no error',
      () => {
        throw undefined;
      },
    ],
    ['is asynchronous', async () => [good]],
    ['gives nothing', () => undefined],
    ['gives a hole', () => [undefined]],
    ['gives a sample that is none', () => [gauge('bad', 'Bad.', [null as never])]],
  ])('a metrics() that %s', async (_what, give) => {
    const scrape = await scraping([measured('a', give), measured('b', () => [good])]);
    expect(scrape.of('app_good').map(({ labels }) => labels.service)).toEqual(['b']);
    expect(scrape.value('bosun_metrics_errors_total', { service: 'a', reason: 'threw' })).toBe(1);
    expect(scrape.value('bosun_service_state', { service: 'a', state: 'running' })).toBe(1);
  });

  test('families that clash: the first one stands', async () => {
    const scrape = await scraping([
      measured('a', () => [counter('app_x_total', 'X.', 1), histogram('app_h', 'H.', [sample])]),
      measured('b', () => [gauge('app_x_total', 'X.', 2), good]),
      measured('c', () => [gauge('app_x', 'X.', 3)]),
      measured('d', () => [counter('app_h_count', 'H.', 4)]),
      measured('e', () => [
        gauge('process_open_fds', 'Mine.', 5),
        gauge('bosun_ready', 'Whether all services have started and none is to stop.', 6),
      ]),
    ]);
    expect(scrape.of('app_x_total').map(({ labels }) => labels.service)).toEqual(['a']);
    expect(scrape.of('app_x')).toEqual([]);
    expect(scrape.of('app_h_count').map(({ labels }) => labels.service)).toEqual(['a']);
    for (const service of ['b', 'c', 'd', 'e']) {
      expect(scrape.value('bosun_metrics_errors_total', { service, reason: 'conflict' })).toBe(1);
    }
    expect(scrape.of('process_open_fds')).toHaveLength(1);
    expect(scrape.value('process_open_fds', { service: 'e' })).toBeUndefined();
  });

  test.each([
    'bosun_build_info',
    'bosun_metrics_errors_total',
    'bosun_scrape_stale_seconds',
    'process_cpu_seconds_total',
  ])("%s, which is not a service's to give", async (name) => {
    const scrape = await scraping([measured('a', () => [counter(name, 'Mine.', 7), good])]);
    expect(scrape.of(name).filter(({ value }) => value === 7)).toEqual([]);
    expect(scrape.value('bosun_metrics_errors_total', { service: 'a', reason: 'conflict' })).toBe(1);
    expect(scrape.value('app_good')).toBe(1);
  });

  test('a help that differs is counted; the samples stay, under the first help', async () => {
    const scrape = await scraping([
      measured('a', () => [counter('app_x_total', 'One.', 1)]),
      measured('b', () => [counter('app_x_total', 'Two.', 2)]),
    ]);
    expect(scrape.of('app_x_total').map(({ value }) => value)).toEqual([1, 2]);
    expect(scrape.body.match(/^# HELP app_x_total .*$/gm)).toEqual(['# HELP app_x_total One.']);
    expect(scrape.value('bosun_metrics_errors_total', { service: 'b', reason: 'conflict' })).toBe(1);
  });

  test('samples with the labels of another', async () => {
    const samples = [
      { labels: { a: '1', b: '2' }, value: 1 },
      { labels: { b: '2', a: '1' }, value: 2 },
      { labels: { a: '1', b: '2', c: '' }, value: 3 },
      { labels: { a: '1', b: '3' }, value: 4 },
    ];
    const scrape = await scraping([measured('a', () => [gauge('twice', 'Twice.', samples)])]);
    expect(scrape.of('twice').map(({ value }) => value)).toEqual([1, 4]);
  });

  test('more than 1 000 samples of a family, for each service', async () => {
    const crowd = (count: number) => () => [
      gauge(
        'crowd',
        'Crowd.',
        Array.from({ length: count }, (_, i) => ({ labels: { user: String(i) }, value: i })),
      ),
      good,
    ];
    const scrape = await scraping([measured('a', crowd(1_010)), measured('b', crowd(1_000))]);
    expect(scrape.of('crowd').filter(({ labels }) => labels.service === 'a')).toHaveLength(1_000);
    expect(scrape.of('crowd').filter(({ labels }) => labels.service === 'b')).toHaveLength(1_000);
    expect(scrape.of('bosun_metrics_errors_total').map(({ labels, value }) => [labels, value])).toEqual([
      [{ service: 'a', reason: 'limit' }, 10],
    ]);
    expect(scrape.of('app_good')).toHaveLength(2);
  });

  test('more families than 1 000', async () => {
    const many = () => Array.from({ length: 1_100 }, (_, i) => gauge(`app_${i}`, 'One of many.', i));
    const scrape = await scraping([measured('a', many)]);
    const shown = scrape.series.filter(({ name }) => name.startsWith('app_')).length;
    expect(shown).toBeGreaterThan(900);
    expect(scrape.value('bosun_metrics_errors_total', { service: 'a', reason: 'limit' })).toBe(1_100 - shown);
  });

  test('more label names, sets of them, or bounds than there may be', async () => {
    const labels = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`l${i}`, 'x']));
    const wide = (count: number) => {
      const bounds = Array.from({ length: count }, (_, i) => i);
      return new Histogram(bounds).sample();
    };
    const scrape = await scraping([
      measured('a', () => [
        gauge('wide', 'Wide.', [
          { labels: labels(33), value: 1 },
          { labels: labels(32), value: 2 },
        ]),
        gauge(
          'mixed',
          'Mixed.',
          Array.from({ length: 20 }, (_, i) => ({ labels: labels(i), value: i })),
        ),
        histogram('fine', 'Fine.', [wide(101), wide(100)]),
      ]),
    ]);
    expect(scrape.of('wide').map(({ value }) => value)).toEqual([2]);
    expect(scrape.of('mixed').map(({ value }) => value)).toEqual(Array.from({ length: 16 }, (_, i) => i));
    expect(scrape.of('fine_count')).toHaveLength(1);
    expect(scrape.of('fine_bucket')).toHaveLength(101);
    expect(scrape.value('bosun_metrics_errors_total', { service: 'a', reason: 'limit' })).toBe(1 + 4 + 1);
  });

  test('more than 50 000 lines of all services together', async () => {
    const FAMILIES = 60;
    const samples = Array.from({ length: 1_000 }, (_, i) => ({ labels: { i: String(i) }, value: i }));
    const greedy = () => Array.from({ length: FAMILIES }, (_, i) => gauge(`greedy_${i}`, 'Greedy.', samples));
    const durations = new Histogram();
    const scrape = await scraping([
      measured('a', () => [histogram('took_seconds', 'Took.', [durations.sample()]), ...greedy()]),
      measured('b', () => [good]),
    ]);
    const given = scrape.series.filter(({ labels }) => labels.service === 'a' && labels.i !== undefined);
    // Up to the last sample for which there was room, whatever the daemon tells of itself.
    expect(given.length).toBeGreaterThan(49_000);
    expect(given.length).toBeLessThanOrEqual(50_000 - 14);
    expect(scrape.value('bosun_metrics_errors_total', { service: 'a', reason: 'limit' })).toBe(
      FAMILIES * 1_000 - given.length,
    );
    expect(scrape.of('app_good')).toEqual([]);
    expect(scrape.value('bosun_metrics_errors_total', { service: 'b', reason: 'limit' })).toBe(1);
    expect(scrape.value('bosun_service_state', { service: 'b', state: 'running' })).toBe(1);
  });

  test('what a service has lost is forgotten when it is removed', async () => {
    const observer = new Observer();
    const odd = () => measured('odd', () => [gauge('a b', 'Bad.', 1)]);
    await using daemon = await entrypoint([odd(), observer], quiet);
    const errors = async () => (await observer.scrape()).value('bosun_metrics_errors_total');
    await errors();
    expect(await errors()).toBe(2);
    await daemon.remove('odd');
    expect(await errors()).toBeUndefined();
    await daemon.add(odd());
    expect(await errors()).toBe(1);
  });

  test('each is counted whenever it happens, and logged the first time', async () => {
    const observer = new Observer();
    const broken = measured('a', () => {
      throw new Error('broken');
    });
    const odd = measured('b', () => [gauge('a b', 'Bad.', 1), gauge('c d', 'Bad.', 1)]);
    await using _daemon = await entrypoint([broken, odd, observer], quiet);
    const lines: Record<string, unknown>[] = [];
    const logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) });
    using heartbeat = new Heartbeat();
    const host = { ...observer.host, loggerFor: (service: string) => logger.child({ service }) };
    const collector = new Collector(host, new LoopMeter(heartbeat));
    for (let i = 0; i < 2; i++) collector.collect();
    const { body } = await expose(collector.collect(), 'prometheus');
    collector.close();
    expect(body).toContain('bosun_metrics_errors_total{service="a",reason="threw"} 3\n');
    expect(body).toContain('bosun_metrics_errors_total{service="b",reason="invalid"} 6\n');
    expect(lines).toEqual([
      expect.objectContaining({ service: 'a', level: 50, msg: 'metrics() threw' }),
      expect.objectContaining({ service: 'b', level: 40, metric: 'a b', reason: 'invalid' }),
    ]);
  });
});

describe('the daemon tells', () => {
  test('the state of each service, as 1 for the one it is in and 0 for the others', async () => {
    const observer = new Observer();
    const idle = new Probe('idle', { restart: 'never' }, { start: ({ finish }) => finish() });
    const bench = new Bench([new Probe('busy'), idle, observer]);
    await bench.daemon.start();
    await bench.clock.advance(0);
    const scrape = await observer.scrape();
    const states = (service: string) =>
      Object.fromEntries(
        scrape
          .of('bosun_service_state')
          .filter(({ labels }) => labels.service === service)
          .map(({ labels, value }) => [labels.state, value]),
      );
    const none = {
      created: 0,
      starting: 0,
      running: 0,
      stopping: 0,
      stopped: 0,
      failed: 0,
      'backing-off': 0,
    };
    expect(states('busy')).toEqual({ ...none, running: 1 });
    expect(states('idle')).toEqual({ ...none, stopped: 1 });
    expect(scrape.value('bosun_ready')).toBe(1);
    expect(scrape.value('bosun_service_info', { service: 'busy', type: 'Probe', critical: 'true' })).toBe(1);
    await bench.stop();
  });

  test('restarts, failures, and how long the last start and stop took', async () => {
    const observer = new Observer();
    let starts = 0;
    const probe: Probe = new Probe(
      'weak',
      {},
      {
        start: ({ clock }) => clock.sleep(++starts * 1_000),
        stop: async () => {
          await probe.scope.clock.sleep(3_000);
          throw new Error('it broke, too');
        },
      },
    );
    const bench = new Bench([probe, observer]);
    const started = bench.daemon.start();
    await bench.clock.advance(1_000);
    await started;
    const before = await observer.scrape();
    const of = { service: 'weak' };
    expect(before.value('bosun_service_last_start_duration_seconds', of)).toBe(1);
    expect(before.value('bosun_service_last_stop_duration_seconds', of)).toBeUndefined();
    expect(before.value('bosun_service_start_time_seconds', of)).toBe(1);
    expect(before.value('bosun_service_failures_total', of)).toBe(0);
    probe.fail();
    await bench.clock.advance(3_000);
    expect((await observer.scrape()).value('bosun_service_start_time_seconds', of)).toBeUndefined();
    await bench.clock.advance(1_000 + 2_000);
    const after = await observer.scrape();
    expect(after.value('bosun_service_restarts_total', of)).toBe(1);
    expect(after.value('bosun_service_failures_total', of)).toBe(1);
    expect(after.value('bosun_service_stop_failures_total', of)).toBe(1);
    expect(after.value('bosun_service_last_start_duration_seconds', of)).toBe(2);
    expect(after.value('bosun_service_last_stop_duration_seconds', of)).toBe(3);
    await bench.stop();
  });

  test('counts that go on when the service that collects is restarted, and begin anew with a new service', async () => {
    const observer = new Observer();
    const weak = new Probe('weak', { critical: false });
    const bench = new Bench([weak, observer]);
    await bench.daemon.start();
    const failures = async () =>
      (await observer.scrape()).value('bosun_service_failures_total', { service: 'weak' });
    weak.fail();
    await bench.clock.advance(1_000);
    expect(await failures()).toBe(1);
    await bench.daemon.restart('observer');
    weak.fail();
    await bench.clock.advance(1_000);
    expect(await failures()).toBe(2);
    await bench.daemon.remove('weak');
    expect(await failures()).toBeUndefined();
    await bench.daemon.add(new Probe('weak'));
    expect(await failures()).toBe(0);
    await bench.stop();
  });

  test('failures and durations, also of what was before it was asked', async () => {
    const observer = new Observer();
    let starts = 0;
    const weak = new Probe(
      'weak',
      { critical: false },
      { start: ({ clock }) => clock.sleep(++starts * 1_000) },
    );
    const bench = new Bench([weak]);
    const started = bench.daemon.start();
    await bench.clock.advance(1_000);
    await started;
    weak.fail();
    await bench.clock.advance(3_000);
    await bench.daemon.add(observer);
    const scrape = await observer.scrape();
    const of = { service: 'weak' };
    expect(scrape.value('bosun_service_failures_total', of)).toBe(1);
    expect(scrape.value('bosun_service_last_start_duration_seconds', of)).toBe(2);
    expect(scrape.value('bosun_service_last_stop_duration_seconds', of)).toBe(0);
    await bench.stop();
  });

  test('no past of what has gone: neither of an addition that failed, nor of what a removed supervisor held', async () => {
    const observer = new Observer();
    const bench = new Bench([observer]);
    await bench.daemon.start();
    let fails = true;
    const broken = () =>
      new Probe(
        'deep',
        { critical: false },
        {
          start: () => {
            if (fails) throw new Error('broken');
          },
        },
      );
    const failures = async () =>
      (await observer.scrape()).value('bosun_service_failures_total', { service: 'deep' });
    await expect(bench.daemon.add(broken())).rejects.toThrow('broken');
    expect(await failures()).toBeUndefined();
    fails = false;
    const deep = broken();
    await bench.daemon.add(new Supervisor({ name: 'inner', services: [deep] }));
    expect(await failures()).toBe(0);
    deep.fail();
    await bench.clock.advance(1_000);
    expect(await failures()).toBe(1);
    await bench.daemon.remove('inner');
    expect(await failures()).toBeUndefined();
    await bench.daemon.add(broken());
    expect(await failures()).toBe(0);
    await bench.stop();
  });

  test('a roll-back that failed as a stop that did', async () => {
    const observer = new Observer();
    const weak = new Probe(
      'weak',
      { critical: false },
      {
        start: ({ defer }) => {
          defer(() => Promise.reject(new Error('it broke, too')));
          throw new Error('broken');
        },
      },
    );
    const bench = new Bench([observer, weak]);
    await bench.daemon.start();
    const scrape = await observer.scrape();
    expect(scrape.value('bosun_service_failures_total', { service: 'weak' })).toBe(1);
    expect(scrape.value('bosun_service_stop_failures_total', { service: 'weak' })).toBe(1);
    expect(scrape.value('bosun_service_last_start_duration_seconds', { service: 'weak' })).toBeUndefined();
    expect(scrape.value('bosun_service_last_stop_duration_seconds', { service: 'weak' })).toBeUndefined();
    await bench.stop();
  });

  test('policies that have a name, by kind and outcome', async () => {
    const observer = new Observer();
    await using _daemon = await entrypoint([observer], quiet);
    const name = `metrics "test" ${randomUUID()}`;
    const clock = new FakeClock();
    const policy = timeout(60_000, { name, clock });
    const gate = barrier();
    const took = async (ms: number, run: Promise<unknown>) => {
      const ended = run.catch(() => {});
      await clock.advance(ms);
      await ended;
    };
    await took(
      500,
      policy.run(() => clock.sleep(500)),
    );
    await took(
      250,
      policy.run(() => clock.sleep(250).then(() => Promise.reject(new Error('broken')))),
    );
    await took(
      0,
      policy.run(() => gate.promise, { signal: AbortSignal.abort() }),
    );
    const pending = policy.run(() => gate.promise);
    const scrape = await observer.scrape();
    gate.open();
    await pending;
    const of = { kind: 'timeout', policy: name };
    const calls = (outcome: string) => scrape.value('bosun_policy_calls_total', { ...of, outcome });
    expect([calls('done'), calls('error'), calls('cancelled')]).toEqual([1, 1, 1]);
    expect(scrape.value('bosun_policy_calls_in_flight', of)).toBe(1);
    // What is aborted from the outset is not begun.
    expect(scrape.value('bosun_policy_attempts_total', of)).toBe(3);
    expect(scrape.value('bosun_policy_call_seconds_total', of)).toBe(0.75);
  });

  test('tasks of the workers', async () => {
    const observer = new Observer();
    const caller = new Probe(
      'caller',
      {},
      {
        start: async ({ workers }) => {
          const tasks = workers.module<typeof import('../workers/fixtures/tasks.ts')>(
            new URL('../workers/fixtures/tasks.ts', import.meta.url),
          );
          await tasks.add(1, 2);
        },
      },
    );
    await using _daemon = await entrypoint([observer, caller], quiet);
    const scrape = await observer.scrape();
    const of = { isolation: 'thread' };
    expect(scrape.value('bosun_worker_tasks_total', { ...of, outcome: 'done' })).toBe(1);
    expect(scrape.value('bosun_worker_tasks_total', { ...of, outcome: 'error' })).toBe(0);
    expect(scrape.value('bosun_workers', of)).toBeGreaterThanOrEqual(1);
    expect(scrape.value('bosun_worker_task_run_seconds_total', of)).toBeGreaterThan(0);
    expect(scrape.value('bosun_workers', { isolation: 'process' })).toBe(0);
  });

  test('the process, the heap, and the versions', async () => {
    const scrape = await scraping([]);
    const rss = process.memoryUsage.rss();
    expect(scrape.value('process_resident_memory_bytes')).toBeGreaterThan(rss / 4);
    expect(scrape.value('process_resident_memory_bytes')).toBeLessThan(rss * 4);
    expect(scrape.value('process_cpu_seconds_total')).toBeGreaterThan(0);
    expect(scrape.value('process_open_fds')).toBeGreaterThan(3);
    const uptime = Date.now() / 1_000 - (scrape.value('process_start_time_seconds') ?? 0);
    expect(Math.abs(uptime - process.uptime())).toBeLessThan(5);
    expect(scrape.value('nodejs_heap_size_used_bytes')).toBeGreaterThan(1e6);
    expect(scrape.value('bosun_build_info', { node: process.versions.node })).toBe(1);
  });

  test('garbage collections, by kind', async () => {
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc') as () => void;
    const observer = new Observer();
    await using _daemon = await entrypoint([observer], quiet);
    const count = async () =>
      (await observer.scrape()).value('nodejs_gc_duration_seconds_count', { kind: 'major' }) ?? 0;
    const before = await count();
    gc();
    // What was collected is told in a later turn.
    await expect.poll(count).toBeGreaterThan(before);
  });

  test('the delay of the event loop, to everyone who asks', async () => {
    const observer = new Observer();
    await using _daemon = await entrypoint([observer], quiet);
    const slow = (scrape: Scrape) =>
      (scrape.value('bosun_event_loop_delay_seconds_count') ?? 0) -
      (scrape.value('bosun_event_loop_delay_seconds_bucket', { le: '0.5' }) ?? 0);
    const before = await observer.scrape();
    const end = performance.now() + 600;
    while (performance.now() < end);
    await expect.poll(async () => slow(await observer.scrape()), { timeout: 20_000 }).toBeGreaterThan(0);
    const scrape = await observer.scrape();
    expect(slow(scrape)).toBeGreaterThan(0);
    const active = 'bosun_event_loop_active_seconds_total';
    expect((scrape.value(active) ?? 0) - (before.value(active) ?? 0)).toBeGreaterThan(0.5);
  });

  test('what the thread itself has measured', async () => {
    const own = [gauge('bosun_event_loop_blocked_seconds', 'For how long it has been blocked.', 4)];
    const { body } = await expose({ at: 0, families: [] }, 'prometheus', own);
    expect(body).toContain('\nbosun_event_loop_blocked_seconds 4\n');
  });
});

test('collecting from 100 services takes the main thread a few milliseconds at most', async () => {
  const durations = new Histogram();
  const give = () => [
    histogram(
      'app_took_seconds',
      'Took.',
      Array.from({ length: 5 }, (_, i) => durations.sample({ route: String(i) })),
    ),
    counter('app_done_total', 'Done.', 1),
    gauge('app_open', 'Open.', 2),
  ];
  const observer = new Observer();
  const services = Array.from({ length: 100 }, (_, i) => measured(`s${i}`, give));
  await using _daemon = await entrypoint([...services, observer], quiet);
  const times = Array.from({ length: 30 }, () => {
    const begun = performance.now();
    observer.collector.collect();
    return performance.now() - begun;
  });
  // Around 1 ms; the shortest is that of no noise.
  expect(Math.min(...times)).toBeLessThan(10);
});

test('nothing is watched any more when a collector is closed', async () => {
  using disable = vi.spyOn(PerformanceObserver.prototype, 'disconnect');
  const observer = new Observer();
  const daemon = await entrypoint([observer], quiet);
  expect(disable).not.toHaveBeenCalled();
  await daemon.stop();
  expect(disable).toHaveBeenCalledTimes(1);
});

test('every family is in the documentation', () => {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const docs = readFileSync(`${root}docs/metrics.md`, 'utf8');
  const names = readdirSync(`${root}src`, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .flatMap(
      (path) => readFileSync(`${root}src/${path}`, 'utf8').match(/'(bosun|process|nodejs)_[a-z_]+'/g) ?? [],
    )
    .map((quoted) => quoted.slice(1, -1));
  expect(names.length).toBeGreaterThan(60);
  const isThere = (name: string) =>
    docs.includes(`\`${name}\``) || docs.includes(`\`${name.replace('bosun_', '')}\``);
  expect(names.filter((name) => !name.endsWith('_') && !isThere(name))).toEqual([]);
});

test('promtool has no complaint about the reference daemon', async ({ skip }) => {
  skip(!hasPromtool && process.env.CI !== 'true', 'promtool is not installed: apt-get install prometheus');
  const config = fileURLToPath(new URL('../../examples/catalogue/bosun.yaml', import.meta.url));
  await using postgres = await startPostgres();
  const env = {
    DATABASE_URL: postgres.url,
    PORT: '0',
    ECHO_PORT: '0',
    RATE_PORT: '0',
    UDP_PORT: '0',
    ADMIN_PORT: '0',
    LOG_LEVEL: 'silent',
  };
  const { services } = await loadConfig(config, { env });
  const instances = compose(services);
  const observer = new Observer();
  const all = [...services.map(({ name }) => instances.get(name) as Service), observer];
  await using _daemon = await entrypoint(all, quiet);
  const [url] = instances.get('api')?.addresses ?? [];
  await (await fetch(`${url}/products/1`)).text();
  const scrape = await observer.scrape();
  expect(scrape.value('bosun_http_request_duration_seconds_count', { service: 'api', status: '2xx' })).toBe(
    1,
  );
  expect(lint(scrape.body)).toBe('');
  expect((await observer.scrape('openmetrics')).series.length).toBeGreaterThan(100);
});
