import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import {
  Label,
  Line,
  Location,
  Function as PprofFunction,
  Profile as PprofProfile,
  Sample,
  StringTable,
  ValueType,
} from 'pprof-format';
import { Pace } from '../pace.ts';
import type { Frame } from '../reports.ts';
import { type CallNode, indexIn, isIdle } from './call-tree.ts';
import type { Profile } from './profile.ts';

const zip = promisify(gzip);

/**
 * A profile as pprof has it (https://github.com/google/pprof/blob/main/proto/profile.proto), gzipped: samples and
 * wall time by stack, without what was idle; the label `service` tells whose code ran.
 */
export async function pprof(profile: Profile): Promise<Buffer> {
  const { root, services, samples } = profile.tree;
  const pace = new Pace();
  const stringTable = new StringTable();
  // Not the period that was asked for: on a busy machine there are fewer samples.
  const { length } = samples;
  const periodNanos = Math.round(length > 0 ? (profile.durationMs * 1e6) / length : 1e9 / profile.hertz);
  const frames = new Map<Frame, number>();
  const sample: Sample[] = [];
  const left: { readonly node: CallNode; readonly stack: readonly number[] }[] = [{ node: root, stack: [] }];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { node, stack } = next;
    for (const [i, hits] of node.selfHits.entries()) {
      if (hits > 0 && stack.length > 0) {
        const service = services[i] as string;
        const label = new Label({ key: stringTable.dedup('service'), str: stringTable.dedup(service) });
        sample.push(
          new Sample({
            locationId: [...stack],
            value: [hits, hits * periodNanos],
            label: service === '' ? [] : [label],
          }),
        );
      }
    }
    for (const child of node.children) {
      if (isIdle(child)) continue;
      left.push({ node: child, stack: [indexIn(frames, child.frame) + 1, ...stack] });
    }
    if (pace.isDue) await pace.giveWay();
  }
  const wall = new ValueType({ type: stringTable.dedup('wall'), unit: stringTable.dedup('nanoseconds') });
  const encoded = new PprofProfile({
    sampleType: [
      new ValueType({ type: stringTable.dedup('samples'), unit: stringTable.dedup('count') }),
      wall,
    ],
    sample,
    ...functionsOf([...frames.keys()], stringTable),
    stringTable,
    timeNanos: BigInt(Math.round(profile.at - profile.durationMs)) * 1_000_000n,
    durationNanos: Math.round(profile.durationMs * 1e6),
    periodType: wall,
    period: periodNanos,
    defaultSampleType: stringTable.dedup('wall'),
  });
  return await zip(await encoded.encodeAsync());
}

/** One function and one location per frame, as V8 tells no more of a place than its function. */
function functionsOf(frames: readonly Frame[], strings: StringTable) {
  const functions = frames.map(({ name, file, line }, i) => {
    const id = strings.dedup(name === '' ? '(anonymous)' : name);
    return new PprofFunction({
      id: i + 1,
      name: id,
      systemName: id,
      filename: strings.dedup(file),
      startLine: line,
    });
  });
  const location = frames.map(
    ({ line }, i) => new Location({ id: i + 1, line: [new Line({ functionId: i + 1, line })] }),
  );
  return { function: functions, location };
}
