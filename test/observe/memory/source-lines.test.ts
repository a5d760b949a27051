import { describe, expect, test } from 'vitest';
import { type AllocationHint, allocations } from '../../../src/observe/memory/source-lines.ts';

/** The lines found, from 1 on, for the function whose parameters begin at `|` in the text. */
function lines(source: string, hint: AllocationHint): number[] {
  const start = Math.max(0, source.indexOf('|'));
  const text = source.replace('|', '');
  return allocations(text, start, hint).map(({ offset }) => text.slice(0, offset).split('\n').length);
}

describe('where in a function an allocation can have been made', () => {
  test('is the line that calls the function which made it', () => {
    const source = `async function leak|(hold) {
      for (;;) {
        // randomBytes(1)
        hold.push(randomBytes(128));
        await pause('randomBytes()');
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
  });

  test('is the literal for small objects and the growing container for large ones', () => {
    const source = `function remember|(id) {
      if (id < 0) { return; }
      const entry = { id, tags: [1] };
      entries.push(entry);
    }`;
    expect(new Set(lines(source, { kind: 'object' }))).toEqual(new Set([3]));
    expect(lines(source, { kind: 'growth' })).toEqual([4]);
  });

  test('is not inside of a function within, but where that is made', () => {
    const source = `function subscribe|(id) {
      if (id === 0) {
        register(id);
      }
      emitter.on('tick', () => {
        seen.push({ id });
      });
      const api = {
        method(a) {
          return { a };
        },
      };
    }`;
    expect(lines(source, { kind: 'object' })).toEqual([5, 8]);
  });

  test.each([
    ['an arrow function of one expression', 'const f = |(x) => ({ x });\nconst other = { y: 1 };'],
    ['an arrow function of one parameter', 'const f = |x => ({ x });\nconst other = { y: 1 };'],
    ['a method', 'class A { make|(x) { return { x }; }\n other() { return {}; } }'],
    [
      'a method with a type',
      'class A { make|(x: string): Thing { return { x }; }\n other() { return {}; } }',
    ],
  ])('%s ends where it ends', (_, source) => {
    expect(lines(source, { kind: 'object' })).toEqual([1]);
  });

  test.each([
    ['strings', 'const s = \'{ [\' + "} //";\n'],
    ['templates', 'tag(x ? 1 : 2); // `\n'],
    ['regular expressions', 'if (/[/}{`]/.test(x)) stop;\n'],
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
    expect(new Set(lines(source, { kind: 'call' }))).toEqual(new Set([2]));
  });

  test('of a buffer is where there are buffers', () => {
    const source = `function f|() {
      const length = sizeOf(x);
      hold(Buffer.alloc(length));
    }`;
    expect(lines(source, { callee: 'FastBuffer' })).toEqual([3]);
  });

  test('a getter and a constructor count as called', () => {
    expect(lines('function f|() {\n return 1;\n}', { callee: 'get size' })).toEqual([]);
    expect(lines('function f|() {\n let a;\n a = new Thing;\n}', { callee: 'Thing' })).toEqual([3]);
  });

  test('tells what is handed to a call from what stays in a variable', () => {
    const source = `f(id) {
      const state = { id };
      if (a([b])) later(x.y(), () => state);
      for (const one of [1]) use(one);
    }`;
    const found = allocations(source, 1, { kind: 'object' });
    expect(
      found.filter(({ isArgument }) => isArgument).map(({ offset }) => source.slice(offset, offset + 3)),
    ).toEqual(['[b]', '=> ']);
  });

  test('text that does not parse gives nothing or something, and does not throw', () => {
    for (const source of ['|', 'f|(', 'f|() {{{', '|)]}', 'f|() { `${', 'x|=>']) {
      expect(() => lines(source, { kind: 'object' })).not.toThrow();
    }
  });
});
