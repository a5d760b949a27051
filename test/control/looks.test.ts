import { describe, expect, test } from 'vitest';
import { type Look, Looks } from '../../src/control/thread/looks.ts';

interface Seen {
  readonly turn?: number;
  readonly service?: string;
  /** The innermost first; `node:x` is Node's own. */
  readonly stack?: readonly string[];
  readonly inNative?: boolean;
}

const look = (at: number, { turn = 7, service, stack = ['work'], inNative = false }: Seen): Look => ({
  at,
  turn,
  service,
  inNative,
  stack: stack.map((name) => ({
    name,
    file: name.startsWith('node:') ? name : '/app/a.ts',
    line: at,
    column: 1,
  })),
});

const api = { turn: 1, service: 'api' };
const jobs = { turn: 2, service: 'jobs' };

/** What is said at `end` of a time that began at 0. */
function verdict(end: number, ...seen: readonly (readonly [at: number, seen: Seen])[]) {
  const looks = new Looks(0);
  for (const [at, what] of seen) looks.add(look(at, what));
  const said = looks.verdict(end);
  if (said === undefined) return undefined;
  const { at, service, stack } = said.look;
  return { certain: said.certain, at, service, top: stack[0]?.name };
}

test('nothing was seen', () => {
  expect(verdict(500)).toBeUndefined();
});

test('what was seen once is only what was seen last', () => {
  expect(verdict(140, [50, api])).toMatchObject({ certain: false, service: 'api' });
  expect(verdict(140, [50, api], [100, jobs])).toMatchObject({ certain: false, service: 'jobs' });
});

test('what was seen twice in the same callback is certain, from then on', () => {
  expect(verdict(100, [50, api], [100, api])).toMatchObject({ certain: true, service: 'api' });
});

test('a later callback does not replace one that was seen for longer', () => {
  const long = [50, 100, 150, 200, 250, 300, 350].map((at) => [at, api] as const);
  expect(verdict(460, ...long, [400, jobs], [450, jobs])).toMatchObject({ certain: true, service: 'api' });
});

test('a callback that is seen for longer than those before is it', () => {
  expect(verdict(300, [50, api], [100, api], [150, jobs], [200, jobs], [250, jobs])).toMatchObject({
    certain: true,
    service: 'jobs',
  });
});

describe('it is not certain when what went unseen may have been longer', () => {
  test('before the first look', () => {
    expect(verdict(360, [300, jobs], [350, jobs])).toMatchObject({ certain: false });
    expect(verdict(550, [300, jobs], [350, jobs], [500, jobs])).toMatchObject({ certain: true });
  });

  test('in native code, which answers when it has come back', () => {
    const back = { ...jobs, inNative: true };
    expect(verdict(500, [50, api], [400, back], [450, jobs])).toMatchObject({ certain: false });
    // The same callback before and after it.
    expect(verdict(450, [50, api], [400, { ...api, inNative: true }])).toMatchObject({
      certain: true,
      service: 'api',
    });
  });

  test('after the last look', () => {
    expect(verdict(500, [50, api], [100, api])).toMatchObject({ certain: false });
  });
});

describe('promise reactions, which have no id, are told apart', () => {
  const reaction = { turn: 0, service: 'api', stack: ['spin', 'onOrder', 'node:task'] };
  test('by the outermost function', () => {
    const other = { ...reaction, stack: ['spin', 'onPrice', 'node:task'] };
    expect(verdict(100, [50, reaction], [100, { ...reaction, stack: ['sum', 'onOrder'] }])).toMatchObject({
      certain: true,
    });
    expect(verdict(100, [50, reaction], [100, other])).toMatchObject({ certain: false });
  });

  test('by the service', () => {
    expect(verdict(100, [50, reaction], [100, { ...reaction, service: 'jobs' }])).toMatchObject({
      certain: false,
    });
  });
});

test('of a callback the function is shown that was seen for longest, as it was seen last', () => {
  const slow = { ...api, stack: ['node:buffer', 'slow'] };
  const quick = { ...api, stack: ['quick'] };
  expect(verdict(300, [50, quick], [100, slow], [150, slow], [250, quick])).toMatchObject({
    at: 150,
    top: 'node:buffer',
  });
});
