import type { IncomingMessage } from 'node:http';
import { FakeClock, settle } from 'bosun/testing';
import { expect, test } from 'vitest';
import { Guard } from '../../src/control/thread/guard.ts';

const never = new AbortController().signal;

/** A guard, and those who ask it with a token. */
function guarded() {
  const clock = new FakeClock();
  const guard = new Guard({ token: 'secret', host: '127.0.0.1', hosts: [], path: undefined }, clock);
  const ask = (token: string, signal = never) => {
    const request = {
      headers: { host: '127.0.0.1', authorization: `Bearer ${token}` },
      method: 'GET',
      httpVersion: '1.1',
      socket: { localAddress: '127.0.0.1' },
    } as unknown as IncomingMessage;
    return guard.admit(request, ['api', 'status'], signal).catch(({ code }) => code);
  };
  /** When the guess is answered. */
  const guess = (signal?: AbortSignal) =>
    ask('guess', signal).then((code) => {
      expect(code).toBe('ERR_UNAUTHORIZED');
      return clock.now();
    });
  return { clock, ask, guess };
}

test('guesses are answered 100 ms apart, from wherever they come', async () => {
  const { clock, guess } = guarded();
  const together = Array.from({ length: 10 }, () => guess());
  await clock.advance(1_000);
  expect(await Promise.all(together)).toEqual([100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000]);
  await clock.advance(9_000);
  const later = guess();
  await clock.advance(100);
  expect(await later).toBe(10_100);
});

test('no guess waits for longer than 5 s', async () => {
  const { clock, guess } = guarded();
  const together = Array.from({ length: 100 }, () => guess());
  await clock.advance(5_000);
  const at = await Promise.all(together);
  expect(at[49]).toBe(5_000);
  expect(at.slice(50)).toEqual(new Array(50).fill(5_000));
});

test('who knows the token waits for nobody', async () => {
  const { clock, ask, guess } = guarded();
  const guesses = Array.from({ length: 10 }, () => guess());
  expect(await ask('secret')).toBe(true);
  expect(clock.now()).toBe(0);
  await clock.advance(1_000);
  await Promise.all(guesses);
});

test('who goes before the answer has guessed all the same, and leaves no timer', async () => {
  const { clock, guess } = guarded();
  const gone = new AbortController();
  const first = guess(gone.signal);
  await settle();
  gone.abort();
  expect(await first).toBe(0);
  expect(clock.pending).toBe(0);
  const second = guess();
  await clock.advance(200);
  expect(await second).toBe(200);
});
