/**
 * Holds 200 MB that come from a number of call sites, each by a stack of its own, 20 frames deep; takes reports of
 * them as the memory tracer does, and writes how long each held up the loop as a line of JSON.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { systemClock } from '../../src/clock.ts';
import { CallSites } from '../../src/observe/memory/call-sites.ts';
import { HeapSampler } from '../../src/observe/memory/heap-sampler.ts';
import { type Holdings, Ledger } from '../../src/observe/memory/ledger.ts';
import { Pace } from '../../src/observe/pace.ts';
import { SourceMaps } from '../../src/observe/source-maps.ts';
import { longestTurn } from '../lib/turns.ts';

const [sites, samplingBytes, stackDepth] = process.argv.slice(2).map(Number) as [number, number, number];

const HELD_BYTES = 200_000_000;
const DEPTH = 20;
const REPORTS = 50;

/** Functions that call each other like those of a program: few near its entry, more further on. */
async function callers(folder: string): Promise<(site: number, held: unknown[]) => void> {
  const layers = Array.from({ length: DEPTH }, (_, layer) =>
    Math.max(1, Math.ceil(sites ** (layer / (DEPTH - 1)))),
  );
  const lines = layers.flatMap((width, layer) =>
    Array.from({ length: width }, (_, index) => {
      const name = `f${layer}_${index}`;
      if (layer === DEPTH - 1)
        return `function ${name}(site, held) {\n  held.push({ site, tags: [site, name()] });\n}`;
      const next = layers[layer + 1] as number;
      return `function ${name}(site, held) {\n  layer${layer + 1}[Math.floor((site * ${next}) / ${sites})](site, held);\n  count += 1;\n}`;
    }),
  );
  const tables = layers.map(
    (width, layer) => `const layer${layer} = [${Array.from({ length: width }, (_, i) => `f${layer}_${i}`)}];`,
  );
  const text = [
    'let count = 0;',
    "const name = () => 'n' + count;",
    ...lines,
    ...tables,
    'export default f0_0;',
  ].join('\n');
  const file = join(folder, 'callers.mjs');
  await writeFile(file, text);
  const module: { default(site: number, held: unknown[]): void } = await import(pathToFileURL(file).href);
  return module.default;
}

await using stack = new AsyncDisposableStack();
const folder = await mkdtemp(join(tmpdir(), 'bosun-bench-'));
stack.defer(() => rm(folder, { recursive: true }));
const call = await callers(folder);
using sampler = await HeapSampler.start({ samplingBytes, stackDepth, clock: systemClock });
const pace = new Pace();
const sitesOf = new CallSites(new SourceMaps(pace), pace);
const ledger = new Ledger(sitesOf, 'line', process.memoryUsage().arrayBuffers, pace);
const held: unknown[][] = [];
const holdMore = (times: number) => {
  for (let site = 0; site < sites; site++) {
    const list: unknown[] = [];
    for (let i = 0; i < times / sites; i++) call(site, list);
    held.push(list);
  }
};
while (process.memoryUsage().heapUsed < HELD_BYTES) {
  holdMore(20_000);
  await new Promise((resolve) => setImmediate(resolve));
}

const pauses: number[] = [];
const turns: number[] = [];
let stacks = 0;
let last: Holdings | undefined;
for (let count = 0; count < REPORTS; count++) {
  holdMore(1_000);
  await new Promise((resolve) => setImmediate(resolve));
  const begun = performance.now();
  const capture = sampler.capture();
  pauses.push(performance.now() - begun);
  stacks = capture.allocations.length;
  turns.push(
    await longestTurn(async () => {
      pace.restart();
      const holdings = await ledger.add(capture);
      await ledger.rows(holdings, last, 10);
      last = holdings;
    }),
  );
}
process.stdout.write(JSON.stringify({ stacks, heapBytes: process.memoryUsage().heapUsed, pauses, turns }));
