import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { CallSites } from '../../../src/observe/memory/call-sites.ts';
import type { Allocations, Capture } from '../../../src/observe/memory/heap-sampler.ts';
import { type Holdings, Ledger } from '../../../src/observe/memory/ledger.ts';
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
async function linesOf(allocations: readonly Allocations[], books = ledger(), before: Holdings = new Map()) {
  const holdings = await books.add(capture(1_000, allocations));
  const rows = await books.rows(holdings, before, 10);
  return rows.map(({ stack, exact }) => `${exact ? '' : '~'}${stack[0]?.line}`);
}

describe('the line of a row', () => {
  test('is the only one that can have made it', async () => {
    const f = await fileWith('const a = { x };\nlist.push(a);\nreturn build(x);');
    expect(await linesOf([made([f], SMALL, 9)])).toEqual(['3']);
    expect(await linesOf([made([f], LARGE, 9)])).toEqual(['4']);
    expect(await linesOf([made([native('build'), f], SMALL, 9)])).toEqual(['5']);
  });

  test('is, of several, the one that holds most for certain', async () => {
    const f = await fileWith('a = [make(x), other(x)];\nb = [build(x)];\nlist.push([x]);');
    const of = (callee: string, count: number) => made([native(callee), f], SMALL, count);
    const books = ledger();
    const all = [of('make', 1_000), of('build', 500), of('other', 10), made([f], SMALL, 5)];
    expect(await linesOf(all, books)).toEqual(['3', '4']);
    // It is remembered.
    expect(await linesOf([made([f], SMALL, 5)], books)).toEqual(['~3']);
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
    'return [\ng(x)];\n}\nfunction g(x) {\nconst a = { x };\nreturn [a];\n}\nfunction h(x) {\nreturn g(x);',
  );
  const [g, h] = [
    { ...f, name: 'g', line: 6 },
    { ...f, name: 'h', line: 10 },
  ];
  const books = ledger('stack');
  const all = [
    made([f], SMALL, 9),
    made([g, f], SMALL, 5),
    made([h, f], SMALL, 3),
    made([native('g'), f], 4, 1),
  ];
  const rows = await books.rows(await books.add(capture(1_000, all)), new Map(), 10);
  expect(rows.map(({ stack, exact }) => [exact, ...stack.map(({ line }) => line)])).toEqual([
    [true, 3],
    [false, 6, 4],
    [false, 10, 2],
    [false, 0, 4],
  ]);
});

test('rows by file are exact: they have no line', async () => {
  const books = ledger('file');
  const holdings = await books.add(capture(1_000, [made([a], SMALL, 9)]));
  expect((await books.rows(holdings, new Map(), 10))[0]?.exact).toBe(true);
});
