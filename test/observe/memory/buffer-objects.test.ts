import { heap } from '@datadog/pprof';
import { expect, test } from 'vitest';
import { bufferObjects, buffersAmong } from '../../../src/observe/memory/buffer-objects.ts';

const objects = { memoryBytes: 88, viewBytes: 96 };
const [memory, view, other] = [88, 96, 40].map((sizeBytes) => ({ sizeBytes, count: 10 })) as [
  Sized,
  Sized,
  Sized,
];
type Sized = { readonly sizeBytes: number; readonly count: number };

test('the objects of a buffer are those that V8 makes for one', () => {
  const found = bufferObjects(heap);
  expect(found?.memoryBytes).toBeGreaterThan(40);
  expect(found?.viewBytes).toBeGreaterThan(40);
  expect(found?.memoryBytes).not.toBe(found?.viewBytes);
});

test.each([
  ['both objects of a buffer', 'mine', '/app.js', [memory, view, other], 10],
  [
    'an object of the size of its memory, in a function that makes other things too',
    'mine',
    '/app.js',
    [memory, other],
    0,
  ],
  [
    'its memory, made by Node’s functions for that',
    'createUnsafeBuffer',
    'node:internal/buffer',
    [memory],
    10,
  ],
  ['its memory, made by V8’s functions for that', 'Uint8Array', '', [memory], 10],
  ['its memory, made by a function of that name', 'Uint8Array', '/app.js', [memory], 0],
  ['its memory, made by another function of V8', 'Array', '', [memory], 0],
  ['views into the memory of others', 'FastBuffer', 'node:internal/buffer', [view], 0],
])('counted as buffers are: %s', (_, name, file, bySize, expected) => {
  const stack = { frame: { name, file, line: 1, column: 1 }, caller: undefined };
  expect(buffersAmong(stack, bySize, objects)).toBe(expected);
});
