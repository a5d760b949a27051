import { PassThrough, type Readable } from 'node:stream';
import { FakeClock } from 'bosun/testing';
import { expect, test } from 'vitest';
import type { Status } from '../../src/control/shown.ts';
import { Journal } from '../../src/control/thread/journal.ts';
import { Streams } from '../../src/control/thread/stream.ts';
import type { LeakSuspicion, MemoryReport, ProfileReport, Stall } from '../../src/observe/reports.ts';

/** Streams of a journal, and the readers that are open at the end of the block. */
function streams() {
  const journal = new Journal();
  const ended = new AbortController();
  const clock = new FakeClock();
  let asked = 0;
  const all = new Streams(
    journal,
    async () => {
      asked += 1;
      return { name: 'shop' } as Status;
    },
    clock,
  );
  return {
    journal,
    clock,
    asked: () => asked,
    open: async () => (await all.open(ended.signal)).body as Readable,
    [Symbol.dispose]: () => ended.abort(),
  };
}

/** What has been sent up to now, as [event, data]. */
function sent(body: Readable): [string, unknown][] {
  return events(String(body.read() ?? ''));
}

function events(text: string): [string, unknown][] {
  return [...text.matchAll(/^event: (\w+)\ndata: (.*)\n\n/gm)].map(([, kind, data]) => [
    kind as string,
    JSON.parse(data as string),
  ]);
}

const stall: Stall = { id: 1, beganAt: 5, durationMs: 90, over: true, service: 'api', stack: [] };
const memory = { at: 2, rows: [], samplingBytes: 1, pauseMs: 1 } as Partial<MemoryReport> as MemoryReport;
const leak = { at: 2, mibPerHour: 3, confidence: 1 } as Partial<LeakSuspicion> as LeakSuspicion;
const profile = { at: 3, samples: 1 } as Partial<ProfileReport> as ProfileReport;

test('who comes is told how things stand, and what happened last', async () => {
  using all = streams();
  const { journal } = all;
  journal.addEvent({ type: 'service-starting', at: 1, service: 'api' });
  journal.setStall(stall, 10);
  journal.addEvent({ type: 'memory-reported', at: 2, report: memory });
  journal.addEvent({ type: 'leak-suspected', at: 2, suspicion: leak });
  journal.addEvent({ type: 'profile-taken', at: 3, report: profile });
  journal.addLines(['{"msg":"one"}\n', '{"msg":"two"}']);
  expect(sent(await all.open())).toEqual([
    ['status', { name: 'shop' }],
    ['event', { type: 'service-starting', at: 1, service: 'api' }],
    ['stall', stall],
    ['memory', memory],
    ['leak', leak],
    ['profile', { at: 3 }],
    ['log', { msg: 'one' }],
    ['log', { msg: 'two' }],
  ]);
});

test('who reads is told what happens', async () => {
  using all = streams();
  const body = await all.open();
  sent(body);
  all.journal.addLines(['{"msg":"three"}\n']);
  all.journal.setStall(stall, 10);
  all.journal.addEvent({ type: 'heap-snapshot-taken', at: 4, path: '/tmp/x', bytes: 1, durationMs: 2 });
  expect(sent(body)).toEqual([
    ['log', { msg: 'three' }],
    ['stall', stall],
    ['snapshot', { type: 'heap-snapshot-taken', at: 4, path: '/tmp/x', bytes: 1, durationMs: 2 }],
  ]);
});

test('of a long log, the last part is sent', async () => {
  using all = streams();
  const long = 'x'.repeat(10_000);
  all.journal.addLines(Array.from({ length: 500 }, (_none, i) => JSON.stringify({ i, long })));
  const lines = sent(await all.open()).filter(([kind]) => kind === 'log');
  expect(lines.length).toBeGreaterThan(20);
  expect(lines.length).toBeLessThan(40);
  expect(lines.at(-1)?.[1]).toMatchObject({ i: 499 });
});

