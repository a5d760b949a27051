import type { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { Journal } from '../../src/control/thread/journal.ts';
import type { Status } from '../../src/control/thread/status.ts';
import { Streams } from '../../src/control/thread/stream.ts';
import type { Stall } from '../../src/observe/reports.ts';

/** Streams of a journal, and the readers that are open at the end of the block. */
function streams() {
  const journal = new Journal();
  const ended = new AbortController();
  let asked = 0;
  const all = new Streams(journal, async () => {
    asked += 1;
    return { name: 'shop' } as Status;
  });
  return {
    journal,
    asked: () => asked,
    open: async () => (await all.open(ended.signal)).body as Readable,
    [Symbol.dispose]: () => ended.abort(),
  };
}

/** What has been sent up to now, as [event, data]. */
function sent(body: Readable): [string, unknown][] {
  const text = String(body.read() ?? '');
  return [...text.matchAll(/^event: (\w+)\ndata: (.*)\n\n/gm)].map(([, kind, data]) => [
    kind as string,
    JSON.parse(data as string),
  ]);
}

const stall: Stall = { id: 1, beganAt: 5, durationMs: 90, over: true, service: 'api', stack: [] };

test('who comes is told how things stand, and what happened last', async () => {
  using all = streams();
  const { journal } = all;
  journal.addEvent({ type: 'service-starting', at: 1, service: 'api' });
  journal.setStall(stall, 10);
  journal.addEvent({ type: 'memory-reported', at: 2, report: { rows: [] } });
  journal.addEvent({ type: 'leak-suspected', at: 2, suspicion: { mibPerHour: 3 } });
  journal.addEvent({ type: 'profile-taken', at: 3, report: { at: 3, flame: { children: [] } } });
  journal.addLines(['{"msg":"one"}\n', '{"msg":"two"}']);
  expect(sent(await all.open())).toEqual([
    ['status', { name: 'shop' }],
    ['event', { type: 'service-starting', at: 1, service: 'api' }],
    ['stall', stall],
    ['memory', { rows: [] }],
    ['leak', { mibPerHour: 3 }],
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

test('a reader that does not keep up is cut off, and the others read on', async () => {
  using all = streams();
  const slow = await all.open();
  const quick = await all.open();
  sent(quick);
  const line = JSON.stringify({ msg: 'x'.repeat(100_000) });
  for (let i = 0; i < 15; i++) {
    all.journal.addLines([line]);
    expect(sent(quick)).toHaveLength(1);
  }
  expect(slow.destroyed).toBe(true);
  expect(quick.destroyed).toBe(false);
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
  const told = bodies.map((body) => new Promise((resolve) => body.once('readable', resolve)));
  await Promise.all(told);
  expect(bodies.map((body) => sent(body))).toEqual(bodies.map(() => [['status', { name: 'shop' }]]));
  expect(all.asked() - before).toBe(1);
});
