import type { IncomingMessage } from 'node:http';
import { FakeClock } from 'bosun/testing';
import { expect, test } from 'vitest';
import { Guard } from '../../src/control/thread/guard.ts';

const token = 'a-token-of-the-tests';

/** One who guesses, by a clock of its own. */
function guessing() {
  const clock = new FakeClock();
  const guard = new Guard({ token, host: '127.0.0.1', hosts: [], path: undefined }, clock);
  const answers: string[] = [];
  const guess = (given = 'guess', signal = new AbortController().signal) => {
    const headers = { host: 'localhost', authorization: `Bearer ${given}` };
    const request = { headers, socket: {}, httpVersion: '1.1', method: 'GET' } as IncomingMessage;
    return guard.admit(request, ['api', 'status'], signal).then(
      () => void answers.push('200'),
      ({ status, headers: { 'retry-after': after } }) =>
        void answers.push(after === undefined ? `${status}` : `${status} ${after}`),
    );
  };
  return { clock, answers, guess };
}

test('wrong tokens are answered 100 ms apart; from the 51st that waits on, at once', async () => {
  const { clock, answers, guess } = guessing();
  for (let i = 0; i < 60; i++) void guess();
  await clock.advance(0);
  expect(answers).toEqual(Array.from({ length: 10 }, () => '429 5'));
  answers.length = 0;
  await clock.advance(100);
  expect(answers).toEqual(['401']);
  await clock.advance(4_899);
  expect(answers).toHaveLength(49);
  await clock.advance(1);
  expect(answers).toEqual(Array.from({ length: 50 }, () => '401'));
});

test('the right one waits for none of them', async () => {
  const { clock, answers, guess } = guessing();
  for (let i = 0; i < 60; i++) void guess();
  await guess(token);
  expect(answers).toContain('200');
  expect(answers).not.toContain('401');
  await clock.advance(5_000);
});

test('those who go before they are answered have guessed all the same, but hold up nobody for longer', async () => {
  const { clock, answers, guess } = guessing();
  const gone = new AbortController();
  for (let i = 0; i < 1_000; i++) void guess('guess', gone.signal);
  gone.abort();
  await clock.advance(0);
  answers.length = 0;
  await guess();
  expect(answers).toEqual(['429 5']);
  await clock.advance(100);
  void guess();
  await clock.advance(5_000);
  expect(answers).toEqual(['429 5', '401']);
});
