import { expect, test } from 'vitest';
import { Pace } from '../../src/observe/pace.ts';

/** A pace whose time passes by hand. */
function paced() {
  let now = 100;
  const pace = new Pace(() => now);
  const pass = (ms: number) => {
    now += ms;
  };
  return { pace, pass };
}

test('it is time to give way after two milliseconds, and after that anew', async () => {
  const { pace, pass } = paced();
  pass(1.9);
  expect(pace.isDue).toBe(false);
  pass(0.1);
  expect(pace.isDue).toBe(true);
  await pace.giveWay();
  expect(pace.isDue).toBe(false);
});

test('the longest piece counts: not what is waited for, but the piece that is not over yet', async () => {
  const { pace, pass } = paced();
  pass(3);
  const { promise, resolve } = Promise.withResolvers<string>();
  const waiting = pace.away(promise);
  pass(50);
  resolve('read');
  expect(await waiting).toBe('read');
  pass(1);
  expect(pace.longestMs).toBe(3);
  pass(7);
  expect(pace.longestMs).toBe(8);
  pace.restart();
  expect(pace.longestMs).toBe(0);
});

test('what is waited for may fail', async () => {
  const { pace, pass } = paced();
  const waiting = pace.away(Promise.reject(new Error('gone')));
  pass(9);
  await expect(waiting).rejects.toThrow('gone');
  expect(pace.longestMs).toBe(0);
});

test('giving way lets other work of the program run', async () => {
  let ran = false;
  setImmediate(() => {
    ran = true;
  });
  await new Pace().giveWay();
  expect(ran).toBe(true);
});
