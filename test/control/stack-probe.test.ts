import { Session } from 'node:inspector';
import { test as base, expect } from 'vitest';
import { Heartbeat } from '../../src/control/heartbeat.ts';
import { type Glimpse, StackProbe } from '../../src/control/stack-probe.ts';

const test = base.extend<{
  heartbeat: Heartbeat;
  probe: StackProbe;
  look: (beat: number) => Glimpse | undefined;
}>({
  // biome-ignore lint/correctness/noEmptyPattern: Vitest reads the parameter's pattern
  async heartbeat({}, use) {
    using heartbeat = new Heartbeat();
    await use(heartbeat);
  },
  async probe({ heartbeat }, use) {
    using probe = new StackProbe(heartbeat);
    await use(probe);
  },
  async look({ probe }, use) {
    const session = new Session();
    session.connect();
    // On the thread of the session itself, this evaluates before it returns.
    await use((beat) => {
      let glimpse: Glimpse | undefined;
      const expression = probe.expression.replace('BEAT', String(beat));
      session.post('Runtime.evaluate', { expression, returnByValue: true }, (error, answer) => {
        if (error === null) glimpse = answer.result.value as Glimpse | undefined;
      });
      return glimpse;
    });
    session.disconnect();
  },
});

test('what runs is seen from its innermost frame on, and nothing of how it is looked at', ({
  heartbeat,
  look,
}) => {
  const glimpse = (function innermost() {
    return look(heartbeat.lastBeatMs);
  })();
  const names = glimpse?.stack.map(({ name }) => name) ?? [];
  const own = names.indexOf('innermost');
  expect(own).toBeGreaterThan(0);
  // Between them there is the session alone, as it runs on this thread.
  expect(glimpse?.stack.slice(0, own - 1).every(({ file }) => file.startsWith('node:'))).toBe(true);
});

test('nothing is seen once the loop has turned: what runs now is innocent', async ({ heartbeat, look }) => {
  const beat = heartbeat.lastBeatMs;
  expect(look(beat)).toBeDefined();
  await new Promise<unknown>((resolve) => heartbeat.onBeat(resolve));
  expect(look(beat)).toBeUndefined();
  expect(look(heartbeat.lastBeatMs)).toBeDefined();
});

test('nothing is left of it when it is disposed of', ({ heartbeat, probe, look }) => {
  const symbols = () => Object.getOwnPropertySymbols(globalThis).length;
  const before = symbols();
  probe[Symbol.dispose]();
  expect(symbols()).toBe(before - 1);
  expect(look(heartbeat.lastBeatMs)).toBeUndefined();
});

test('callbacks are told apart', async ({ heartbeat, look }) => {
  const turn = () => look(heartbeat.lastBeatMs)?.turn;
  const turns = await Promise.all(
    [1, 2].map(() => new Promise((resolve) => setImmediate(() => resolve([turn(), turn()])))),
  );
  const [[first, again], [second]] = turns as [number[], number[]];
  expect(first).toBe(again);
  expect(first).not.toBe(second);
  expect(await Promise.resolve().then(turn)).toBe(0);
});
