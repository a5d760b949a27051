import type { Command } from 'commander';
import type { Stall } from '../observe/reports.ts';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { frameText } from './frames.ts';
import { type Cell, plain, print, printJson, shortDuration, table } from './output.ts';

export function stallsCommand(): Command {
  return daemonCommand('stalls', 'Show when the main loop of a running daemon was blocked, and by what.', [
    'stalls',
    'stalls --json | jq ".[0].stack"',
  ]).action(async (options: DaemonOptions) => {
    const client = await connect(options);
    const stalls = await client.get<readonly Stall[]>('/api/stalls');
    if (options.json) printJson(stalls);
    else if (stalls.length === 0) print('none\n');
    else print(`${table(stallRows(stalls)).join('\n')}\n`);
  });
}

function stallRows(stalls: readonly Stall[]): Cell[][] {
  const head = ['SINCE', 'BLOCKED FOR', 'SERVICE', 'BY'].map((text): Cell => ({ text, style: 'bold' }));
  const rows = stalls.map(({ beganAt, durationMs, over, service, stack: [innermost] }): Cell[] => [
    new Date(beganAt).toISOString(),
    over ? shortDuration(durationMs) : { text: `${shortDuration(durationMs)}, still`, style: 'red' },
    plain(service ?? '-'),
    innermost === undefined ? '-' : frameText(innermost),
  ]);
  return [head, ...rows];
}
