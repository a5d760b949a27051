import { Pace } from '../pace.ts';
import type { Frame, ProfileRow } from '../reports.ts';
import { type CallNode, sum } from './call-tree.ts';

/** A function's hits, by the index of the service. */
interface Tally {
  readonly self: number[];
  readonly total: number[];
  /** How often it is on the stack that is being looked at. */
  depth: number;
}

/** What the stacks below `tops` say of each function and each service. */
export async function rowsOf(
  tops: readonly CallNode[],
  services: readonly string[],
): Promise<{ readonly rows: readonly ProfileRow[]; readonly byService: Readonly<Record<string, number>> }> {
  const pace = new Pace();
  const tallies = new Map<Frame, Tally>();
  const zeroes = () => services.map(() => 0);
  const tallyOf = (frame: Frame): Tally => {
    let tally = tallies.get(frame);
    if (tally === undefined) {
      tally = { self: zeroes(), total: zeroes(), depth: 0 };
      tallies.set(frame, tally);
    }
    return tally;
  };
  /** All hits of the stack at `node` and above it. */
  const visit = async (node: CallNode): Promise<readonly number[]> => {
    const tally = tallyOf(node.frame);
    const hits = [...node.selfHits];
    add(tally.self, node.selfHits);
    tally.depth++;
    for (const child of node.children) add(hits, await visit(child));
    tally.depth--;
    // Of a recursion only the outermost call counts: each sample once.
    if (tally.depth === 0) add(tally.total, hits);
    if (pace.isDue) await pace.giveWay();
    return hits;
  };
  const all = zeroes();
  for (const top of tops) add(all, await visit(top));
  const samples = sum(all);
  const rows = [...tallies].map(([frame, { self, total }]) => {
    const selfHits = sum(self);
    const totalHits = sum(total);
    return {
      frame,
      selfHits,
      totalHits,
      selfShare: selfHits / samples || 0,
      totalShare: totalHits / samples || 0,
      service: services[total.indexOf(Math.max(...total))] || undefined,
    };
  });
  const byService = Object.fromEntries(
    services.flatMap((name, i) => ((all[i] as number) > 0 ? [[name, all[i] as number]] : [])),
  );
  return { rows, byService };
}

function add(to: number[], more: readonly number[]): void {
  for (let i = 0; i < to.length; i++) to[i] = (to[i] as number) + (more[i] as number);
}
