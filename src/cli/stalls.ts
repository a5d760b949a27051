import type { Command } from 'commander';
import { stallText } from '../control/thread/stall-text.ts';
import type { Stall } from '../observe/reports.ts';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { plain, print, printJson } from './output.ts';

export function stallsCommand(): Command {
  return daemonCommand('stalls', 'Show when the main loop of a running daemon was blocked, and by what.', [
    'stalls',
    'stalls --json | jq ".[0].stack"',
  ])
    .addHelpText('after', '\nThe last one is shown first. A stall-detector service sees them.')
    .action(async (options: DaemonOptions) => {
      const client = await connect(options);
      const stalls = await client.get<readonly Stall[]>('/api/stalls');
      if (options.json) return printJson(stalls);
      const lines = stalls.map(
        (stall) => `${new Date(stall.beganAt).toISOString()} ${stallText(stall, false)}`,
      );
      print(lines.length === 0 ? 'none were seen\n' : `${lines.map(plain).join('\n')}\n`);
    });
}
