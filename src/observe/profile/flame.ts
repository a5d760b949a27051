import type { FlameNode } from '../reports.ts';
import { type CallNode, sum } from './call-tree.ts';

/** Nodes that a flame graph has at most, besides those that stand for what was left out. */
export const MAX_FLAME_NODES = 1_000;

/** What stands for the children of a node that are too small to be shown. */
const rest = { name: '(too small to show)', file: '', line: 0, column: 0 };

/**
 * The tree of stacks as a flame graph: of the nodes the largest, up to `maxNodes`, each parent's others as one.
 * Stacks without a hit are left out.
 */
export function flameOf(root: CallNode, maxNodes = MAX_FLAME_NODES): FlameNode {
  const totals = new Map<CallNode, number>();
  const countHits = (node: CallNode): number => {
    const hits = sum(node.selfHits) + sum(node.children.map(countHits));
    totals.set(node, hits);
    return hits;
  };
  countHits(root);
  const sorted = Float64Array.from(totals.values()).sort().reverse();
  // A child has no more hits than its parent, so a threshold leaves a tree.
  const minHits = Math.max(1, (sorted[maxNodes] ?? 0) + 1);
  const build = (node: CallNode): FlameNode => {
    const children: FlameNode[] = [];
    let others = 0;
    for (const child of node.children) {
      const hits = totals.get(child) as number;
      if (hits >= minHits) children.push(build(child));
      else others += hits;
    }
    if (others > 0) children.push({ frame: rest, hits: others, children: [] });
    children.sort((a, b) => b.hits - a.hits);
    return { frame: node.frame, hits: totals.get(node) as number, children };
  };
  return build(root);
}
