import { describe, expect, test } from 'vitest';
import { CallSites } from '../../../src/observe/memory/call-sites.ts';
import type { Allocations, Capture } from '../../../src/observe/memory/heap-sampler.ts';
import { Ledger } from '../../../src/observe/memory/ledger.ts';
import type { Frame } from '../../../src/observe/reports.ts';
import { SourceMaps } from '../../../src/observe/source-maps.ts';

const frame = (name: string, file = '/nowhere/app.js'): Frame => ({ name, file, line: 1, column: 1 });
const [a, b] = [frame('a'), frame('b')];

function capture(arrayBuffers: number, allocations: readonly Allocations[]): Capture {
  const memory = { rss: 0, heapTotal: 0, heapUsed: 0, external: arrayBuffers, arrayBuffers };
  return { at: 0, pauseMs: 0, memory, allocations };
}

/** Buffers that a function holds: 200 bytes each on the heap. */
const buffers = (by: Frame, count: number): Allocations => ({
  stack: { frame: by, caller: undefined },
  bySize: [{ sizeBytes: 200, count }],
  buffers: count,
});

const ledger = (groupBy: 'line' | 'file' | 'stack' = 'line') =>
  new Ledger(new CallSites(new SourceMaps()), groupBy, 1_000);

describe('memory outside the heap', () => {
  test('that has come goes to those who hold more buffers, by how many more', async () => {
    const books = ledger();
    const first = await books.add(capture(1_000, [buffers(a, 10)]));
    const second = await books.add(capture(5_000, [buffers(a, 20), buffers(b, 30)]));
    const rows = await books.rows(second, first, 10);
    expect(rows.map(({ stack, externalBytes }) => [stack[0]?.name, externalBytes])).toEqual([
      ['b', 3_000],
      ['a', 1_000],
    ]);
    expect(rows[0]).toMatchObject({ objects: 30, objectsDiff: 30, bytes: 9_000, bytesDiff: 9_000 });
    expect(rows[1]).toMatchObject({ objects: 20, objectsDiff: 10, bytes: 5_000, bytesDiff: 3_000 });
  });

  test('that has gone is taken from those who hold fewer, and from no one more than it has', async () => {
    const books = ledger();
    const first = await books.add(capture(3_000, [buffers(a, 10), buffers(b, 10)]));
    const second = await books.add(capture(2_400, [buffers(a, 4), buffers(b, 10)]));
    const bytesOf = async (name: string) =>
      (await books.rows(second, first, 10)).find(({ stack }) => stack[0]?.name === name)?.externalBytes;
    expect(await bytesOf('a')).toBe(400);
    expect(await bytesOf('b')).toBe(1_000);
    const third = await books.add(capture(0, [buffers(a, 1), buffers(b, 10)]));
    const [row] = (await books.rows(third, second, 10)).filter(({ stack }) => stack[0]?.name === 'a');
    expect(row?.externalBytes).toBeUndefined();
    expect(row?.bytes).toBe(200);
  });

  test('is nobody’s when nobody holds more buffers', async () => {
    const books = ledger();
    const first = await books.add(capture(9_000, [{ ...buffers(a, 5), buffers: 0 }]));
    expect((await books.rows(first, new Map(), 10))[0]).toEqual({
      objects: 5,
      objectsDiff: 5,
      bytes: 1_000,
      bytesDiff: 1_000,
      stack: [a],
      exact: false,
    });
  });
});

describe('what is allocated in a library or in Node', () => {
  const user = frame('mine');
  const library = frame('theirs', '/nowhere/node_modules/x/index.js');
  const internal = frame('node', 'node:internal/crypto/random');

  test.each([
    ['of the user, when there is one on the stack', [internal, library, user], 'mine'],
    ['of the library, when there is none', [internal, library, internal], 'theirs'],
    ['of Node, when there is nothing else', [internal], 'node'],
  ])('is put down to the innermost function %s', async (_, frames, name) => {
    const stack = frames.reduceRight<Allocations['stack'] | undefined>(
      (caller, at) => ({ frame: at, caller }),
      undefined,
    );
    if (stack === undefined) throw new Error('no frames');
    const books = ledger();
    const holdings = await books.add(capture(1_000, [{ ...buffers(user, 1), stack }]));
    expect((await books.rows(holdings, new Map(), 1))[0]?.stack).toEqual([expect.objectContaining({ name })]);
  });
});

test('rows are those that have grown most, whatever they hold', async () => {
  const books = ledger();
  const first = await books.add(capture(1_000, [{ ...buffers(a, 1_000), buffers: 0 }]));
  const second = await books.add(
    capture(1_000, [
      { ...buffers(a, 1_001), buffers: 0 },
      { ...buffers(b, 2), buffers: 0 },
    ]),
  );
  expect((await books.rows(second, first, 1))[0]?.stack[0]?.name).toBe('b');
});
