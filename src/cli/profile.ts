import { buffer } from 'node:stream/consumers';
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
        const report = await taken(client, path, seconds, (answer) => buffer(answer));
        const parsed = JSON.parse(report.toString()) as ProfileReport;
        if (options.json) printJson(parsed);
        else print(`${profileTable(parsed).split('\n').map(plain).join('\n')}\n`);
        return;
      }
      const bytes = await writeFileWhole(out, (file) =>
        taken(client, path, seconds, (answer) => client.save(answer, file.createWriteStream(), () => {})),
      );
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

/** Has a profile taken, and reads it with `read`; says meanwhile how far it is. */
async function taken<Result>(
  client: Client,
  path: string,
  seconds: string,
  read: (answer: Awaited<ReturnType<Client['open']>>) => Promise<Result>,
): Promise<Result> {
  const begun = performance.now();
  using progress = new Progress(`profiling for ${seconds} s`);
  const timer = setInterval(() => {
    const passed = Math.floor((performance.now() - begun) / 1_000);
    progress.show(`${Math.min(passed, Number(seconds))} s`);
  }, 1_000);
  try {
    return await read(await client.open('POST', path));
  } finally {
    clearInterval(timer);
  }
}
