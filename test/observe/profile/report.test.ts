import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { callTree } from '../../../src/observe/profile/call-tree.ts';
import { flameOf } from '../../../src/observe/profile/flame.ts';
import { Profile, profileTable } from '../../../src/observe/profile/index.ts';
import type { FlameNode, ProfileRow } from '../../../src/observe/reports.ts';
import { captureOf, type Stack } from '../../support/raw-profile.ts';

const AT = 1_700_000_060_000;

const reportOf = async (stacks: readonly Stack[], top?: number) =>
  await (await Profile.from([captureOf(stacks)], AT, 100)).report(top === undefined ? {} : { top });

const figures = (rows: readonly ProfileRow[]) =>
  rows.map(({ frame, selfHits, totalHits }) => [frame.name, selfHits, totalHits]);

describe('the report of a profile', () => {
  it('counts self and total hits of each function, and leaves what was idle out of the shares', async () => {
    const report = await reportOf([
      { functions: ['main', 'parse'], hits: 6 },
      { functions: ['main', 'render'], hits: 3 },
      { functions: ['main'], hits: 1 },
      { functions: ['(idle)'], hits: 90 },
    ]);
    expect(figures(report.bySelf)).toEqual([
      ['parse', 6, 6],
      ['render', 3, 3],
      ['main', 1, 10],
    ]);
    expect(figures(report.byTotal)[0]).toEqual(['main', 1, 10]);
    expect(report.bySelf[0]).toMatchObject({ selfShare: 0.6, totalShare: 0.6 });
    expect(report).toMatchObject({ at: AT, samples: 100, idleSamples: 90, durationMs: 1_000, hertz: 100 });
  });

  it('counts a recursive function once per sample', async () => {
    const report = await reportOf([
      { functions: ['walk', 'visit', 'walk', 'walk'], hits: 4 },
      { functions: ['walk', 'visit'], hits: 1 },
    ]);
    expect(figures(report.byTotal)).toEqual([
      ['walk', 4, 5],
      ['visit', 1, 5],
    ]);
  });

  it('gives each sample to its service, and each function to the one that called it most', async () => {
    const report = await reportOf([
      { functions: ['a', 'shared'], hits: 2, service: 'api' },
      { functions: ['b', 'shared'], hits: 5, service: 'jobs' },
      { functions: ['(program)'], hits: 3 },
    ]);
    expect(report.byService).toEqual({ '': 3, api: 2, jobs: 5 });
    const serviceOf = (name: string) => report.byTotal.find((row) => row.frame.name === name)?.service;
    expect([serviceOf('shared'), serviceOf('a'), serviceOf('(program)')]).toEqual(['jobs', 'api', undefined]);
  });

  it('merges what was sampled in several goes', async () => {
    const one = captureOf([{ functions: ['main', 'parse'], hits: 2, service: 'api' }]);
    const other = captureOf([{ functions: ['main', 'parse'], hits: 3, service: 'jobs' }]);
    const report = await (await Profile.from([one, other], AT, 100)).report();
    expect(figures(report.byTotal)).toEqual([
      ['parse', 5, 5],
      ['main', 0, 5],
    ]);
    expect(report).toMatchObject({ samples: 5, durationMs: 50, byService: { api: 2, jobs: 3 } });
    expect(report.flame.children).toHaveLength(1);
  });

  it('has no more rows than it is asked for', async () => {
    const stacks = Array.from({ length: 30 }, (_, i) => ({ functions: [`f${i}`], hits: i + 1 }));
    const report = await reportOf(stacks, 3);
    expect(figures(report.bySelf).map(([name]) => name)).toEqual(['f29', 'f28', 'f27']);
  });

  it('can be made of nothing', async () => {
    const report = await (await Profile.from([], AT, 100)).report();
    expect(report).toMatchObject({ samples: 0, idleSamples: 0, bySelf: [], byService: {}, durationMs: 0 });
    expect(profileTable(report)).toBe('0.0 s at 100 Hz: busy 0.0 % of the time');
  });
});

describe('the table of a report', () => {
  it('says what was busy, whose it was, and where', async () => {
    const report = await reportOf([
      { functions: ['main', 'parse'], hits: 3, service: 'api' },
      { functions: ['(garbage collector)'], hits: 1 },
      { functions: ['(idle)'], hits: 4 },
    ]);
    expect(profileTable(report).split('\n')).toEqual([
      '0.1 s at 100 Hz: busy 50.0 % of the time; api 75.0 %, (no service) 25.0 %',
      '    self   total  hits  function             at              service',
      '  75.0 %  75.0 %     3  parse                /app/main.js:2  api',
      '  25.0 %  25.0 %     1  (garbage collector)',
      '   0.0 %  75.0 %     0  main                 /app/main.js:1  api',
    ]);
  });
});

const stack = fc.record({
  functions: fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { minLength: 1, maxLength: 6 }),
  hits: fc.integer({ min: 1, max: 20 }),
  service: fc.constantFrom('api', 'jobs'),
});

const size = (node: FlameNode): number => 1 + node.children.reduce((all, child) => all + size(child), 0);

describe('the flame tree', () => {
  it('keeps every hit, however few nodes it may have', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(stack, { minLength: 1 }),
        fc.integer({ min: 1, max: 40 }),
        async (stacks, max) => {
          const flame = await flameOf(await callTree([captureOf(stacks)]), max);
          const hits = stacks.reduce((all, { hits }) => all + hits, 0);
          const check = (node: FlameNode) => {
            expect(node.hits).toBeGreaterThanOrEqual(
              node.children.reduce((all, child) => all + child.hits, 0),
            );
            node.children.forEach(check);
          };
          expect(flame.hits).toBe(hits);
          check(flame);
          // Each kept node may have one that stands for its small children.
          expect(size(flame)).toBeLessThanOrEqual(2 * max + 1);
        },
      ),
    );
  });

  it('says that nodes were too small to be shown', async () => {
    const stacks = Array.from({ length: 50 }, (_, i) => ({
      functions: ['main', `f${i}`],
      hits: i === 7 ? 9 : 1,
    }));
    const [main] = (await flameOf(await callTree([captureOf(stacks)]), 5)).children;
    expect(main?.children.map(({ frame, hits }) => [frame.name, hits])).toEqual([
      ['(too small to show)', 49],
      ['f7', 9],
    ]);
  });
});
