import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type BufferHolder, shareOut } from '../../../src/observe/memory/external-memory.ts';

const held = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.nat({ max: 1_000 }), {
  noNullPrototype: true,
});
const moments = fc.array(fc.record({ held, bytes: fc.nat() }), { maxLength: 20 });

test('what all buffers take is shared out, or nobody’s: neither more nor less of it', () => {
  fc.assert(
    fc.property(moments, (all) => {
      let before = new Map<string, BufferHolder>();
      for (const { held, bytes } of all) {
        const holders = new Map(
          Object.entries(held).map(([key, buffers]) => [key, { buffers, externalBytes: 0 }]),
        );
        const left = shareOut(holders, before, bytes);
        let sum = left;
        for (const [key, { buffers, externalBytes }] of holders) {
          const then = before.get(key);
          sum += externalBytes;
          expect(externalBytes).toBeGreaterThanOrEqual(0);
          if (buffers === 0) expect(externalBytes).toBe(0);
          // Who holds no more buffers has no more memory.
          if (then !== undefined && buffers <= then.buffers) {
            expect(externalBytes).toBeLessThanOrEqual(then.externalBytes);
          }
        }
        expect(left).toBeGreaterThanOrEqual(0);
        expect(Math.abs(sum - bytes)).toBeLessThanOrEqual(1e-6 * bytes);
        before = holders;
      }
    }),
  );
});

test('what nobody was known to hold goes to the first who is seen to hold more', () => {
  const first = new Map([['a', { buffers: 0, externalBytes: 0 }]]);
  expect(shareOut(first, new Map(), 100)).toBe(100);
  const second = new Map([['a', { buffers: 5, externalBytes: 0 }]]);
  expect(shareOut(second, first, 150)).toBe(0);
  expect(second.get('a')?.externalBytes).toBe(150);
});
