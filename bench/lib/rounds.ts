import { cpuMicros, type Peer } from './peers.ts';

/** What a slice of load on one peer gave. */
export interface Slice {
  readonly requests: number;
  readonly seconds: number;
  /** Milliseconds; absent where the load does not measure it. */
  readonly p99Ms?: number;
}

/** A slice, with the peer's CPU time. */
export interface Sample {
  readonly perSecond: number;
  readonly cpuMicrosPerRequest: number;
  readonly p99Ms: number | undefined;
}

/**
 * Loads the peers in turn, one slice each per round, so that what disturbs the machine disturbs all of them
 * alike; every other round goes the other way round, as each is disturbed by the one before. The first round
 * warms up and does not count.
 *
 * Peers of one name are one contender, of which each round loads another: processes that run the same code can differ
 * by a tenth, for hours.
 */
export async function roundRobin(
  peers: readonly Peer[],
  rounds: number,
  load: (peer: Peer) => Promise<Slice>,
  /** Done before each slice, and not measured; what it returns ends it. */
  prepare: (peer: Peer) => Promise<() => Promise<void>> = async () => async () => {},
): Promise<Map<string, Sample[]>> {
  const contenders = [...Map.groupBy(peers, ({ name }) => name).values()];
  const samples = new Map<string, Sample[]>(peers.map((peer) => [peer.name, []]));
  const warmUps = Math.max(...contenders.map((processes) => processes.length));
  for (let round = 1 - warmUps; round <= rounds; round++) {
    for (const processes of round % 2 === 0 ? contenders : [...contenders].reverse()) {
      const peer = processes[(round + warmUps) % processes.length] as Peer;
      const end = await prepare(peer);
      const before = cpuMicros(peer.pid);
      const slice = await load(peer);
      const used = cpuMicros(peer.pid) - before;
      await end();
      if (round <= 0) continue;
      samples.get(peer.name)?.push({
        perSecond: slice.requests / slice.seconds,
        cpuMicrosPerRequest: used / slice.requests,
        p99Ms: slice.p99Ms,
      });
    }
    process.stderr.write(`\r  round ${round} of ${rounds}`);
  }
  process.stderr.write('\n');
  return samples;
}

/** Median and range. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (i: number) => sorted[i] as number;
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
  return { median, min: at(0), max: at(sorted.length - 1) };
}

/** Median [min to max]. */
export function show({ median, min, max }: Spread, digits = 0): string {
  return `${median.toFixed(digits)} [${min.toFixed(digits)} to ${max.toFixed(digits)}]`;
}

/** The samples as a Markdown table: figures of each peer, and its ratio to `base`, taken round by round. */
export function table(
  samples: ReadonlyMap<string, readonly Sample[]>,
  base: string,
  unit = 'requests',
): string {
  const baseSamples = samples.get(base) ?? [];
  const ratio = (of: readonly Sample[], figure: (sample: Sample) => number) =>
    show(spread(of.map((sample, i) => figure(sample) / figure(baseSamples[i] as Sample))), 3);
  const rows = [...samples].map(([name, of]) => {
    const p99 = of.flatMap((sample) => sample.p99Ms ?? []);
    return [
      name,
      show(spread(of.map((sample) => sample.perSecond))),
      p99.length === 0 ? '' : show(spread(p99), 1),
      show(spread(of.map((sample) => sample.cpuMicrosPerRequest)), 1),
      name === base ? '1' : ratio(of, (sample) => sample.perSecond),
      name === base ? '1' : ratio(of, (sample) => sample.cpuMicrosPerRequest),
    ];
  });
  return markdown(
    [
      '',
      `${unit}/s`,
      'p99, ms',
      `server CPU, µs per ${unit.replace(/s$/, '')}`,
      `${unit}/s ÷ ${base}`,
      `CPU ÷ ${base}`,
    ],
    rows,
  );
}

/** A Markdown table. */
export function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}
