import type { Command } from 'commander';
import type { Client } from './client.ts';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { plain, print, printJson, shortDuration } from './output.ts';
import { Progress } from './progress.ts';

export function restartCommand(): Command {
  return daemonCommand('restart', 'Stop a service of a running daemon and start it again.', [
    'restart api',
    'restart database --json',
  ])
    .argument('<service>', 'its name, as `bosun ps` shows it')
    .action(async (service: string, options: DaemonOptions) => {
      const client = await connect(options);
      const answer = await restart(client, service);
      if (options.json) printJson(answer);
      else print(`${plain(answer.name)} runs again, after ${shortDuration(answer.durationMs)}\n`);
    });
}

interface Restarted {
  readonly name: string;
  readonly durationMs: number;
}

async function restart(client: Client, service: string): Promise<Restarted> {
  using _progress = Progress.onTerminal(`restarting ${plain(service)}`);
  return await client.post<Restarted>(
    `/api/services/${encodeURIComponent(service)}/restart`,
    ({ name }) => typeof name === 'string',
  );
}
