import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatTrend, type Trend, TrendDetector } from '../../../src/observe/memory/trend.ts';

const MIB = 2 ** 20;
const MINUTE_MS = 60_000;

/** Numbers in [0, 1) that look random and are the same every time. */
function noise(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** The trends told while collections see what `live` says, every `everyMs`. */
function watch(
  minutes: number,
  live: (minute: number) => number,
  { everyMs = 5_000, warmUpMs = 3 * MINUTE_MS } = {},
): (Trend & { readonly minute: number })[] {
  const detector = new TrendDetector({ from: warmUpMs });
  const told: (Trend & { readonly minute: number })[] = [];
  for (let at = 0; at <= minutes * MINUTE_MS; at += everyMs) {
    const trend = detector.add(at, live(at / MINUTE_MS));
    if (trend !== undefined) told.push({ ...trend, minute: at / MINUTE_MS });
  }
  return told;
}

const seeds = fc.integer({ min: 1, max: 2 ** 31 });

describe('the trend of the live heap', () => {
  test('is none in the first half hour of a healthy daemon that warms up and has a sawtooth', () => {
    fc.assert(
      fc.property(
        seeds,
        fc.double({ min: 0.05, max: 3, noNaN: true }),
        fc.double({ min: 0, max: 40, noNaN: true }),
        fc.double({ min: 0.5, max: 4, noNaN: true }),
        (seed, warmUpMinutes, sawtoothMib, periodMinutes) => {
          const random = noise(seed);
          const told = watch(30, (minute) => {
            const warm = 30 * (1 - Math.exp(-minute / warmUpMinutes));
            const tooth = sawtoothMib * ((minute / periodMinutes) % 1);
            return (60 + warm + tooth + 3 * random()) * MIB;
          });
          expect(told).toEqual([]);
        },
      ),
      {
        seed: 1,
        numRuns: 200,
        // Teeth of about seven collections each.
        examples: [
          [803756133, 0.7518158315961234, 40, 0.581400436209661],
          [1117873900, 1.223984075507069, 40, 0.581497200680744],
        ],
      },
    );
  });

  test('is none in a day of a heap that only moves about', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const random = noise(seed);
        const told = watch(24 * 60, (minute) => (200 + 20 * Math.sin(minute / 7) + 30 * random()) * MIB, {
          everyMs: 60_000,
        });
        expect(told).toEqual([]);
      }),
      { seed: 1, numRuns: 30 },
    );
  });

  test('is told of a leak in noise, with its rate', () => {
    fc.assert(
      fc.property(
        seeds,
        fc.double({ min: 60, max: 5_000, noNaN: true }),
        fc.double({ min: 0, max: 10, noNaN: true }),
        (seed, mibPerHour, noiseMib) => {
          const random = noise(seed);
          const told = watch(60, (minute) => (80 + (mibPerHour * minute) / 60 + noiseMib * random()) * MIB);
          expect(told.length).toBeGreaterThan(0);
          const [first] = told;
          expect(first?.mibPerHour).toBeGreaterThan(mibPerHour * 0.5);
          expect(first?.mibPerHour).toBeLessThan(mibPerHour * 2);
          expect(first?.confidence).toBeGreaterThan(0.999);
          expect(first?.confidence).toBeLessThanOrEqual(1);
        },
      ),
      { seed: 1, numRuns: 25 },
    );
  });

  test('is told once, and again when what is held has doubled', () => {
    const told = watch(180, (minute) => (50 + minute) * MIB);
    const [first, second] = told.map(({ minute }) => minute);
    expect(told).toHaveLength(2);
    // After the warm-up and ten minutes; and when 63 MiB have become 126.
    expect(first).toBeCloseTo(13.25, 0);
    // The level is that of some points before.
    expect(50 + (second ?? 0)).toBeCloseTo(2 * (50 + (first ?? 0)), -1);
  });

  test('is told again when the rate has doubled', () => {
    const told = watch(60, (minute) => (1_000 + 10 * minute + (minute > 20 ? 40 * (minute - 20) : 0)) * MIB);
    expect(told.length).toBeGreaterThan(1);
    for (const [index, { mibPerHour }] of told.slice(1).entries()) {
      expect(mibPerHour).toBeGreaterThanOrEqual(2 * (told[index]?.mibPerHour ?? 0));
    }
  });

  test('is told of a leak that begins after a calm day', () => {
    const random = noise(1);
    const day = 24 * 60;
    const told = watch(day + 8 * 60, (minute) => (200 + 10 * random() + Math.max(0, minute - day)) * MIB, {
      everyMs: 60_000,
    });
    expect(told.length).toBeGreaterThan(0);
    const [{ minute, since } = { minute: 0, since: 0 }] = told;
    expect(minute).toBeGreaterThan(day);
    expect(since / MINUTE_MS).toBeGreaterThan(day - 4 * 60);
    expect(since / MINUTE_MS).toBeLessThan(minute);
  });

  test.each([0, 3, 6, 9, 12, 15, 18, 21])(
    'is none in the load of a day that began at %d h, once a day has been seen',
    (hour) => {
      const random = noise(hour + 1);
      const load = (minute: number) => Math.sin((minute / 60 + hour) * (Math.PI / 12));
      const told = watch(3 * 24 * 60, (minute) => (300 + 100 * load(minute) + 20 * random()) * MIB, {
        everyMs: 60_000,
      });
      // Where the load was highest first, not even before.
      const from = hour > 3 && hour < 9 ? 0 : 24 * 60;
      expect(told.filter(({ minute }) => minute > from)).toEqual([]);
    },
  );

  test('is told below the load of a day, when it exceeds that of the day before', () => {
    const random = noise(1);
    const told = watch(
      2 * 24 * 60,
      (minute) => (300 + minute / 6 - 100 * Math.cos(minute * (Math.PI / 720)) + 20 * random()) * MIB,
      { everyMs: 60_000 },
    );
    expect(told.some(({ minute }) => minute > 24 * 60)).toBe(true);
  });

  test('is told anew of a leak that was let go all at once, each time', () => {
    const random = noise(1);
    // 100 MiB an hour, for eight hours each.
    const told = watch(3 * 24 * 60, (minute) => (100 + 100 * ((minute / 60) % 8) + 10 * random()) * MIB, {
      everyMs: 30_000,
    });
    for (let hour = 0; hour < 72; hour += 8) {
      const first = told.find(({ minute }) => minute / 60 > hour);
      expect((first?.minute ?? Number.NaN) / 60).toBeLessThan(hour + 1);
    }
    // Each doubles some times.
    expect(told.length).toBeLessThan(9 * 4);
  });

  test('is told anew when it had not been seen for as long as is looked at', () => {
    const hours = (minute: number) => minute / 60;
    // Nobody comes at night.
    const told = watch(
      20 * 60,
      (minute) => (2_000 + 60 * (Math.min(4, hours(minute)) + Math.max(0, hours(minute) - 14))) * MIB,
      { everyMs: 30_000 },
    );
    const [first, second] = told.map(({ minute }) => hours(minute));
    expect(first).toBeLessThan(4);
    expect(second).toBeGreaterThan(14);
    expect(told).toHaveLength(2);
  });

  test('is not told again for single readings', () => {
    const told = watch(40, (minute) => (50 + minute + (minute > 20 && minute % 0.25 === 0 ? 100 : 0)) * MIB);
    expect(told).toHaveLength(1);
  });

  test('is not told of a single jump', () => {
    expect(watch(60, (minute) => (minute < 20 ? 100 : 180) * MIB)).toEqual([]);
  });

  test('is not told of growth that is too small to matter', () => {
    expect(watch(60, (minute) => (500 + minute / 100) * MIB)).toEqual([]);
  });

  test('is not told before the warm-up is over', () => {
    const told = watch(60, (minute) => (50 + 10 * minute) * MIB, { warmUpMs: 30 * MINUTE_MS });
    expect(told[0]?.minute).toBeGreaterThan(35);
    expect(told[0]?.since).toBeGreaterThanOrEqual(30 * MINUTE_MS);
  });

  test('counts the warm-up from the start, not from the first collection', () => {
    const told = watch(30, (minute) => (50 + 10 * minute) * MIB, { warmUpMs: -20 * MINUTE_MS });
    expect(told[0]?.minute).toBeLessThan(12);
  });

  test('is looked for in a bounded number of points, however often there are collections', () => {
    const detector = new TrendDetector({ from: 0 });
    const begun = performance.now();
    for (let at = 0; at < 48 * 60 * MINUTE_MS; at += 1_000) detector.add(at, 100 * MIB);
    // Without a bound, 11 520 points would be compared in pairs each time: minutes.
    expect(performance.now() - begun).toBeLessThan(15_000);
  });
});

test.each([
  [0.9999, '99.99'],
  [0.99999999, '99.99'],
  [1, '99.99'],
  [0.98768, '98.76'],
])('a trend as text never is more certain than it is: %d', (confidence, percent) => {
  expect(formatTrend({ since: 0, mibPerHour: 57.34, confidence })).toBe(
    `the memory grows by 57.3 MiB an hour (confidence > ${percent} %)`,
  );
});
