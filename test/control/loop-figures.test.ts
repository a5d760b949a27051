import { entrypoint, type Scope, Service } from 'bosun';
import { expect, test } from 'vitest';
import { LoopReader, quantile } from '../../src/control/loop-figures.ts';
import { Histogram } from '../../src/metrics.ts';
import { hostOf } from '../../src/supervisor/run.ts';

class Served extends Service.extend({}) {
  readonly durations = new Histogram([0.1, 1]);
  reader: LoopReader | undefined;

  override start(scope: Scope) {
    const reader = new LoopReader(hostOf(scope));
    this.reader = reader;
    scope.defer(() => reader[Symbol.dispose]());
  }

  override metrics() {
    const name = 'bosun_http_request_duration_seconds';
    return [{ name, help: 'of requests', type: 'histogram' as const, samples: [this.durations.sample()] }];
  }
}

class Broken extends Service.extend({}) {
  override start() {}

  override metrics(): never {
    throw new Error('no metrics today');
  }
}

test('a quantile is found within its bucket', () => {
  expect(quantile(0.5, [1, 2, 4], [0, 10, 0, 0])).toBe(1.5);
  expect(quantile(0.99, [1, 2, 4], [50, 0, 50, 0])).toBeCloseTo(3.96);
  expect(quantile(1, [1, 2, 4], [1, 0, 0, 0])).toBe(1);
});

test('what is above the last bound counts as the last bound; nothing observed has no quantile', () => {
  expect(quantile(0.99, [1, 2], [0, 0, 7])).toBe(2);
  expect(quantile(0.99, [1, 2], [0, 0, 0])).toBeUndefined();
});

test('requests are those since the last reading; a service without metrics disturbs nobody', async () => {
  const served = new Served({});
  await using _daemon = await entrypoint([served, new Broken({})], {
    log: { level: 'silent' },
    ownsProcess: false,
  });
  served.durations.observe(5);
  expect(served.reader?.read()).toMatchObject({ requestsPerSecond: null, requestP99Ms: null });
  for (let i = 0; i < 100; i++) served.durations.observe(0.05);
  const { requestsPerSecond = 0, requestP99Ms = 0, heapUsedBytes = 0 } = served.reader?.read() ?? {};
  expect(requestsPerSecond).toBeGreaterThan(0);
  expect(requestP99Ms).toBeCloseTo(99);
  expect(heapUsedBytes).toBeGreaterThan(1_000_000);
  expect(served.reader?.read()).toMatchObject({ requestsPerSecond: 0, requestP99Ms: null });
});
