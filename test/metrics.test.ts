import { describe, expect, it } from 'vitest';
import { Histogram } from '../src/metrics.ts';

describe('Histogram', () => {
  it('counts what is at most a bound, and what is above all', () => {
    const histogram = new Histogram([0.1, 1]);
    for (const value of [0.05, 0.1, 0.2, 1, 5]) histogram.observe(value);
    expect(histogram.sample({ route: '/' })).toEqual({
      labels: { route: '/' },
      bounds: [0.1, 1],
      counts: [2, 2, 1],
      sum: 6.35,
    });
  });

  it('gives copies', () => {
    const histogram = new Histogram([1]);
    const before = histogram.sample();
    histogram.observe(0);
    expect(before.counts).toEqual([0, 0]);
  });
});
