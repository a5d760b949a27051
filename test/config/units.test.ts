import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { duration, size, unitOf } from '../../src/config/units.ts';

describe('durations', () => {
  it.each([
    ['250ms', 250],
    ['30s', 30_000],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    ['1.5s', 1_500],
    ['1500', 1_500],
    ['0', 0],
    ['infinity', Number.POSITIVE_INFINITY],
  ])('reads %s as %d ms', (text, expected) => {
    expect(duration.parse(text)).toBe(expected);
  });

  it.each(['', 's', '30 s', '30sec', '-5s', '5s1m', '1m1m', '1e3', '30S', 'Infinity', '.5s', '5.s'])(
    'does not take %j',
    (text) => {
      expect(duration.parse(text)).toBeUndefined();
    },
  );

  it('reads back what it writes', () => {
    fc.assert(
      fc.property(fc.nat({ max: 10 ** 12 }), (amount) => {
        expect(duration.parse(duration.format(amount))).toBe(amount);
      }),
    );
    expect(duration.parse(duration.format(Number.POSITIVE_INFINITY))).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('sizes', () => {
  it.each([
    ['512', 512],
    ['10kB', 10_000],
    ['64MiB', 67_108_864],
    ['64 MiB', 67_108_864],
    ['1.5KiB', 1_536],
    ['1GiB', 1_073_741_824],
    ['3B', 3],
    ['infinity', Number.POSITIVE_INFINITY],
  ])('reads %s as %d bytes', (text, expected) => {
    expect(size.parse(text)).toBe(expected);
  });

  it.each(['', '64M', '64mib', '10KB', '-1', '1 2', 'MiB', '64MiB '])('does not take %j', (text) => {
    expect(size.parse(text)).toBeUndefined();
  });

  it('reads back what it writes', () => {
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 31 }), (amount) => {
        expect(size.parse(size.format(amount))).toBe(amount);
      }),
    );
    expect(size.format(8 * 1024 * 1024)).toBe('8MiB');
  });
});

it('takes the unit from the end of a name that has more to it', () => {
  expect([unitOf('intervalMs'), unitOf('maxBytes'), unitOf('Ms'), unitOf('items')]).toEqual([
    duration,
    size,
    undefined,
    undefined,
  ]);
});
