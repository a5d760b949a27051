/** How values change from one point to the next. */
export interface Slope {
  /** Theil–Sen's estimate (Sen, 1968): the median of the slopes between all pairs of points. */
  readonly perStep: number;
  /** The ends of its 95 % confidence interval. */
  readonly low: number;
  readonly high: number;
}

const CERTAIN_DEVIATIONS = 1.96;

/** Of values that were taken at equal distances. */
export function slopeOf(values: readonly number[]): Slope {
  const n = values.length;
  const slopes: number[] = [];
  for (const [i, a] of values.entries()) {
    for (let j = i + 1; j < n; j++) slopes.push(((values[j] as number) - a) / (j - i));
  }
  slopes.sort((a, b) => a - b);
  const at = (rank: number) => slopes[Math.min(slopes.length - 1, Math.max(0, Math.round(rank)))] as number;
  const middle = (slopes.length - 1) / 2;
  const spread = (CERTAIN_DEVIATIONS * Math.sqrt((n * (n - 1) * (2 * n + 5)) / 18)) / 2;
  return {
    perStep: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    low: at(middle - spread),
    high: at(middle + spread),
  };
}
