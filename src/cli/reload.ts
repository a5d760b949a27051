import type { Command } from 'commander';
import type { Client } from './client.ts';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { print, printJson } from './output.ts';
import { Progress } from './progress.ts';

export function reloadCommand(): Command {
  return daemonCommand('reload', 'Have a running daemon read its config again and apply what has changed.', [
    'reload',
    'check && bosun reload',
  ]).action(async (options: DaemonOptions) => {
    const client = await connect(options);
    const answer = await reload(client);
    if (options.json) printJson(answer);
    else print('the config has been read again; `bosun logs` says what has changed\n');
  });
}

async function reload(client: Client): Promise<object> {
  using _progress = Progress.onTerminal('reading the config again, and applying what has changed');
  return await client.post<object>('/api/reload', () => true);
}
