import { once } from 'node:events';
import { type Command, Option } from 'commander';
import { lineLevels } from '../logging/levels.ts';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { hasColours, plain, shownJson } from './output.ts';

interface LogsOptions extends DaemonOptions {
  readonly follow?: boolean;
  readonly service?: string;
  readonly level?: string;
  readonly lines?: string;
}

export function logsCommand(): Command {
  return daemonCommand('logs', "Show the last lines of a running daemon's log.", [
    'logs --service api --level warn',
    'logs -f',
    'logs --json --lines 1000 | jq -r .msg',
  ])
    .option('-f, --follow', 'go on with the lines that come')
    .option('--service <name>', 'of this service only')
    .addOption(new Option('--level <level>', 'of this level at least').choices(lineLevels))
    .option('--lines <count>', 'how many of the last lines; 0: none')
    .action(async ({ follow, service, level, lines, ...options }: LogsOptions) => {
      const client = await connect(options);
      const query = new URLSearchParams({
        ...(service !== undefined && { service }),
        ...(level !== undefined && { level }),
        ...(lines !== undefined && { lines }),
        ...(follow && { follow: '1' }),
      });
      const render = options.json ? shownJson : await lineRenderer();
      for await (const line of client.lines(`/api/logs?${query}`)) {
        if (!process.stdout.write(render(`${line}\n`))) await once(process.stdout, 'drain');
      }
    });
}

/** As the daemon writes its log for people, with colours and without. */
async function lineRenderer(): Promise<(line: string) => string> {
  const { renderer } = await import('../logging/format.ts');
  const render = renderer(hasColours() ? 'pretty' : 'plain');
  return (line) => {
    try {
      return render(line);
    } catch {
      return `${plain(line.trimEnd())}\n`;
    }
  };
}
