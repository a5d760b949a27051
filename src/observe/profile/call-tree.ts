import type { Frame } from '../reports.ts';
import type { SourceMaps } from '../source-maps.ts';
import type { RawNode } from './native.ts';
import { Pacer } from './pacer.ts';
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

/** Merges the captures into one tree, without holding up the loop. */
export async function callTree(captures: readonly Capture[], maps: SourceMaps): Promise<CallTree> {
  const pacer = new Pacer();
  const frames = new FrameTable(maps);
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
        samples.push({ node, at: Number(timestamp) });
      }
      for (const rawChild of raw.children) {
        const frame = await frames.of(rawChild);
        let child = node.children.find((other) => other.frame === frame);
        if (child === undefined) {
          child = newNode(frame);
          node.children.push(child);
        }
        left.push([rawChild, child]);
      }
      await pacer.pause();
    }
  }
  for (const { selfHits } of nodes) {
    for (let i = 0; i < services.size; i++) selfHits[i] ??= 0;
  }
  samples.sort((a, b) => a.at - b.at);
  return { root, nodes, services: [...services.keys()], samples };
}

/** The index of a key in the order in which the keys came. */
export function indexIn<Key>(indices: Map<Key, number>, key: Key): number {
  let index = indices.get(key);
  if (index === undefined) {
    index = indices.size;
    indices.set(key, index);
  }
  return index;
}

/** Each frame once: equal frames are the same object. */
class FrameTable {
  readonly #maps: SourceMaps;
  /** By V8's position, and by the author's. */
  readonly #raw = new Map<string, Frame>();
  readonly #frames = new Map<string, Frame>();

  constructor(maps: SourceMaps) {
    this.#maps = maps;
  }

  async of({ name, scriptName, scriptId, lineNumber, columnNumber }: RawNode): Promise<Frame> {
    const rawKey = `${scriptId}:${lineNumber}:${columnNumber}:${name}`;
    const known = this.#raw.get(rawKey);
    if (known !== undefined) return known;
    const given: Frame = { name, file: scriptName, line: lineNumber, column: columnNumber };
    const original = await this.#maps.original(given);
    const key = `${original.file}:${original.line}:${original.column}:${original.name}`;
    const frame = this.#frames.get(key) ?? original;
    this.#frames.set(key, frame);
    this.#raw.set(rawKey, frame);
    return frame;
  }
}
