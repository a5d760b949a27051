import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { type AllocationHint, allocationPlaces, madeAt } from '../../../src/observe/memory/source-lines.ts';

/** What is found for the function that begins at `|` in the source; without one, for the module. */
function found(source: string, hint: AllocationHint) {
  const [before = ''] = source.includes('|') ? source.split('|', 1) : [];
  const begin = { line: before.split('\n').length, column: before.length - before.lastIndexOf('\n') };
  return madeAt(allocationPlaces(source.replace('|', ''), begin), hint);
}

/** The lines found, from 1 on. */
const lines = (source: string, hint: AllocationHint) => [
  ...new Set(found(source, hint).map(({ line }) => line)),
];

const small = { kind: 'small' } as const;
const large = { kind: 'large' } as const;
const maybe = { kind: 'maybe' } as const;

describe('where in a function an allocation can have been made', () => {
  test('is the line that calls the function which made it', () => {
    const source = `async function leak|(hold) {
      for (;;) {
        // randomBytes(1)
        hold.push(randomBytes(128));
        await pause('randomBytes()', /randomBytes()/);
      }
    }
    randomBytes(3);`;
    expect(lines(source, { callee: 'randomBytes' })).toEqual([4]);
  });

  test('is the line of a module, when no function is around it', () => {
    const source = `import { randomBytes } from 'node:crypto';
    const hold = [];
    for (;;) hold.push(randomBytes(128));`;
    expect(lines(source, { callee: 'randomBytes' })).toEqual([3]);
    expect(lines('#!/usr/bin/env node\nif (a) return;\nwith (b) make();', { callee: 'make' })).toEqual([3]);
  });

  test('is the literal for small objects and the growing container for large ones', () => {
    const source = `function remember|(id) {
      if (id < 0) { return; }
      const entry = { id, tags: [1] };
      entries.push(entry);
      byId[id] = entry;
    }`;
    expect(lines(source, small)).toEqual([3]);
    expect(lines(source, large)).toEqual([4, 5]);
  });

  test('is not inside of a function or class within, but where that is made', () => {
    const source = `function subscribe|(id) {
      if (id === 0) {
        register(id);
      }
      emitter.on('tick', () => {
        seen.push({ id });
      });
      const api = class extends mixin({}) {
        all = [];
        method(a) {
          return { a };
        }
      };
      function inner() {
        return {};
      }
    }`;
    expect(lines(source, small)).toEqual([5, 8, 14]);
    expect(lines(source, large)).toEqual([]);
  });

  test('is the first line of a literal, with all that is in it but what it calls', () => {
    const source = `function f|() {
      return {
        list: [],
        at() {},
        deep: { fn: () => 1 },
        parts: text.split(','),
        kept: keep([
          1,
        ]),
      };
    }`;
    expect(lines(source, small)).toEqual([2, 6, 7]);
  });

  test.each([
    ['an object', 'a = { x }'],
    ['not a pattern', '({ x } = y); [a] = b;', []],
    ['an array', 'a = [x]'],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of one
    ['a template', 'a = `${x}`'],
    ['not a template without expressions', 'a = `x`', []],
    ['a tagged template', 'a = tag`x`'],
    ['a regular expression', 'a = /x/'],
    ['a string put together', "a = x + 'y'"],
    ['a string that grows', "a += 'y'"],
    ['not a sum', 'a = x + 1; a += 1', []],
    ['new', 'a = new Thing'],
    ['arguments that are spread', 'call(...x)'],
    ['a rest', '[...a] = x'],
    ['an object by a function of Object', 'a = Object.create(x)'],
    ['a clone', 'a = structuredClone(x)'],
    ['a method that returns an array', 'a = x?.map(y)'],
    ['not just any call', 'a = b(x) + c.d(x)', []],
  ])('%s: %s', (_, statement, expected: number[] = [2]) => {
    expect(lines(`f|(x, y) {\n${statement};\n}`, small)).toEqual(expected);
  });

  test.each([
    ['a container that grows', 'a.set(x, y)'],
    ['an element that is set', 'a[x] = y'],
    ['not a property that is set', 'a.x = y', []],
    ['an array of a size', 'a = new Array(x)'],
    ['a copy of a map', 'a = new Map(x)'],
    ['a copy of an array', 'a = [...x]'],
    ['arguments that are spread', 'call(...x); new Call(...x)'],
    ['what a method returns', 'a = x.split(y)'],
    ['not an object with its properties', 'a = { x }; b = [x]; c = new Thing', []],
  ])('of something large: %s: %s', (_, statement, expected: number[] = [2]) => {
    expect(lines(`f|(x, y) {\n${statement};\n}`, large)).toEqual(expected);
  });

  test.each([
    ['a sum', 'a = x + y'],
    ['a sum that grows', 'a += y'],
    ['a product', 'a = x * 2'],
    ['a power', 'a **= 2'],
    ['a negative number', 'a = -x'],
    ['a count', 'a++'],
    ['not a comparison', 'a = x < y', []],
    ['not bits', 'a = x | y; a &= 1', []],
    ['what is waited for', 'await x'],
    ['a module', "import('x')"],
    ['an iterator', 'for (const a of x);'],
    ['keys', 'for (const a in x);'],
    ['an iterator of elements', '[a] = x'],
    ['a property that is set', 'a.x = y'],
    ['an element that is set', 'a[x] = y'],
    ['a method of anything', 'a.trim()'],
    ['a container that grows', 'a.push(x)'],
    ['not a method of its own', 'this.x(); super.x(); this.#x()', []],
    ['not a function', 'a(x)', []],
    ['a function of the language', 'a = String(x)'],
  ])('of something that may be small: %s: %s', (_, statement, expected: number[] = [2]) => {
    expect(lines(`f|(x, y) {\n${statement};\n}`, maybe)).toEqual(expected);
  });

  test.each([
    'async function f|() {\n}',
    'function* f|() {\n}',
    'async function |() {\n}',
    'class A { async f|() {\n} }',
    'class A { async *f|() {\n} }',
    'class A { async #f|() {\n} }',
    'class A { *[Symbol.iterator]|() {\n} }',
    "a = { async 'a b'|() {\n} }",
    'a = |async () => {\n};',
    'a = |async b => b;\n',
  ])('of what an asynchronous function or a generator returns is its beginning: %s', (source) => {
    expect(lines(source, maybe)).toEqual([1]);
  });

  test.each([
    'function f|() {\n}',
    'a = |(x) => {\n};',
    'class A { asynchronous|() {\n} }',
    'class A { f|() {\n} }',
  ])('of other functions there is none: %s', (source) => {
    expect(lines(source, maybe)).toEqual([]);
  });

  test.each([
    ['a function', 'function f|(x) { return { x }; }\nother([]);'],
    ['a function before parentheses', 'function f|(x) { return { x }; }\n(other)([]);'],
    ['a function before a comma', 'call(function |(x) { return { x }; },\n...[]);'],
    ['a generator', 'function* f|(x) { yield { x }; }\n[].call();'],
    ['an asynchronous generator', 'async function* f|(x) { yield await { x }; }\n[].call();'],
    ['an arrow function of one expression', 'const f = |(x) => ({ x });\nconst other = { y: 1 };'],
    ['an arrow function of one parameter', 'const f = |x => ({ x });\nconst other = { y: 1 };'],
    ['an asynchronous arrow function', 'const f = |async (x) => ({ x });\nconst other = { y: 1 };'],
    ['an arrow function before a comma', 'call(|x => ({ x }),\n...[]);'],
    ['an arrow function in a conditional', 'a = b ? |x => ({ x }) :\n[];'],
    ['a method', 'class A { make|(x) { return { x }; }\n other() { return {}; } }'],
    ['a method before a generator', 'class A { make|(x) { return { x }; }\n *other() { return {}; } }'],
    ['a method before a computed one', 'class A { make|(x) { return { x }; }\n [k()]() { return {}; } }'],
    ['a getter', 'class A { get a|() { return {}; }\n set a(x) { y = {}; } }'],
    ['a private method', 'class A { #a|(x) { return { x, y: this.#b }; }\n static { y = {}; } }'],
    ['a constructor', 'class A extends B { constructor|(x) { super({}); }\n static { y = {}; } }'],
    ['fields', 'class A { |a = {}; #b = this.#c([]);\n static c = {};\n make() { return {}; } }'],
    ['static fields', 'class A { |static a = {}; static { b({}); }\n c = {};\n make() { return {}; } }'],
    ['parameters', 'function f|(x = {}) {}\nother([]);'],
    [
      'a function that imports',
      'function f|() { return { a: import.meta, b: import("c"), d: new.target }; }\n[];',
    ],
  ])('%s ends where it ends', (_, source) => {
    expect(lines(source, small)).toEqual([1]);
  });

  test.each([
    ['strings', 'const s = \'{ [\' + "} //";\n'],
    ['templates', 'tag(x ? 1 : 2); // `\n'],
    ['regular expressions', 'if (/[/}{`]/.test(x)) stop;\n'],
    ['regular expressions after parentheses', 'if (x) /[/}{`]/.test(x);\n'],
    ['divisions', 'x = a / b; y = c / d;\n'],
    ['comments', '/* } ` */\n'],
  ])('%s do not end a function', (_, line) => {
    expect(lines(`function f|() {\n${line}make(x);\n}\nmake(y);`, { callee: 'make' })).toEqual([3]);
  });

  test('templates with expressions in them are followed', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of one
    const source = 'function f|() {\n a(`${b(`}{${c({})}`)}`);\n make(`\\`}`);\n}\nmake(y);';
    expect(lines(source, { callee: 'make' })).toEqual([3]);
    expect(lines(source, { callee: 'c' })).toEqual([2]);
  });

  test('is not known when what it called has another name there', () => {
    const source = `function f|() {
      hold(rb(128));
    }`;
    expect(lines(source, { callee: 'randomBytes' })).toEqual([]);
    expect(lines(source, { kind: 'call' })).toEqual([2]);
  });

  test('of a buffer is where there are buffers', () => {
    const source = `function f|() {
      const length = sizeOf(x);
      hold(Buffer.alloc(length));
      hold(new Uint8Array(length));
      hold(rest.subarray(length));
      hold(new Array(length));
    }`;
    expect(lines(source, { callee: 'FastBuffer' })).toEqual([3, 4, 5]);
  });

  test.each([
    ['Thing', 'a = new Thing;'],
    ['Thing', 'a = new lib.Thing(1);'],
    ['make', 'this.make?.();'],
    ['#make', 'this.#make();'],
    ['the maker', "makers['the maker']();"],
    ['Maker.make', 'maker.make();'],
    ['make', 'make`x`;'],
    ['end', 'begin()\n.then();', []],
    ['then', 'begin()\n.then();', [3]],
    ['get size', 'return 1;', []],
    ['', '(() => 1)();', []],
  ])('by %s is found in %s', (callee, statement, expected: number[] = [2]) => {
    expect(lines(`f|() {\n${statement}\n}`, { callee })).toEqual(expected);
  });

  test('tells what is handed to a call from what stays in a variable', () => {
    const source = `f|(id) {
      const state = { id };
      if (a([b])) later(x.y(), () => state);
      for (const one of [1]) use(one);
      list.push(last ?? (flag && { id }));
      list.push([new Thing()]);
      list.push({ id: [id] }.id);
    }`;
    const places = found(source, small).filter(({ isArgument }) => isArgument);
    expect(places.map(({ line, column }) => `${line}:${column}`)).toEqual([
      '3:13',
      '3:32',
      '5:34',
      '6:17',
      '7:17',
    ]);
  });

  test('has its place in the file, on the first line of the function, too', () => {
    const at = (source: string) => found(source, small).map(({ line, column }) => `${line}:${column}`);
    expect(at('\n  function f|() { a = []; }')).toEqual(['2:22']);
    expect(at('\n  a = |() => [];')).toEqual(['2:13']);
    expect(at('class A {\n  |a = [];\n  b = [];\n}')).toEqual(['2:7', '3:7']);
    expect(at('a =\n  [];')).toEqual(['2:3']);
  });
});

