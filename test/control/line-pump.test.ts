import { expect, test } from 'vitest';
import { LinePump } from '../../src/control/line-pump.ts';

interface Line {
  readonly level: number;
  readonly time: number;
  readonly msg: string;
  readonly [more: string]: unknown;
}

/** What the pump passes on, in one turn, of these lines. */
async function passedOn(lines: readonly string[]): Promise<string[]> {
  const { promise, resolve } = Promise.withResolvers<readonly string[]>();
  let add: (line: string) => void = () => {};
  const pump = new LinePump(
    {
      tapLog(listener) {
        add = listener;
        return () => {};
      },
    },
    resolve,
  );
  for (const line of lines) add(line);
  const passed = await promise;
  pump.close();
  return [...passed];
}

const line = (fields: object) => JSON.stringify({ level: 30, time: 5, service: 'api', ...fields });
const parsed = (text: string | undefined) => JSON.parse(text ?? '') as Line;

test('a thousand lines are passed on as they are', async () => {
  const lines = Array.from({ length: 1_000 }, (_none, i) => line({ msg: `line ${i}` }));
  expect(await passedOn(lines)).toEqual(lines);
});

test('of more, the last are passed on, and how many are missing', async () => {
  const [first, ...rest] = await passedOn(
    Array.from({ length: 1_234 }, (_none, i) => line({ msg: `line ${i}` })),
  );
  expect(parsed(first)).toMatchObject({
    level: 40,
    msg: '234 lines are missing here: too many came at a time',
  });
  expect(rest).toHaveLength(1_000);
  expect(parsed(rest.at(-1)).msg).toBe('line 1233');
});

test('no more than 4 MiB cross at a time', async () => {
  const msg = 'x'.repeat(60_000);
  const [first, ...rest] = await passedOn(Array.from({ length: 100 }, (_none, i) => line({ i, msg })));
  expect(rest.join('').length).toBeLessThanOrEqual(4 * 2 ** 20);
  expect(rest.length).toBeGreaterThan(60);
  expect(parsed(first).msg).toBe(`${100 - rest.length} lines are missing here: too many came at a time`);
  expect(parsed(rest.at(-1)).i).toBe(99);
});

test('a line of megabytes becomes what it says in short', async () => {
  const huge = line({ level: 50, msg: `begins ${'é'.repeat(750_000)}`, payload: 'x'.repeat(1_000_000) });
  const [short = ''] = await passedOn([huge]);
  expect(short.length).toBeLessThan(5_000);
  const { msg, ...more } = parsed(short);
  expect(msg).toMatch(/^begins é+… \(1\.4 MiB\)$/);
  expect(more).toEqual({ level: 50, time: 5, service: 'api', clippedBytes: Buffer.byteLength(huge) });
});

test('a huge line keeps its time, level and service when its message is short, or none', async () => {
  const more = 'x'.repeat(100_000);
  const [short, none] = await passedOn([line({ msg: 'all of it', more }), line({ more })]);
  expect(parsed(short)).toMatchObject({ level: 30, time: 5, service: 'api', msg: 'all of it' });
  expect(parsed(none)).toMatchObject({ level: 30, msg: '', clippedBytes: line({ more }).length });
});

test.for([
  ['no JSON', 'y'.repeat(100_000)],
  ['no object', `"${'y'.repeat(100_000)}"`],
] as const)('a huge line that is %s is clipped, too', async ([, text]) => {
  const [short = ''] = await passedOn([text]);
  expect(short.length).toBeLessThan(5_000);
  expect(parsed(short)).toMatchObject({ level: 30, msg: expect.stringContaining('yyy') });
});
