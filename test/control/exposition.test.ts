import { randomUUID } from 'node:crypto';
import { counter, entrypoint, gauge, Histogram, histogram, type Metric } from 'bosun';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { Collector } from '../../src/control/collect.ts';
import type { Collected } from '../../src/control/collected.ts';
import { FamilyTable } from '../../src/control/family-table.ts';
import { Heartbeat } from '../../src/control/heartbeat.ts';
import { LoopMeter } from '../../src/control/loop-meter.ts';
import { NoAnswerError, RemoteError } from '../../src/control/rpc.ts';
import { expose } from '../../src/control/thread/exposition.ts';
import { metrics } from '../../src/control/thread/metrics.ts';
import { Samples } from '../../src/control/thread/samples.ts';
import { Observer, Scrape } from '../support/metrics.ts';

function collected(given: readonly Metric[]): Collected {
  const table = new FamilyTable(() => {});
  table.add(given, 'a');
  return { at: 0, families: table.families };
}

/** What the samples of a family may be called, by its type. */
const suffixes = {
  prometheus: { counter: [''], gauge: [''], histogram: ['_bucket', '_sum', '_count'] },
  openmetrics: { counter: ['_total'], gauge: [''], histogram: ['_bucket', '_sum', '_count'] },
};

/** The families in the order in which they are written; throws where the text is not as its format has it. */
function familiesOf(body: string, format: 'prometheus' | 'openmetrics'): string[] {
  const families: string[] = [];
  let allowed: string[] = [];
  const lines = body.split('\n');
  if (lines.pop() !== '') throw new Error('the last line does not end');
  if (format === 'openmetrics' && lines.pop() !== '# EOF') throw new Error('the last line is not # EOF');
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i] as string;
    if (line === '' && format === 'prometheus') continue;
    const [, name] = /^# HELP (\S+) /.exec(line) ?? [];
    if (name === undefined) {
      const [, sample = ''] = /^([a-zA-Z_:][\w:]*)[{ ]/.exec(line) ?? [];
      if (!allowed.includes(sample)) throw new Error(`not in ${families.at(-1)}: ${line}`);
      continue;
    }
    if (families.includes(name)) throw new Error(`${name} is there twice`);
    const [, type] = /^# TYPE \S+ (counter|gauge|histogram)$/.exec(lines[++i] ?? '') ?? [];
    if (type === undefined || lines[i] !== `# TYPE ${name} ${type}`) throw new Error(`${name} has no type`);
    families.push(name);
    allowed = suffixes[format][type as Metric['type']].map((suffix) => name + suffix);
  }
  return families;
}

describe.each(['prometheus', 'openmetrics'] as const)('%s', (format) => {
  test('each family is in one piece, with its help and type before it', async () => {
    const durations = new Histogram([1, 2.5]);
    durations.observe(2);
    const given = [
      counter('orders_total', 'Orders "taken".', [{ labels: { x: '1' }, value: 1 }, { value: 2 }]),
      counter('odd', 'A counter without its suffix.', 1),
      gauge('stock', '', [{ value: 1 }, { labels: { depot: 'a\nb' }, value: 2 }]),
      histogram('took_seconds', 'Two\nlines.', [durations.sample(), durations.sample({ x: '1' })]),
      gauge('empty', 'Without samples.', []),
    ];
    const { body } = await expose(collected(given), format, [gauge('own', 'Its own.', 1)]);
    const openMetrics = format === 'openmetrics';
    expect(familiesOf(body, format).filter((name) => !name.startsWith('process_'))).toEqual([
      'bosun_build_info',
      'own',
      openMetrics ? 'orders' : 'orders_total',
      'odd',
      'stock',
      'took_seconds',
    ]);
    const scrape = new Scrape('', body);
    expect(scrape.value('orders_total')).toBe(3);
    expect(scrape.value(openMetrics ? 'odd_total' : 'odd')).toBe(1);
    expect(scrape.value('took_seconds_count', { x: '1' })).toBe(1);
  });

  test('a whole daemon', async () => {
    const observer = new Observer();
    await using _daemon = await entrypoint([observer], { log: { level: 'silent' }, ownsProcess: false });
    expect(familiesOf((await observer.scrape(format)).body, format).length).toBeGreaterThan(20);
  });
});

