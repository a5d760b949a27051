import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { BosunError } from '../errors.ts';
import type { HeapSnapshot, SnapshotPlan } from '../observe/memory/heap-snapshot.ts';
import type { Client } from './client.ts';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { UsageError } from './find-daemon.ts';
import { note, plain, print, printJson, shortDuration, shortSize } from './output.ts';
import { writeFileWhole } from './output-file.ts';
import { Progress } from './progress.ts';

interface HeapOptions extends DaemonOptions {
  readonly out?: string;
  readonly yes?: boolean;
}

/** The daemon takes no snapshot now, or nobody wanted it any more. */
export class NoSnapshotError extends BosunError {
  readonly code = 'ERR_NO_SNAPSHOT';
}

export function heapCommand(): Command {
  return daemonCommand('heap', 'Have a running daemon write a heap snapshot, for Chrome DevTools.', [
    'heap --out leak.heapsnapshot',
    'heap --yes                   # on the disk of the daemon alone',
  ])
    .option(
      '--out <file>',
      'write it here too; the file that the daemon has written stays on its disk, until newer ones replace it',
    )
    .option('--yes', 'do not ask')
    .action(async ({ out, yes = false, ...options }: HeapOptions) => {
      const client = await connect(options);
      const plan = await client.get<SnapshotPlan>(
        '/api/heap-snapshot',
        ({ heapUsedBytes }) => typeof heapUsedBytes === 'number',
      );
      if (plan.refusal !== null)
        throw new NoSnapshotError(`no snapshot can be taken: ${plain(plan.refusal.message)}`);
      note(
        `The heap holds ${shortSize(plan.heapUsedBytes)}: the daemon will do nothing else for about ` +
          `${shortDuration(plan.estimatedPauseMs)}, and the file will be about ${shortSize(plan.estimatedBytes)} ` +
          `(free: ${shortSize(plan.freeBytes)}).`,
      );
      if (!yes) await confirm();
      const taken = out === undefined ? await take(client) : await takeAndFetch(client, out);
      if (options.json) printJson(taken);
      else print(`${plain(out ?? taken.path)}: ${shortSize(taken.bytes)}\n`);
      if (out !== undefined) note(`The daemon keeps ${plain(taken.path)}: it holds all secrets, too.`);
    });
}

/** @throws unless somebody is there, and says yes. */
async function confirm(): Promise<void> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UsageError('--yes is required where nobody can be asked');
  }
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  const answer = new Promise<string>((resolve) => {
    asking.once('close', () => resolve(''));
    void asking.question('Take it? [y/N] ').then(resolve);
  });
  const yes = /^y(es)?$/i.test((await answer).trim());
  asking.close();
  if (!yes) throw new NoSnapshotError('no snapshot was taken');
}

async function take(client: Client): Promise<HeapSnapshot> {
  using _progress = new Progress('taking the snapshot');
  return await client.post<HeapSnapshot>('/api/heap-snapshot', ({ path }) => typeof path === 'string');
}

async function takeAndFetch(client: Client, out: string): Promise<HeapSnapshot & { readonly file: string }> {
  return await writeFileWhole(out, async (file) => {
    const taken = await take(client);
    using progress = new Progress('fetching it');
    const name = encodeURIComponent(taken.path.split('/').at(-1) ?? '');
    const answer = await client.open('GET', `/api/heap-snapshot/${name}`);
    await client.save(answer, file.createWriteStream(), (bytes) =>
      progress.show(`${shortSize(bytes)} of ${shortSize(taken.bytes)}`),
    );
    return { ...taken, file: out };
  });
}
