import type { Command } from 'commander';
import type { ProfileFormat } from '../control/protocol.ts';
import { preview } from '../errors.ts';
import { MAX_HERTZ, MIN_HERTZ } from '../observe/profile/limits.ts';
import { profileTable } from '../observe/profile/table.ts';
import type { ProfileReport } from '../observe/reports.ts';
import type { Client } from './client.ts';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { UsageError } from './find-daemon.ts';
import { note, plain, print, printJson, shortSize } from './output.ts';
import { writeFileWhole } from './output-file.ts';
import { Progress } from './progress.ts';

interface ProfileOptions extends DaemonOptions {
  readonly seconds: string;
  readonly hertz?: string;
  readonly out?: string;
}

const endings: readonly [string, ProfileFormat][] = [
  ['.cpuprofile', 'cpuprofile'],
  ['.pb.gz', 'pprof'],
  ['.json', 'report'],
];

/** The media types in which the daemon sends them. */
const types: Readonly<Record<ProfileFormat, string>> = {
  cpuprofile: 'application/json',
  pprof: 'application/octet-stream',
  report: 'application/json',
};

export function profileCommand(): Command {
  return daemonCommand('profile', 'Show, or save, what a running daemon spends its time on.', [
    'profile --seconds 30',
    'profile --out slow.cpuprofile     # for Chrome DevTools, VS Code, speedscope',
    'profile --out slow.pb.gz          # for go tool pprof',
    "profile --json | jq '.byService'",
  ])
    .option('--seconds <count>', 'for how long, 1 to 300', '10')
    .option('--hertz <count>', `samples per second, ${MIN_HERTZ} to ${MAX_HERTZ} (default: what costs least)`)
    .option('--out <file>', `write it; the name ends in ${endings.map(([ending]) => ending).join(', ')}`)
    .action(async ({ seconds, hertz, out, ...options }: ProfileOptions) => {
      const format = out === undefined ? 'report' : formatOf(out);
      const client = await connect(options);
      const path = `/api/profile?${new URLSearchParams({ seconds, format, ...(hertz !== undefined && { hertz }) })}`;
      if (out === undefined) {
        const report = await takeReport(client, path, seconds);
        if (options.json) printJson(report);
        else print(`${profileTable(report).split('\n').map(plain).join('\n')}\n`);
        return;
      }
      const bytes = await writeFileWhole(out, async (file) => {
        using _progress = profiling(seconds);
        const answer = await client.open('POST', path, { type: types[format] });
        return await client.save(answer, file.createWriteStream(), () => {});
      });
      if (options.json) printJson({ file: out, format, bytes });
      else note(`wrote ${out}, ${shortSize(bytes)}`);
    });
}

function formatOf(out: string): ProfileFormat {
  const [, format] = endings.find(([ending]) => out.endsWith(ending)) ?? [];
  if (format !== undefined) return format;
  const known = endings.map(([ending]) => ending).join(', ');
  throw new UsageError(`--out must end in one of ${known}, received ${preview(out)}`);
}

const profiling = (seconds: string) => new Progress(`profiling for ${plain(seconds)} s`);

async function takeReport(client: Client, path: string, seconds: string): Promise<ProfileReport> {
  using _progress = profiling(seconds);
  return await client.post<ProfileReport>(path, ({ bySelf }) => Array.isArray(bySelf));
}
