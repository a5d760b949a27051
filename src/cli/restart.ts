import type { Command } from 'commander';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { print, printJson, shortDuration } from './output.ts';

export function restartCommand(): Command {
  return daemonCommand('restart', 'Stop a service of a running daemon and start it again.', [
    'restart api',
    'restart database --json',
  ])
    .argument('<service>', 'its name, as `bosun ps` shows it')
    .action(async (service: string, options: DaemonOptions) => {
      const client = await connect(options);
      const answer = await client.post<{ readonly name: string; readonly durationMs: number }>(
        `/api/services/${encodeURIComponent(service)}/restart`,
      );
      if (options.json) printJson(answer);
      else print(`${answer.name} runs again, after ${shortDuration(answer.durationMs)}\n`);
    });
}