const long = (msg: string) => JSON.stringify({ msg, more: 'x'.repeat(2_000) });
const messages = (events: readonly [string, unknown][]) =>
  events.flatMap(([kind, data]) => (kind === 'log' ? [(data as { readonly msg: string }).msg] : []));

test('a burst, however large, cuts nobody off who reads: what is missing is said in its place', async () => {
  using all = streams();
  const { journal } = all;
  const body = await all.open();
  const read = new PassThrough({ encoding: 'utf8', highWaterMark: 16_384 });
  let text = '';
  read.on('data', (chunk) => {
    text += chunk;
  });
  body.pipe(read);
  const count = 1_000;
  journal.addLines(Array.from({ length: count }, (_none, i) => long(`line ${i}`)));
  journal.setStall(stall, 10);
  await expect.poll(() => text, { timeout: 10_000 }).toContain('are missing here');
  journal.addLines([long('the next')]);
  await expect.poll(() => text, { timeout: 10_000 }).toContain('the next');
  expect(body.destroyed).toBe(false);
  const got = events(text);
  expect(got.filter(([kind]) => kind === 'stall')).toHaveLength(1);
  const told = messages(got);
  expect(told.slice(0, 500)).toEqual(Array.from({ length: 500 }, (_none, i) => `line ${i}`));
  expect(told.at(-2)).toBe(`${count - (told.length - 2)} lines are missing here: this reader was too slow`);
  expect(told.at(-1)).toBe('the next');
});

test('a reader that has not read for more than five seconds is cut off, and the others read on', async () => {
  using all = streams();
  const slow = await all.open();
  const quick = await all.open();
  all.journal.addLines(Array.from({ length: 1_000 }, (_none, i) => long(`line ${i}`)));
  sent(quick);
  await all.clock.advance(5_000);
  expect(slow.destroyed).toBe(false);
  await all.clock.advance(1_000);
  expect(slow.destroyed).toBe(true);
  expect(quick.destroyed).toBe(false);
  expect(sent(quick).filter(([kind]) => kind === 'status')).toHaveLength(6);
});

test('one that comes back to reading within that time stays', async () => {
  using all = streams();
  const body = await all.open();
  for (let i = 0; i < 3; i++) {
    all.journal.addLines(Array.from({ length: 1_000 }, () => long('line')));
    await all.clock.advance(4_000);
    while (body.read() !== null);
  }
  expect(body.destroyed).toBe(false);
});

test('no more than 16 MiB wait for a reader, whatever it is', async () => {
  using all = streams();
  const body = await all.open();
  const frame = { name: 'x'.repeat(1_024 * 1_024), file: '', line: 0, column: 0 };
  for (let i = 0; i < 16; i++) all.journal.setStall({ ...stall, stack: [frame] }, 10);
  expect(body.destroyed).toBe(false);
  for (let i = 0; i < 2; i++) all.journal.setStall({ ...stall, stack: [frame] }, 10);
  expect(body.destroyed).toBe(true);
});

test('there are 32 readers at most; one that goes makes room', async () => {
  using all = streams();
  const bodies = await Promise.all(Array.from({ length: 32 }, () => all.open()));
  await expect(all.open()).rejects.toMatchObject({ status: 503, code: 'ERR_TOO_MANY_READERS' });
  const [first] = bodies;
  const closed = new Promise((resolve) => first?.once('close', resolve));
  first?.destroy();
  await closed;
  await all.open();
});

test('all readers are told the same status, asked for once', async () => {
  using all = streams();
  const bodies = await Promise.all(Array.from({ length: 10 }, () => all.open()));
  for (const body of bodies) sent(body);
  const before = all.asked();
  await all.clock.advance(1_000);
  expect(bodies.map((body) => sent(body))).toEqual(bodies.map(() => [['status', { name: 'shop' }]]));
  expect(all.asked() - before).toBe(1);
});

test('nobody is asked for a status when nobody reads', async () => {
  using all = streams();
  const body = await all.open();
  body.destroy();
  await all.clock.advance(0);
  expect(all.clock.pending).toBe(0);
});
