import { Pace } from '../pace.ts';
import type { FlameNode } from '../reports.ts';
import { type CallNode, type CallTree, isIdle, sum } from './call-tree.ts';

/** Nodes that a flame graph has at most, besides those that stand for what was left out. */
export const MAX_FLAME_NODES = 1_000;

/** What stands for the children of a node that are too small to be shown. */
const rest = { name: '(too small to show)', file: '', line: 0, column: 0 };

/**
 * The tree of stacks as a flame graph: of the nodes the largest, up to `maxNodes`, each parent's others as one.
 * Stacks without a hit are left out, and what was idle.
 */
export async function flameOf({ root, nodes }: CallTree, maxNodes = MAX_FLAME_NODES): Promise<FlameNode> {
  const pace = new Pace();
  const totals = new Float64Array(nodes.length);
  const totalOf = ({ index }: CallNode) => totals[index] as number;
  // Children come after their parents.
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i] as CallNode;
    if (!isIdle(node)) totals[i] = sum(node.selfHits) + sum(node.children.map(totalOf));
    if (pace.isDue) await pace.giveWay();
  }
  const sorted = totals.toSorted().reverse();
  // A child has no more hits than its parent, so a threshold leaves a tree.
  const minHits = Math.max(1, (sorted[maxNodes] ?? 0) + 1);
  const build = (node: CallNode): FlameNode => {
    const children: FlameNode[] = [];
    let others = 0;
    for (const child of node.children) {
      const hits = totalOf(child);
      if (hits >= minHits) children.push(build(child));
      else others += hits;
    }
    if (others > 0) children.push({ frame: rest, hits: others, children: [] });
    children.sort((a, b) => b.hits - a.hits);
    return { frame: node.frame, hits: totalOf(node), children };
  };
  return build(root);
}
