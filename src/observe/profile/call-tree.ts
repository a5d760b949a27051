import { originalFrames } from '../original-frames.ts';
import { Pace } from '../pace.ts';
import type { Frame } from '../reports.ts';
import type { RawNode } from './native.ts';
import type { Capture } from './sampler.ts';

/** A function on one stack; those of one parent differ in name or place. */
export interface CallNode {
  /** Its index in `CallTree.nodes`. */
  readonly index: number;
  readonly frame: Frame;
  readonly children: CallNode[];
  /** Samples that found it running itself, by the index of the service in `CallTree.services`. */
  readonly selfHits: number[];
}

/** One sample: the node that it found running, and when: microseconds since the epoch. */
export interface TimedSample {
  readonly node: CallNode;
  readonly at: number;
}

/** All stacks of a profile, those of several captures merged, in the author's places. */
export interface CallTree {
  readonly root: CallNode;
  /** Parents come before their children. */
  readonly nodes: readonly CallNode[];
  /** The first is '': what belongs to no service. */
  readonly services: readonly string[];
  /** In the order of time. */
  readonly samples: readonly TimedSample[];
}

/** What V8 calls the time in which the thread had nothing to do. */
export const isIdle = ({ frame }: CallNode): boolean => frame.name === '(idle)' && frame.file === '';

export const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);

/** How many samples are looked at between two looks at the time. */
export const CHUNK = 500;

/** Merges the captures into one tree, without holding up the loop. */
export async function callTree(captures: readonly Capture[]): Promise<CallTree> {
  const pace = new Pace();
  const frameOf = await framesOf(captures, pace);
  const services = new Map([['', 0]]);
  const nodes: CallNode[] = [];
  const samples: TimedSample[] = [];
  const newNode = (frame: Frame): CallNode => {
    const node = { index: nodes.length, frame, children: [], selfHits: [] };
    nodes.push(node);
    return node;
  };
  const root = newNode({ name: '(root)', file: '', line: 0, column: 0 });
  for (const { root: rawRoot } of captures) {
    const left: [RawNode, CallNode][] = [[rawRoot, root]];
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      const [raw, node] = next;
      for (const { timestamp, context } of raw.contexts) {
        const service = indexIn(services, context?.service ?? '');
        node.selfHits[service] = (node.selfHits[service] ?? 0) + 1;
        if (samples.push({ node, at: Number(timestamp) }) % CHUNK === 0 && pace.isDue) await pace.giveWay();
      }
      for (const rawChild of raw.children) {
        const frame = frameOf(rawChild);
        let child = node.children.find((other) => other.frame === frame);
        if (child === undefined) {
          child = newNode(frame);
          node.children.push(child);
        }
        left.push([rawChild, child]);
      }
      if (pace.isDue) await pace.giveWay();
    }
  }
  for (const { selfHits } of nodes) {
    for (let i = 0; i < services.size; i++) selfHits[i] ??= 0;
  }
  return { root, nodes, services: [...services.keys()], samples: await inTimeOrder(samples, pace) };
}

/** Sorts a part of the time after the other: the samples are spread over it evenly. */
async function inTimeOrder(samples: readonly TimedSample[], pace: Pace): Promise<TimedSample[]> {
  let first = Number.POSITIVE_INFINITY;
  let last = 0;
  for (const { at } of samples) {
    first = Math.min(first, at);
    last = Math.max(last, at);
  }
  const count = Math.ceil(samples.length / CHUNK);
  const parts = Array.from({ length: count }, (): TimedSample[] => []);
  const width = (last - first + 1) / count;
  for (const [i, sample] of samples.entries()) {
    parts[Math.floor((sample.at - first) / width)]?.push(sample);
    if (i % CHUNK === 0 && pace.isDue) await pace.giveWay();
  }
  for (const part of parts) {
    part.sort((a, b) => a.at - b.at);
    if (pace.isDue) await pace.giveWay();
  }
  return parts.flat();
}

/** The way to each node's frame in the author's places; equal frames are the same object. */
async function framesOf(captures: readonly Capture[], pace: Pace): Promise<(raw: RawNode) => Frame> {
  const built = new Map<string, Frame>();
  const left = captures.map(({ root }) => root);
  for (let raw = left.pop(); raw !== undefined; raw = left.pop()) {
    const { name, scriptName: file, lineNumber: line, columnNumber: column, children } = raw;
    const key = keyOf(raw);
    if (!built.has(key)) built.set(key, { name, file, line, column });
    left.push(...children);
    if (pace.isDue) await pace.giveWay();
  }
  const originals = await originalFrames([...built.values()]);
  const distinct = new Map<string, Frame>();
  const frames = new Map<string, Frame>();
  for (const [i, key] of [...built.keys()].entries()) {
    const original = originals[i] as Frame;
    const place = `${original.file}:${original.line}:${original.column}:${original.name}`;
    const frame = distinct.get(place) ?? original;
    distinct.set(place, frame);
    frames.set(key, frame);
  }
  return (raw) => frames.get(keyOf(raw)) as Frame;
}

const keyOf = ({ scriptId, lineNumber, columnNumber, name }: RawNode): string =>
  `${scriptId}:${lineNumber}:${columnNumber}:${name}`;

/** The index of a key in the order in which the keys came. */
export function indexIn<Key>(indices: Map<Key, number>, key: Key): number {
  let index = indices.get(key);
  if (index === undefined) {
    index = indices.size;
    indices.set(key, index);
  }
  return index;
}
