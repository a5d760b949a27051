import { entrypoint, type Metric, type Scope, Service } from 'bosun';
import { expect, test } from 'vitest';
import { quantile, RequestCounter, requestFigures } from '../../src/control/request-figures.ts';
import { Histogram, histogram } from '../../src/metrics.ts';
import { hostOf } from '../../src/supervisor/run.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

class Observer extends Service.extend({}) {
  counter: RequestCounter | undefined;

  override start(scope: Scope) {
    this.counter = new RequestCounter(hostOf(scope));
  }
}

/** How often it was asked is counted. */
class Asked extends Service.extend({}) {
  asked = 0;

  override start() {}

  override metrics(): readonly Metric[] {
    this.asked += 1;
    return [];
  }
}

class Served extends Asked {
  readonly durations = new Histogram([0.1, 1]);

  override metrics() {
    super.metrics();
    return [histogram('bosun_http_request_duration_seconds', 'of requests', [this.durations.sample()])];
  }
}

class Broken extends Asked {
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

test('requests of all services are counted; one without metrics disturbs nobody', async () => {
  const [one, two] = [new Served({ name: 'one' }), new Served({ name: 'two' })];
  const observer = new Observer({});
  await using _daemon = await entrypoint([one, two, new Broken({}), observer], quiet);
  const { counter } = observer;
  one.durations.observe(5);
  const before = counter?.read();
  for (let i = 0; i < 100; i++) (i % 2 === 0 ? one : two).durations.observe(0.05);
  const now = counter?.read();
  if (before === undefined || now === undefined) throw new Error('the observer has not started');
  const { requestsPerSecond, requestP99Ms } = requestFigures(before, now, 2_000);
  expect(requestsPerSecond).toBe(50);
  expect(requestP99Ms).toBeCloseTo(99);
  expect(requestFigures(now, now, 2_000)).toEqual({ requestsPerSecond: 0, requestP99Ms: null });
});

test('a service that counts no requests is asked once', async () => {
  const [served, other] = [new Served({}), new Asked({})];
  const observer = new Observer({});
  await using _daemon = await entrypoint([served, other, observer], quiet);
  for (let i = 0; i < 3; i++) observer.counter?.read();
  expect(served.asked).toBe(3);
  expect(other.asked).toBe(1);
});
