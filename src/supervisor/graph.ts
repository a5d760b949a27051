import { DependencyCycleError } from '../errors.ts';

/** What each node depends on; nodes that are no keys are ignored. */
export type Graph<Node> = ReadonlyMap<Node, ReadonlySet<Node>>;

/**
 * The nodes in dependency order; among those that are independent, in the order of the map.
 *
 * @throws {DependencyCycleError} `ERR_DEPENDENCY_CYCLE`, with the circle.
 */
export function inOrder<Node>(graph: Graph<Node>, nameOf: (node: Node) => string): Node[] {
  const order = new Set<Node>();
  const path: Node[] = [];
  const visit = (node: Node): void => {
    if (order.has(node)) return;
    const start = path.indexOf(node);
    if (start >= 0) throw new DependencyCycleError([...path.slice(start), node].map(nameOf));
    path.push(node);
    for (const dependency of graph.get(node) ?? []) if (graph.has(dependency)) visit(dependency);
    path.pop();
    order.add(node);
  };
  for (const node of graph.keys()) visit(node);
  return [...order];
}

/** The same graph with its arrows turned round. */
export function reversed<Node>(graph: Graph<Node>): Graph<Node> {
  const turned = new Map<Node, Set<Node>>([...graph.keys()].reverse().map((node) => [node, new Set()]));
  for (const [node, dependencies] of graph) {
    for (const dependency of dependencies) turned.get(dependency)?.add(node);
  }
  return turned;
}

/** The part of a graph that holds only `nodes`, with what they depend on through others that are left out. */
export function restrictedTo<Node>(graph: Graph<Node>, nodes: ReadonlySet<Node>): Graph<Node> {
  const part = new Map<Node, Set<Node>>();
  for (const node of graph.keys()) {
    if (!nodes.has(node)) continue;
    const found = new Set<Node>();
    const seen = new Set<Node>();
    const visit = (from: Node) => {
      for (const dependency of graph.get(from) ?? []) {
        if (seen.has(dependency)) continue;
        seen.add(dependency);
        if (nodes.has(dependency)) found.add(dependency);
        else visit(dependency);
      }
    };
    visit(node);
    part.set(node, found);
  }
  return part;
}

/**
 * Visits every node once, each as soon as the visits of what it depends on have settled; independent ones run
 * side by side. A visit that rejects does not keep the others from theirs. When `hurry` aborts, the order no
 * longer counts: all that has not begun begins.
 *
 * @throws the first rejection, when all visits have settled.
 */
export async function visitInOrder<Node>(
  graph: Graph<Node>,
  visit: (node: Node) => Promise<void>,
  hurry?: AbortSignal,
): Promise<void> {
  const dependents = reversed(graph);
  const waitingOn = new Map<Node, number>();
  const begun = new Set<Node>();
  const failures: unknown[] = [];
  await new Promise<void>((resolve) => {
    let left = graph.size;
    const begin = (node: Node) => {
      if (begun.has(node)) return;
      begun.add(node);
      void visit(node)
        .catch((error) => failures.push(error))
        .then(() => settled(node));
    };
    const beginAll = () => [...graph.keys()].forEach(begin);
    const settled = (node: Node) => {
      left -= 1;
      if (left === 0) {
        hurry?.removeEventListener('abort', beginAll);
        resolve();
      }
      for (const dependent of dependents.get(node) ?? []) {
        const count = (waitingOn.get(dependent) ?? 0) - 1;
        waitingOn.set(dependent, count);
        if (count === 0) begin(dependent);
      }
    };
    if (left === 0) resolve();
    else hurry?.addEventListener('abort', beginAll);
    for (const [node, dependencies] of graph) {
      waitingOn.set(node, [...dependencies].filter((dependency) => graph.has(dependency)).length);
    }
    for (const node of graph.keys()) if (hurry?.aborted || waitingOn.get(node) === 0) begin(node);
  });
  if (failures.length > 0) throw failures[0];
}