describe('nothing is found', () => {
  test.each([
    ['where no function begins', 'make({}); |make({});'],
    ['where a class has a constructor that is not written', 'make({}); |class A extends B { a = {}; }'],
    ['in a function that does not end', 'make(); f|() { make({});'],
    ['behind the end of a line', 'f() {}\n\nf(x) { return { x }; }', { line: 2, column: 6 }],
    ['behind the end of the file', 'f(x) { return { x }; }', { line: 9, column: 1 }],
    ['in a function that is too long', `f|() { make({}); ${' '.repeat(50_000)} }`],
    ['in a module that is too long', `make({}); ${' '.repeat(50_000)}`],
    ['in what is nested too deeply', `f|() { make({}); ${'a+'.repeat(20_000)}1 }`],
    ['in a module that is none', 'make({}); }'],
    ['in a file that is empty', ''],
  ])('%s', (_, source, begin?: { line: number; column: number }) => {
    if (begin === undefined) expect(found(source, small)).toEqual([]);
    else expect(allocationPlaces(source, begin)).toEqual([]);
  });
});

test('what is found in a text does not hold on to the text', () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  const placesOf = (i: number) =>
    found(`function f|() { makeSomethingOfALongName${i}(); } // ${`${i} `.repeat(10_000)}`, {
      callee: `makeSomethingOfALongName${i}`,
    });
  placesOf(0);
  gc();
  const before = process.memoryUsage().heapUsed;
  const kept = Array.from({ length: 200 }, (_, i) => placesOf(i));
  gc();
  const heldBytes = process.memoryUsage().heapUsed - before;
  expect(kept.every(({ length }) => length === 1)).toBe(true);
  // The texts are 20 to 40 KB each.
  expect(heldBytes).toBeLessThan(2_000_000);
});
