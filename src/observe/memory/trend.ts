import { Series } from './series.ts';

/** What the size of the live heap tells over time. */
export interface Trend {
  /** Since when, in milliseconds since the epoch. */
  readonly since: number;
  readonly mibPerHour: number;
  /** From 0 to 1: how sure it is that it grows. */
  readonly confidence: number;
}

/** Options of `TrendDetector`. */
export interface TrendOptions {
  /** What is seen before does not count, in milliseconds since the epoch. */
  readonly from: number;
}

interface Point {
  /** When its span began. */
  readonly at: number;
  /** The smallest size seen in it. */
  readonly bytes: number;
  /** The largest one. */
  readonly topBytes: number;
}

const MIB = 2 ** 20;
const HOUR_MS = 3_600_000;

/** The time that is looked at grows to four hours. */
const FIRST_SPAN_MS = 15_000;
const MAX_SPAN_MS = 240_000;
const MAX_POINTS = 60;

/** What was before is remembered for a day more. */
const PEAK_SPAN_MS = 1_800_000;
const MAX_PEAKS = 57;

/** Below these there is no saying. */
const MIN_POINTS = 12;
const MIN_WINDOW_MS = 600_000;
const MIN_CONFIDENCE = 0.9999;

/** Growth that is worth a warning: above all of these. */
const MIN_GROWTH_BYTES = 4 * MIB;
const MIN_GROWTH_SHARE = 0.05;
const MIN_GROWTH_PER_DEVIATION = 3;

/**
 * The floor of a sawtooth seems to rise slowly when collections come at almost the same points of each tooth. So it has
 * to rise by this share of what the size moves about within a span, too.
 */
const MIN_GROWTH_PER_SWING = 0.5;

/**
 * A heap that still fills its caches grows ever more slowly. In the second half it has to grow, with 95 % certainty, by
 * more than this share of what it grew by in the first, and over all.
 */
const MIN_STEADINESS = 0.6;
const CERTAIN_DEVIATIONS = 1.645;

/** What is let go at times is no leak: the floor has to rise by so much of the growth, from each third to the next. */
const MIN_RISE = 0.15;

/** How often growth has to double until it is told again. */
const AGAIN_FACTOR = 2;

/**
 * The load of a day looks like a leak in the morning. So growth has to exceed by so much of itself what was there the
 * day before.
 */
const MIN_EXCESS = 0.5;

/** What has fallen by so much of the growth that was told was let go. */
const FALLEN = 0.5;

/** The level of the heap is the median of so many points. */
const LEVEL_POINTS = 5;

/** The highest level of a span. */
interface Peak {
  readonly at: number;
  readonly bytes: number;
}

/** A trend that was told. */
interface Told {
  readonly mibPerHour: number;
  /** The levels: when it was told, before the growth, and the highest since. */
  readonly bytes: number;
  readonly baseBytes: number;
  topBytes: number;
  /** When the trend was last seen. */
  seenAt: number;
}

/**
 * Tells a leak from noise by what is left after each collection of the whole heap. Mann-Kendall's test (H. B. Mann,
 * "Nonparametric tests against trend", 1945; M. G. Kendall, 1975) says whether it grows at all, Theil-Sen's slope (P. K.
 * Sen, 1968) how fast: both look at pairs of points, so that single outliers count for little.
 */
export class TrendDetector {
  readonly #from: number;
  readonly #points = new Series<Point>({
    firstSpanMs: FIRST_SPAN_MS,
    maxSpanMs: MAX_SPAN_MS,
    maxItems: MAX_POINTS,
    merge: (a, b) => ({
      at: a.at,
      bytes: Math.min(a.bytes, b.bytes),
      topBytes: Math.max(a.topBytes, b.topBytes),
    }),
  });
  readonly #peaks = new Series<Peak>({
    firstSpanMs: PEAK_SPAN_MS,
    maxSpanMs: PEAK_SPAN_MS,
    maxItems: MAX_PEAKS,
    merge: (a, b) => ({ at: a.at, bytes: Math.max(a.bytes, b.bytes) }),
  });
  #told: Told | undefined;

  constructor({ from }: TrendOptions) {
    this.#from = from;
  }

  /** What is live at a time, in milliseconds since the epoch. Returns the trend when it is one to warn of. */
  add(at: number, bytes: number): Trend | undefined {
    if (at < this.#from) return undefined;
    const trend = this.#points.begins(at) ? this.#look(at) : undefined;
    this.#points.add({ at, bytes, topBytes: bytes });
    return trend;
  }

  /** What the points tell that are whole. */
  #look(at: number): Trend | undefined {
    const points = this.#points.items;
    const level = levelOf(points);
    if (level === undefined) return undefined;
    this.#peaks.add({ at, bytes: level });
    this.#forget(level);
    const growth = growthOf(this.#points.items);
    if (growth === undefined) return undefined;
    const { since, bytesPerMs, bytes, confidence } = growth;
    if (this.#told !== undefined) this.#told.seenAt = at;
    const mibPerHour = (bytesPerMs * HOUR_MS) / MIB;
    if (level < this.#peakBefore(since) + MIN_EXCESS * bytes || !this.#isNews(mibPerHour, level)) {
      return undefined;
    }
    this.#told = { mibPerHour, bytes: level, baseBytes: level - bytes, topBytes: level, seenAt: at };
    return { since, mibPerHour, confidence };
  }

  /** What was told is news again when it was let go, or has not been seen for as long as is looked at. */
  #forget(level: number): void {
    const told = this.#told;
    if (told === undefined) return;
    told.topBytes = Math.max(told.topBytes, level);
    const { topBytes, baseBytes, seenAt } = told;
    const fallBytes = FALLEN * (topBytes - baseBytes);
    const points = this.#points.items;
    const [first] = points;
    if (topBytes - level >= fallBytes) {
      this.#told = undefined;
      // Let go all at once: it begins anew. What falls slowly, as load does in the evening, may rise again.
      const before = levelOf(points.slice(0, -LEVEL_POINTS));
      if (before !== undefined && before - level >= fallBytes) {
        this.#points.clear();
        this.#peaks.clear();
      }
    } else if (first !== undefined && seenAt < first.at) {
      this.#told = undefined;
    }
  }

  #peakBefore(since: number): number {
    const before = this.#peaks.items.filter(({ at }) => at + PEAK_SPAN_MS <= since);
    return Math.max(0, ...before.map(({ bytes }) => bytes));
  }

  #isNews(mibPerHour: number, bytes: number): boolean {
    const told = this.#told;
    return (
      told === undefined || bytes >= told.bytes * AGAIN_FACTOR || mibPerHour >= told.mibPerHour * AGAIN_FACTOR
    );
  }
}

