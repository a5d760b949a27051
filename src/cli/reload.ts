import type { Command } from 'commander';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { print, printJson } from './output.ts';

export function reloadCommand(): Command {
  return daemonCommand('reload', 'Have a running daemon read its config again and apply what has changed.', [
    'reload',
    'check && bosun reload',
  ]).action(async (options: DaemonOptions) => {
    const client = await connect(options);
    const answer = await client.post<object>('/api/reload');
    if (options.json) printJson(answer);
    else print('the config has been read again; `bosun logs` says what has changed\n');
  });
}
