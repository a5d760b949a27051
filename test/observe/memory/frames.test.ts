import { expect, test } from 'vitest';
import { Frames } from '../../../src/observe/memory/frames.ts';

const at = (name: string) => ({ name, scriptName: 'a.js', lineNumber: 1, columnNumber: 1 });

test('a function is the same in each profile, also when the oldest ones have to be forgotten', () => {
  const frames = new Frames(2);
  const read = (...names: string[]) => {
    const found: object[] = [];
    frames.during(() => found.push(...names.map((name) => frames.of(at(name)))));
    return found;
  };
  const [a, b] = read('a', 'b');
  expect(read('a', 'c')[0]).toBe(a);
  // There are three by now: `b` is not in use.
  const [again, d] = read('a', 'd');
  expect(again).toBe(a);
  expect(read('b')[0]).not.toBe(b);
  expect(read('d')[0]).toBe(d);
});

test('what V8 does not say is empty', () => {
  expect(new Frames().of({ scriptName: '' })).toEqual({ name: '', file: '', line: 0, column: 0 });
});