export function formatTrend({ mibPerHour, confidence }: Trend): string {
  // Rounded down, and never 100 %.
  const percent = Math.min(9_999, Math.floor(confidence * 10_000)) / 100;
  return `the memory grows by ${mibPerHour.toFixed(1)} MiB an hour (confidence > ${percent.toFixed(2)} %)`;
}

/** Growth that is worth a warning. */
interface Growth {
  readonly since: number;
  readonly bytesPerMs: number;
  readonly bytes: number;
  readonly confidence: number;
}

function growthOf(points: readonly Point[]): Growth | undefined {
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined || points.length < MIN_POINTS) return undefined;
  const windowMs = last.at - first.at;
  if (windowMs < MIN_WINDOW_MS) return undefined;
  const confidence = confidenceOf(points);
  if (confidence < MIN_CONFIDENCE) return undefined;
  const slope = median(slopesOf(points));
  const growth = slope * windowMs;
  const level = median(points.map(({ bytes }) => bytes));
  if (growth < Math.max(MIN_GROWTH_BYTES, MIN_GROWTH_SHARE * level)) return undefined;
  if (growth < MIN_GROWTH_PER_DEVIATION * deviationOf(points, slope)) return undefined;
  const swing = median(points.map(({ bytes, topBytes }) => topBytes - bytes));
  if (growth < MIN_GROWTH_PER_SWING * swing) return undefined;
  if (leastRise(points) < MIN_RISE * growth) return undefined;
  const half = points.length >> 1;
  const early = median(slopesOf(points.slice(0, half)));
  if (lowestSlope(points.slice(half)) < MIN_STEADINESS * Math.max(early, slope)) return undefined;
  return { since: first.at, bytesPerMs: slope, bytes: growth, confidence };
}

/** Where the heap is now; `undefined`: not known yet. */
function levelOf(points: readonly Point[]): number | undefined {
  const latest = points.slice(-LEVEL_POINTS);
  return latest.length < LEVEL_POINTS ? undefined : median(latest.map(({ bytes }) => bytes));
}

/** The slopes between all pairs, in bytes per millisecond; their median is Theil-Sen's slope. */
function slopesOf(points: readonly Point[]): number[] {
  const slopes: number[] = [];
  forPairs(points, (a, b) => slopes.push((b.bytes - a.bytes) / (b.at - a.at)));
  return slopes;
}

/** The lower end of the slope's confidence interval (Sen, 1968). */
function lowestSlope(points: readonly Point[]): number {
  const slopes = slopesOf(points).toSorted((a, b) => a - b);
  const rank = (slopes.length - CERTAIN_DEVIATIONS * deviationOfRises(points.length)) / 2;
  return slopes[Math.max(0, Math.floor(rank))] ?? 0;
}

/** By how much the least of each third exceeds that of the third before, at the least. */
function leastRise(points: readonly Point[]): number {
  const third = Math.floor(points.length / 3);
  const floorOf = (from: number, to?: number) =>
    Math.min(...points.slice(from, to).map(({ bytes }) => bytes));
  const middle = floorOf(third, -third);
  return Math.min(middle - floorOf(0, third), floorOf(-third) - middle);
}

/** How far the points are off the slope: the standard deviation by the median absolute one. */
function deviationOf(points: readonly Point[], slope: number): number {
  const rests = points.map(({ at, bytes }) => bytes - slope * at);
  const middle = median(rests);
  return 1.4826 * median(rests.map((rest) => Math.abs(rest - middle)));
}

/** Mann-Kendall: the probability that points without a trend rise less often than these. */
function confidenceOf(points: readonly Point[]): number {
  let rises = 0;
  forPairs(points, (a, b) => {
    rises += Math.sign(b.bytes - a.bytes);
  });
  return rises <= 0 ? 0 : normal((rises - 1) / deviationOfRises(points.length));
}

/** The standard deviation of Mann-Kendall's sum for `n` points without a trend. */
const deviationOfRises = (n: number) => Math.sqrt((n * (n - 1) * (2 * n + 5)) / 18);

function forPairs(points: readonly Point[], visit: (a: Point, b: Point) => void): void {
  for (const [index, a] of points.entries()) {
    for (const b of points.slice(index + 1)) visit(a, b);
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/** The standard normal distribution (Abramowitz and Stegun, 26.2.17; exact to 7.5e-8), for z of at least 0. */
function normal(z: number): number {
  const t = 1 / (1 + 0.2316419 * z);
  const polynomial =
    t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return 1 - (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * polynomial;
}
