import type { Command } from 'commander';
import { stallText } from '../control/thread/stall-text.ts';
import { BosunError } from '../errors.ts';
import type { Stall } from '../observe/reports.ts';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { plain, print, printJson } from './output.ts';
import { readStatus } from './status.ts';

/** That no stall was seen says nothing: the daemon does not look for any. */
export class NoDetectorError extends BosunError {
  readonly code = 'ERR_NO_DETECTOR';

  constructor() {
    super('nothing looks for stalls: add `stalls: { use: stall-detector }` to the services of the config');
  }
}

export function stallsCommand(): Command {
  return daemonCommand('stalls', 'Show when the main loop of a running daemon was blocked, and by what.', [
    'stalls',
    'stalls --json | jq ".[0].stack"',
  ])
    .addHelpText(
      'after',
      '\nThe last one is shown first. They are seen by a stall-detector service; without one, this fails with 1.',
    )
    .action(async (options: DaemonOptions) => {
      const client = await connect(options);
      const stalls = await client.get<readonly Stall[]>('/api/stalls', Array.isArray);
      if (stalls.length === 0 && !(await readStatus(client)).features.stalls) throw new NoDetectorError();
      if (options.json) return printJson(stalls);
      const lines = stalls.map(
        (stall) => `${new Date(stall.beganAt).toISOString()} ${stallText(stall, false)}`,
      );
      print(lines.length === 0 ? 'none were seen\n' : `${lines.map(plain).join('\n')}\n`);
    });
}
