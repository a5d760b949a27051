import type { Command } from 'commander';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { print, printJson, table } from './output.ts';
import { readStatus, serviceRows } from './status.ts';

export function psCommand(): Command {
  return daemonCommand('ps', 'Show the services of a running daemon.', [
    'ps',
    'ps --admin /run/my-daemon/admin.sock',
    'ps --json | jq -r \'.services[] | select(.state != "running") | .name\'',
  ]).action(async (options: DaemonOptions) => {
    const client = await connect(options);
    const status = await readStatus(client);
    if (options.json) printJson(status);
    else print(`${table(serviceRows(status)).join('\n')}\n`);
  });
}
