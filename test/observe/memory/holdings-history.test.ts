import { expect, test } from 'vitest';
import { HoldingsHistory } from '../../../src/observe/memory/holdings-history.ts';
import type { Holdings } from '../../../src/observe/memory/ledger.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Of reports every `everyMs`; `at` says which holdings are whose. */
function historyOf(untilMs: number, everyMs: number) {
  const history = new HoldingsHistory();
  const times = new Map<Holdings, number>();
  for (let at = 0; at <= untilMs; at += everyMs) {
    const holdings: Holdings = { entries: new Map(), unattributedBytes: 0 };
    times.set(holdings, at);
    history.add(at, holdings);
  }
  return (time: number) => {
    const found = history.since(time);
    return found && { before: times.get(found.before), last: times.get(found.last) };
  };
}

test('the holdings of the first minutes are known to two minutes', () => {
  const since = historyOf(13 * MINUTE_MS, 10_000);
  for (let time = 0; time <= 10 * MINUTE_MS; time += MINUTE_MS) {
    const { before = Number.NaN, last } = since(time) ?? {};
    expect(Math.abs(before - time)).toBeLessThanOrEqual(2 * MINUTE_MS);
    expect(last).toBe(13 * MINUTE_MS);
  }
});

test('those of four hours ago are known still, to half an hour', () => {
  const since = historyOf(100 * HOUR_MS, 10_000);
  for (let time = 96 * HOUR_MS; time < 99 * HOUR_MS; time += 17 * MINUTE_MS) {
    expect(Math.abs((since(time)?.before ?? 0) - time)).toBeLessThanOrEqual(HOUR_MS / 2);
  }
});

test('nothing is known of what was since when there is no report from then on, or none before it', () => {
  expect(historyOf(-1, HOUR_MS)(0)).toBeUndefined();
  expect(historyOf(0, HOUR_MS)(-5)).toBeUndefined();
  const hourly = historyOf(3 * HOUR_MS, HOUR_MS);
  expect(hourly(3 * HOUR_MS)).toBeUndefined();
  expect(hourly(2.9 * HOUR_MS)).toEqual({ before: 2 * HOUR_MS, last: 3 * HOUR_MS });
});
