import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { machine, report } from './lib/report.ts';
import { markdown, spread } from './lib/rounds.ts';

interface Measured {
  readonly stacks: number;
  readonly heapBytes: number;
  readonly pauses: readonly number[];
  readonly turns: readonly number[];
}

const KIB = 1_024;
const script = fileURLToPath(new URL('servers/held.ts', import.meta.url));

async function measure(sites: number, samplingBytes: number, stackDepth: number): Promise<string[]> {
  const args = ['--conditions=bosun-source', script, ...[sites, samplingBytes, stackDepth].map(String)];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const { stacks, heapBytes, pauses, turns } = JSON.parse(stdout) as Measured;
  const [pause, turn] = [spread(pauses), spread(turns)];
  return [
    String(sites),
    `${samplingBytes / KIB} KiB`,
    String(stackDepth),
    String(stacks),
    String(Math.round(heapBytes / 1e6)),
    ...[pause.median, pause.max, turn.median, turn.max].map((ms) => ms.toFixed(1)),
  ];
}

const description = machine();
const rows: string[][] = [];
for (const sites of [4, 300]) {
  for (const [samplingBytes, stackDepth] of [
    [256 * KIB, 24],
    [256 * KIB, 12],
    [1_024 * KIB, 24],
    [64 * KIB, 24],
  ] as const) {
    rows.push(await measure(sites, samplingBytes, stackDepth));
  }
}

report('memory', 'Memory tracer', [
  `${description}.`,
  'How long a report holds up the loop of a process that holds 200 MB of small objects, made by few call sites or by many, each with a stack of 20 frames of its own. 50 reports; between two of them, 1,000 more are made at all sites. In the last columns the longest time between two turns of the event loop while the lines are looked up and the table is made.',
  markdown(
    [
      'call sites',
      'sampling',
      'stack depth',
      'stacks',
      'heap, MB',
      'pause, ms: median',
      'max',
      'longest turn after it, ms: median',
      'max',
    ],
    rows,
  ),
]);