describe('a scrape writes what has changed since the last one', () => {
  const bucketed = (bounds: number[], counts: number[], labels: Record<string, string> = {}) =>
    histogram('took_seconds', 'Took.', [{ labels, bounds, counts, sum: 2 }]);
  const before = [
    counter('done_total', 'Done.', [{ labels: { kind: 'a' }, value: 1 }]),
    bucketed([1, 2], [1, 1, 0]),
  ];
  const changes: [string, Metric[]][] = [
    ['a value', [counter('done_total', 'Done.', [{ labels: { kind: 'a' }, value: 2 }])]],
    [
      'a value that is none',
      [counter('done_total', 'Done.', [{ labels: { kind: 'a' }, value: Number.NaN }])],
    ],
    ['the value of a label', [counter('done_total', 'Done.', [{ labels: { kind: 'b' }, value: 1 }])]],
    ['the name of a label', [counter('done_total', 'Done.', [{ labels: { sort: 'a' }, value: 1 }])]],
    ['the help', [counter('done_total', 'All done.', [{ labels: { kind: 'a' }, value: 1 }])]],
    ['the type', [gauge('done_total', 'Done.', [{ labels: { kind: 'a' }, value: 1 }])]],
    ['no sample', [counter('done_total', 'Done.', [])]],
    ['another sample', [counter('done_total', 'Done.', [{ labels: { kind: 'a' }, value: 1 }, { value: 1 }])]],
    ['the bounds', [bucketed([1, 3], [1, 1, 0])]],
    ['fewer bounds', [bucketed([1], [1, 1])]],
    ['no bounds', [gauge('took_seconds', 'Took.', 1)]],
    ['the counts', [bucketed([1, 2], [1, 0, 1])]],
    ['the labels of a histogram', [bucketed([1, 2], [1, 1, 0], { kind: 'a' })]],
    ['no family', []],
  ];

  test.each(changes)('%s', async (_what, after) => {
    for (const format of ['prometheus', 'openmetrics'] as const) {
      // Under names of its own, which were never written.
      const own = `${format}_${randomUUID().replaceAll('-', '')}`;
      const written = async (given: readonly Metric[], prefix: string) => {
        const named = given.map((metric) => ({ ...metric, name: `${prefix}_${metric.name}` }));
        const { body } = await expose(collected([...named, gauge(`${prefix}_same`, 'Same.', 1)]), format);
        return body.split('\n').filter((line) => line.includes(own));
      };
      const fresh = (await written(after, `${own}_fresh`)).map((line) => line.replaceAll('_fresh', ''));
      await written(before, own);
      expect(await written(after, own)).toEqual(fresh);
      expect(fresh.length).toBeGreaterThan(2);
    }
  });
});

test('others have their turn between two families when there is much to write', async () => {
  const samples = Array.from({ length: 300 }, (_, i) => ({ labels: { number: `${i}` }, value: i }));
  const given = Array.from({ length: 20 }, (_, i) => gauge(`g_${i}`, 'One of many.', samples));
  let turns = 0;
  let written = false;
  const count = () => {
    turns += 1;
    if (!written) setImmediate(count);
  };
  setImmediate(count);
  await expose(collected(given), 'prometheus');
  written = true;
  expect(turns).toBeGreaterThanOrEqual(20);
});

describe('while the main thread', () => {
  /** What a scrape gives when the main thread does that, after one that it has answered. */
  async function scraped(call: () => Promise<Collected>) {
    const answers = [() => Promise.resolve(collected([gauge('app', 'App.', 7)])), call];
    const main = { call: () => answers.shift()?.() } as unknown as ConstructorParameters<typeof Samples>[0];
    const heartbeat = { blockedMs: 0 } as ConstructorParameters<typeof Samples>[1];
    const plane = { samples: new Samples(main, heartbeat) } as Parameters<typeof metrics>[0];
    const ask = { request: { headers: {} } } as Parameters<typeof metrics>[1];
    await metrics(plane, ask);
    return new Scrape('', String((await metrics(plane, ask)).body));
  }

  test.each([
    ['does not answer', new NoAnswerError('no answer within 1000 ms')],
    [
      'has nobody who collects',
      new RemoteError({ name: 'NotOfferedError', message: 'collect', code: 'ERR_NOT_OFFERED' }),
    ],
    ['fails', new RemoteError({ name: 'TypeError', message: 'it broke', code: undefined })],
  ])('%s, what it said last stands', async (_what, error) => {
    const scrape = await scraped(() => Promise.reject(error));
    expect(scrape.value('app')).toBe(7);
    expect(scrape.value('bosun_scrape_stale_seconds')).toBeGreaterThanOrEqual(0);
  });

  test('is not at fault, the scrape fails', async () => {
    await expect(scraped(() => Promise.reject(new TypeError('it broke')))).rejects.toThrow('it broke');
  });
});

test('that Bosun itself cannot collect is logged once, and thrown each time', async () => {
  const observer = new Observer();
  await using _daemon = await entrypoint([observer], { log: { level: 'silent' }, ownsProcess: false });
  const lines: Record<string, unknown>[] = [];
  const logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const { host } = observer;
  const services = () => {
    throw new Error('broken');
  };
  using heartbeat = new Heartbeat();
  const collector = new Collector(
    { ...host, control: { ...host.control, services }, loggerFor: () => logger },
    new LoopMeter(heartbeat),
  );
  for (let i = 0; i < 2; i++) expect(() => collector.collect()).toThrow('broken');
  collector.close();
  expect(lines).toEqual([expect.objectContaining({ level: 50, msg: 'no metrics could be collected' })]);
});
