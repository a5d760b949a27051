import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { CallSites } from '../../../src/observe/memory/call-sites.ts';
import type { Allocations, Capture } from '../../../src/observe/memory/heap-sampler.ts';
import { type Holdings, Ledger } from '../../../src/observe/memory/ledger.ts';
import { Pace } from '../../../src/observe/pace.ts';
import type { Frame } from '../../../src/observe/reports.ts';
import { SourceMaps } from '../../../src/observe/source-maps.ts';

const frame = (name: string, file = '/nowhere/app.js'): Frame => ({ name, file, line: 1, column: 1 });
const [a, b] = [frame('a'), frame('b')];

function capture(arrayBuffers: number, allocations: readonly Allocations[]): Capture {
  const memory = { rss: 0, heapTotal: 0, heapUsed: 0, external: arrayBuffers, arrayBuffers };
  return { at: 0, memory, allocations };
}

/** Buffers that a function holds: 200 bytes each on the heap. */
const buffers = (by: Frame, count: number): Allocations => ({
  stack: { frame: by, caller: undefined },
  bySize: [{ sizeBytes: 200, count }],
  buffers: count,
});

function ledger(groupBy: 'line' | 'file' | 'stack' = 'line', arrayBuffersBytes = 1_000) {
  const pace = new Pace();
  return new Ledger(new CallSites(new SourceMaps(pace), pace), groupBy, arrayBuffersBytes, pace);
}

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
    expect((await books.rows(first, undefined, 10))[0]).toEqual({
      objects: 5,
      objectsDiff: 5,
      bytes: 1_000,
      bytesDiff: 1_000,
      stack: [a],
      exact: false,
    });
    expect(first.unattributedBytes).toBe(8_000);
  });

  test('that was there before and has gone makes no room for errors', async () => {
    const books = ledger('line', 9_000);
    await books.add(capture(1_000, []));
    const holdings = await books.add(capture(3_000, [buffers(a, 1)]));
    const [row] = await books.rows(holdings, undefined, 1);
    expect(row?.externalBytes).toBe(2_000);
  });

  const MIB = 2 ** 20;

  test('does not add up at a line that leaks small buffers while another one has many and few by turns', async () => {
    const books = ledger('line', 0);
    let leaked = 0;
    for (let cycle = 0; cycle < 10; cycle++) {
      for (const count of [110, 10]) {
        leaked += 8_192;
        const total = leaked * 128 + count * MIB;
        const holdings = await books.add(capture(total, [buffers(a, leaked), buffers(b, count)]));
        const rows = await books.rows(holdings, undefined, 10);
        const sum = rows.reduce((bytes, { externalBytes = 0 }) => bytes + externalBytes, 0);
        expect(sum).toBeLessThanOrEqual(total + 1);
      }
    }
  });

  test('that a line gave back is not taken from another one when that line holds nothing any more', async () => {
    const books = ledger('line', 0);
    const before = await books.add(capture(100 * MIB, [buffers(a, 100)]));
    const both = await books.add(capture(1_100 * MIB, [buffers(a, 100), buffers(b, 1_000)]));
    const after = await books.add(capture(999 * MIB, [buffers(b, 999)]));
    const rows = await books.rows(after, both, 10);
    expect(rows.map(({ stack, externalBytes = 0 }) => [stack[0]?.name, externalBytes / MIB])).toEqual([
      ['b', 999],
      ['a', 0],
    ]);
    expect((await books.rows(both, before, 1))[0]?.externalBytes).toBe(1_000 * MIB);
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
    expect((await books.rows(holdings, undefined, 1))[0]?.stack).toEqual([expect.objectContaining({ name })]);
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

test('a function is as large as the sum of its entries, whatever they are called, and those that are gone count', async () => {
  // What it holds has moved from one entry to another, as it does when V8 compiles it anew.
  const turnover = await fileWith('return one(x) + other(x);');
  const quiet = await fileWith('return [x];');
  const books = ledger();
  const first = await books.add(capture(0, [made([native('one'), turnover], SMALL, 900)]));
  const second = await books.add(
    capture(0, [made([native('other'), turnover], SMALL, 900), made([quiet], SMALL, 9)]),
  );
  const rows = await books.rows(second, first, 10);
  expect(rows.map(({ stack, objects, objectsDiff }) => [stack[0]?.file, objects, objectsDiff])).toEqual([
    [quiet.file, 9, 9],
    [turnover.file, 900, 0],
  ]);
});

test('entries that shrink are not left out for those of other functions that grow', async () => {
  const turnover = await fileWith('return one(x) + other(x);');
  const others = Array.from({ length: 100 }, (_, index) => frame(`f${index}`));
  const entries = (callee: string) => made([native(callee), turnover], SMALL, 900);
  const books = ledger();
  const first = await books.add(
    capture(0, [entries('one'), ...others.map((other) => made([other], SMALL, 1))]),
  );
  const second = await books.add(
    capture(0, [entries('other'), ...others.map((other) => made([other], SMALL, 2))]),
  );
  const rows = await books.rows(second, first, 10);
  expect(rows.map(({ objectsDiff }) => objectsDiff)).toEqual(Array(10).fill(1));
});

/** A file with a function `f`, and what comes after it; the frame is that of `f`. */
async function fileWith(body: string, name = 'a.js'): Promise<Frame> {
  const folder = await mkdtemp(join(tmpdir(), 'bosun-ledger-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, name);
  await writeFile(file, `// first line\nfunction f(x) {\n${body}\n}\n`);
  return { name: 'f', file, line: 2, column: 11 };
}

/** What was allocated on a stack, the innermost frame first. */
function made(stack: readonly Frame[], sizeBytes: number, count: number): Allocations {
  const [frame, ...callers] = stack;
  if (frame === undefined) throw new Error('no frames');
  const caller = callers.reduceRight<Allocations['stack'] | undefined>(
    (outer, at) => ({ frame: at, caller: outer }),
    undefined,
  );
  return { stack: { frame, caller }, bySize: [{ sizeBytes, count }], buffers: 0 };
}

const SMALL = 40;
const LARGE = 4_000;
const native = (name: string): Frame => ({ name, file: '', line: 0, column: 0 });

/** The lines of the rows, as in the table: with a `~` when they are not certain. */
async function linesOf(allocations: readonly Allocations[], books = ledger(), before?: Holdings) {
  const holdings = await books.add(capture(1_000, allocations));
  const rows = await books.rows(holdings, before, 10);
  return rows.map(({ stack, exact }) => `${exact ? '' : '~'}${stack[0]?.line}`);
}

describe('the line of a row', () => {
  test('is the only one that can have made it', async () => {
    const f = await fileWith('const a = { x };\nreturn build(a);');
    expect(await linesOf([made([f], SMALL, 9)])).toEqual(['3']);
    expect(await linesOf([made([native('build'), f], SMALL, 9)])).toEqual(['4']);
    const g = await fileWith('const a = { x };\nlist.push(a);');
    expect(await linesOf([made([g], LARGE, 9)])).toEqual(['4']);
  });

  test.each([
    ['a string may have been put together', 'const key = a + b;\nsink({ x });\nhold(key);', '~4'],
    ['a number may have been computed', 'const at = x / 3;\nsink({ x });\nhold(at);', '~4'],
    ['a container may have grown', 'const a = [x];\nlist.push(a);', '~3'],
    ['a promise is waited for', 'const a = await x;\nhold({ a });', '~4'],
  ])('is not certain when in another one %s', async (_, body, line) => {
    expect(await linesOf([made([await fileWith(body)], SMALL, 9)])).toEqual([line]);
  });

  test('is certain when all that can have made it is there', async () => {
    expect(await linesOf([made([await fileWith('list.push(a + b);')], SMALL, 9)])).toEqual(['3']);
  });

  test('is, of several, the one that holds most for certain', async () => {
    const f = await fileWith('a = [make(x), other(x)];\nb = [build(x)];\nlist.push([x]);');
    const of = (callee: string, count: number) => made([native(callee), f], SMALL, count);
    const books = ledger();
    const all = [of('make', 1_000), of('build', 500), of('other', 10), made([f], SMALL, 5)];
    expect(await linesOf(all, books)).toEqual(['3', '4']);
    // They are remembered for as long as they hold something.
    expect(await linesOf([of('make', 10), of('build', 500), made([f], SMALL, 5)], books)).toEqual(['4', '3']);
    expect(await linesOf([of('build', 500), made([f], SMALL, 5)], books)).toEqual(['4']);
    expect(await linesOf([made([f], SMALL, 5)], books)).toEqual(['~5']);
  });

  test('is, of several, the one that hands it to a call', async () => {
    const f = await fileWith('const a = { x };\nconst b = { a };\nlist.push({ b });');
    expect(await linesOf([made([f], SMALL, 9)])).toEqual(['~5']);
  });

  test('is in the function itself rather than in one that it calls, which V8 may have inlined', async () => {
    const f = await fileWith('return { x: g(x) };\n}\nfunction g(x) {\nconst y = build(x);\nreturn { y };');
    const g = { ...f, name: 'g', line: 5 };
    const all = [made([native('build'), g, f], SMALL, 9), made([f], SMALL, 5)];
    expect(await linesOf(all)).toEqual(['6', '~3']);
  });

  test('is in a function that it calls when it makes nothing itself', async () => {
    const f = await fileWith(
      'return g(x);\n}\nfunction g(x) {\nreturn h(x);\n}\nfunction h(x) {\nreturn { x };',
    );
    const [g, h] = [
      { ...f, name: 'g', line: 5 },
      { ...f, name: 'h', line: 8 },
    ];
    expect(await linesOf([made([h, g, f], SMALL, 9), made([f], SMALL, 5)])).toEqual(['9']);
  });

  test('is not certain when what it called has another name there', async () => {
    const f = await fileWith('return renamed(x);');
    expect(await linesOf([made([native('build'), f], SMALL, 9)])).toEqual(['~3']);
    const other = await fileWith('return [renamed(x)];');
    expect(await linesOf([made([native('build'), other], SMALL, 9)])).toEqual(['~3']);
  });

  test('is the function’s first one when nothing tells which it was', async () => {
    const f = await fileWith('const a = { x };\nconst b = { a };');
    expect(await linesOf([made([f], SMALL, 9)])).toEqual(['~2']);
  });

  test('is as certain as most of what it stands for', async () => {
    const f = await fileWith('const a = { x };\nlist[x] = { a };');
    expect(await linesOf([made([f], LARGE, 9), made([f], SMALL, 9)])).toEqual(['4']);
    expect(await linesOf([made([f], LARGE, 9), made([f], SMALL, 9_000)])).toEqual(['~4']);
  });

  test('is found in TypeScript as it was written', async () => {
    const f = await fileWith('const a: Map<string, { x: X }[]> = x;\nreturn { x } satisfies X;', 'a.ts');
    expect(await linesOf([made([f], SMALL, 9)])).toEqual(['4']);
  });

  test('is not looked for in TypeScript that Node does not run', async () => {
    const f = await fileWith('enum A { a }\nreturn { x };', 'a.ts');
    expect(await linesOf([made([f], SMALL, 9)])).toEqual(['~2']);
  });

  test('is not looked for in a file that is another one by now', async () => {
    const f = await fileWith('return { x };\n}\nfunction g(x) {\nreturn { x };');
    const g = { ...f, name: 'g', line: 5 };
    const books = ledger();
    expect(await linesOf([made([f], SMALL, 9)], books)).toEqual(['3']);
    await utimes(f.file, 1, 1);
    expect(await linesOf([made([f], SMALL, 9), made([g], SMALL, 5)], books)).toEqual(['3', '~5']);
  });
});

test('rows by stack say whether the line of their innermost function is certain', async () => {
  const f = await fileWith(
    'return [\ng(x)];\n}\nfunction g(x) {\nconst a = { x };\nreturn [a];\n}\nfunction h(x) {\nreturn g(x);\n}\nfunction k(x) {\nreturn [x];',
  );
  const [g, h, k] = [
    { ...f, name: 'g', line: 6 },
    { ...f, name: 'h', line: 10 },
    { ...f, name: 'k', line: 13 },
  ];
  const books = ledger('stack');
  const all = [
    made([k], SMALL, 11),
    made([f], SMALL, 9),
    made([g, f], SMALL, 5),
    made([h, f], SMALL, 3),
    made([native('g'), f], 4, 1),
  ];
  const rows = await books.rows(await books.add(capture(1_000, all)), undefined, 10);
  expect(rows.map(({ stack, exact }) => [exact, ...stack.map(({ line }) => line)])).toEqual([
    [true, 14],
    // It may be that of `g`, inlined.
    [false, 3],
    [false, 6, 4],
    [false, 10, 2],
    [false, 0, 4],
  ]);
});

test('the program runs on while a large capture is taken in and its rows are made', async () => {
  let now = 0;
  // Each look at the time takes a millisecond.
  const pace = new Pace(() => now++);
  const books = new Ledger(new CallSites(new SourceMaps(pace), pace), 'line', 0, pace);
  const many = Array.from({ length: 100 }, (_, index) => made([frame(`f${index}`)], SMALL, 1));
  let turns = 0;
  const count = () => {
    turns += 1;
    next = setImmediate(count);
  };
  let next = setImmediate(count);
  const holdings = await books.add(capture(0, many));
  expect(turns).toBeGreaterThan(20);
  turns = 0;
  await books.rows(holdings, undefined, 10);
  expect(turns).toBeGreaterThan(20);
  clearImmediate(next);
  // Each piece ended a look or two after its two milliseconds.
  expect(pace.longestMs).toBeLessThan(100);
});

test('rows by file are exact: they have no line', async () => {
  const books = ledger('file');
  const holdings = await books.add(capture(1_000, [made([a], SMALL, 9)]));
  expect((await books.rows(holdings, undefined, 10))[0]?.exact).toBe(true);
});
