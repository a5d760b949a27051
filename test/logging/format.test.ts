import { fstatSync } from 'node:fs';
import { expect, test } from 'vitest';
import { detectFormat, renderer } from '../../src/logging/format.ts';
import { fifo } from './fifo.ts';

const line = (fields: object) =>
  `${JSON.stringify({ level: 30, time: 0, pid: 1, hostname: 'h', ...fields })}\n`;
const plain = (fields: object) => renderer('plain')(line(fields));
const journald = (fields: object) => renderer('journald')(line(fields));

test('the format of a pipe is json', () => {
  using pipe = fifo();
  expect(detectFormat(pipe.fd, {})).toBe('json');
});

test('the format is journald when JOURNAL_STREAM names the device and inode that is written to', () => {
  using pipe = fifo();
  const { dev, ino } = fstatSync(pipe.fd, { bigint: true });
  expect(detectFormat(pipe.fd, { JOURNAL_STREAM: `${dev}:${ino}` })).toBe('journald');
  expect(detectFormat(pipe.fd, { JOURNAL_STREAM: `${dev}:${ino + 1n}` })).toBe('json');
});

test('a json line is left as it is', () => {
  expect(renderer('json')(line({ msg: 'm' }))).toBe(line({ msg: 'm' }));
});

test('a plain line has time, level, service, message and fields', () => {
  expect(
    plain({ service: 'api', msg: 'ready now', port: 8080, url: 'http://h/a', text: 'a b', on: true }),
  ).toBe('1970-01-01T00:00:00.000Z INFO [api] ready now port=8080 url=http://h/a text="a b" on=true\n');
  expect(plain({ msg: 'm', empty: '', quoted: 'a"b', equal: 'a=b', deep: { a: [1] } })).toBe(
    '1970-01-01T00:00:00.000Z INFO m empty="" quoted="a\\"b" equal="a=b" deep={"a":[1]}\n',
  );
});

test.each([
  [10, 'TRACE', 7],
  [20, 'DEBUG', 7],
  [30, 'INFO', 6],
  [40, 'WARN', 4],
  [50, 'ERROR', 3],
  [60, 'FATAL', 2],
  [35, 'LEVEL35', 6],
])('level %d is %s in a plain line and priority %d in the journal', (level, name, priority) => {
  expect(plain({ level, msg: 'm' })).toBe(`1970-01-01T00:00:00.000Z ${name} m\n`);
  expect(journald({ level, service: 'api', msg: 'm', a: 1 })).toBe(`<${priority}>[api] m a=1\n`);
});

test('an error is its stack and its own fields, on one line', () => {
  const err = { type: 'TypeError', message: 'bad', stack: 'TypeError: bad\n    at f', code: 'E_BAD' };
  expect(journald({ msg: 'failed', err })).toBe('<6>failed err="TypeError: bad\\n    at f" err.code=E_BAD\n');
  expect(journald({ msg: 'failed', err: { type: 'Error', message: 'x' } })).toBe(
    '<6>failed err="Error: x"\n',
  );
});

const steering = /[\p{Cc}\u2028-\u202e\u2066-\u2069]/u;
const reordering = '\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069';

test('nothing that is logged makes a second line or steers the terminal', () => {
  const nasty = `a\nb\r\u001b[31mc\u009b31m\u0000${reordering}\u2028\u2029`;
  for (const text of [plain, journald].map((render) =>
    render({ service: nasty, msg: nasty, f: nasty, [nasty]: nasty }),
  )) {
    expect(text.slice(0, -1)).not.toMatch(steering);
    expect(text).toContain('a\\nb\\u000d\\u001b[31mc');
  }
});

test('a level that is none cannot steer the terminal', () => {
  expect(plain({ level: '\u001b[31m', msg: 'm' })).toContain('LEVEL\\u001b[31m m');
});

test('nothing that is logged steers the terminal in a pretty line', () => {
  const nasty = `a\u001b[31mb\u009b31m${reordering}\u2028\u2029`;
  const err = { type: nasty, message: nasty, stack: `Error: ${nasty}\n    at f`, [nasty]: nasty };
  const fields = { service: nasty, msg: nasty, name: nasty, f: nasty, [nasty]: [nasty], err };
  const text = renderer('pretty')(line(fields));
  expect(text.replaceAll('\n', '')).not.toMatch(steering);
  expect(text).toContain('"f":"a\\u001b[31mb\\u009b31m\\u202a');
});

test.each(['name', 'caller', 'time'])('the field %s makes no second line of a pretty one', (key) => {
  expect(renderer('pretty')(line({ [key]: 'a\nb', msg: 'm' }))).toMatch(/^.*a\\nb.*m\n$/);
});

test('a pretty line has level and message', () => {
  expect(renderer('pretty')(line({ msg: 'ready', port: 1 }))).toMatch(
    /^\[\d\d:\d\d:00\.000\] INFO: ready {"port":1}\n$/,
  );
});
