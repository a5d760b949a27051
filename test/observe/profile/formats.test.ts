import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { Profile as PprofProfile } from 'pprof-format';
import { describe, expect, it } from 'vitest';
import { Profile } from '../../../src/observe/profile/index.ts';
import { captureOf, type Stack } from '../../support/raw-profile.ts';

const AT = 1_700_000_060_000;

const stack: fc.Arbitrary<Stack & { readonly hits: number }> = fc.record({
  functions: fc.oneof<fc.Arbitrary<readonly string[]>[]>(
    fc.array(fc.string(), { minLength: 1, maxLength: 6 }),
    fc.constant(['(idle)']),
    fc.constant(['(garbage collector)']),
  ),
  hits: fc.integer({ min: 1, max: 20 }),
  service: fc.constantFrom('api', 'jobs', undefined),
});
const stacks = fc.array(stack, { maxLength: 20 });

const HERTZ = 100;
/** Nothing at all when the profiler paused all the time. */
const profileOf = (all: readonly Stack[]) =>
  Profile.from(all.length === 0 ? [] : [captureOf(all, HERTZ)], AT, HERTZ);

interface CpuProfileNode {
  readonly id: number;
  readonly hitCount: number;
  readonly children: readonly number[];
  readonly callFrame: Readonly<Record<'functionName' | 'scriptId' | 'url', string>> &
    Readonly<Record<'lineNumber' | 'columnNumber', number>>;
}

interface CpuProfile {
  readonly nodes: readonly CpuProfileNode[];
  readonly startTime: number;
  readonly endTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const total = (numbers: readonly number[]) => numbers.reduce((all, each) => all + each, 0);

describe('a .cpuprofile', () => {
  it('is a tree whose samples and times add up', async () => {
    await fc.assert(
      fc.asyncProperty(stacks, async (all) => {
        const profile = await profileOf(all);
        const written: CpuProfile = JSON.parse((await profile.encode('cpuprofile')).toString());
        const { nodes, samples, timeDeltas, startTime, endTime } = written;
        const ids = nodes.map((node) => node.id);
        const hits = total(all.map((each) => each.hits));
        expect(new Set(ids).size).toBe(nodes.length);
        // Every node but the root is the child of one.
        expect(nodes.flatMap((node) => node.children).sort((a, b) => a - b)).toEqual(ids.slice(1));
        for (const { id, hitCount } of nodes) {
          expect(samples.filter((sample) => sample === id)).toHaveLength(hitCount);
        }
        expect(samples).toHaveLength(hits);
        expect(timeDeltas).toHaveLength(hits);
        expect(Math.min(...timeDeltas)).toBeGreaterThanOrEqual(0);
        expect(startTime + total(timeDeltas)).toBeLessThanOrEqual(endTime);
      }),
    );
  });

  it('has its samples in the order of time, however many', async () => {
    const names = ['a', 'b', 'c'];
    const many = Array.from({ length: 3_000 }, (_, i) => ({ functions: ['main', names[i % 3] as string] }));
    const { samples, timeDeltas }: CpuProfile = JSON.parse(
      (await (await profileOf(many)).encode('cpuprofile')).toString(),
    );
    expect(new Set(timeDeltas)).toEqual(new Set([1e6 / HERTZ]));
    expect(samples).toEqual(many.map((_, i) => samples[i % 3]));
    expect(new Set(samples).size).toBe(3);
  });

  it('counts lines from 0, and names files by their URL', async () => {
    const profile = await profileOf([{ functions: ['main', 'pärse'] }]);
    const { nodes } = JSON.parse((await profile.encode('cpuprofile')).toString()) as CpuProfile;
    expect(nodes.map((node) => node.callFrame)).toMatchObject([
      { functionName: '(root)', url: '', lineNumber: -1 },
      { functionName: 'main', url: 'file:///app/main.js', lineNumber: 0, columnNumber: 0 },
      { functionName: 'pärse', url: 'file:///app/main.js', lineNumber: 1, columnNumber: 1 },
    ]);
  });
});

describe('a pprof file', () => {
  it('has every busy sample once, with its stack and its service', async () => {
    await fc.assert(
      fc.asyncProperty(stacks, async (all) => {
        const profile = await profileOf(all);
        const decoded = PprofProfile.decode(gunzipSync(await profile.encode('pprof')));
        const strings = decoded.stringTable.strings;
        const busy = all.filter(({ functions }) => functions[0] !== '(idle)');
        const hits = (service: string | undefined) =>
          total(busy.filter((each) => each.service === service).map((each) => each.hits));
        const serviceOf = (sample: (typeof decoded.sample)[number]) => {
          const label = sample.label.find(({ key }) => strings[Number(key)] === 'service');
          return label === undefined ? undefined : strings[Number(label.str)];
        };
        for (const service of ['api', 'jobs', undefined]) {
          const samples = decoded.sample.filter((sample) => serviceOf(sample) === service);
          expect(total(samples.map((sample) => Number(sample.value[0])))).toBe(hits(service));
        }
        const functionOf = (id: number | bigint) => {
          const place = decoded.location.find((location) => location.id === id);
          const called = decoded.function.find(({ id }) => id === place?.line[0]?.functionId);
          return strings[Number(called?.name)];
        };
        const given = new Set(
          busy.map(({ functions }) => functions.map((name) => name || '(anonymous)').join()),
        );
        for (const { locationId } of decoded.sample) {
          expect(given).toContain(locationId.map(functionOf).reverse().join());
        }
        expect(Number(decoded.period)).toBe(10_000_000);
      }),
    );
  });
});
