import { Command, CommanderError } from 'commander';
import { ConfigError, renderProblems } from '../config/problems.ts';
import { BosunError, toError } from '../errors.ts';
import { exitCodes } from '../exit-codes.ts';
import { AnswerError, NoDaemonError } from './client.ts';
import { UsageError } from './find-daemon.ts';
import { ownPackage } from './own-package.ts';

/** Each is loaded when it is asked for: what runs a daemon takes longer to load than what asks one. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  run: async () => (await import('./run.ts')).runCommand(),
  check: async () => (await import('./check.ts')).checkCommand(),
  schema: async () => (await import('./schema.ts')).schemaCommand(),
  init: async () => (await import('./init.ts')).initCommand(),
  ps: async () => (await import('./ps.ts')).psCommand(),
  top: async () => (await import('./top.ts')).topCommand(),
  logs: async () => (await import('./logs.ts')).logsCommand(),
  restart: async () => (await import('./restart.ts')).restartCommand(),
  reload: async () => (await import('./reload.ts')).reloadCommand(),
  profile: async () => (await import('./profile.ts')).profileCommand(),
  heap: async () => (await import('./heap.ts')).heapCommand(),
  stalls: async () => (await import('./stalls.ts')).stallsCommand(),
};

/** Runs the command line and sets `process.exitCode`. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    await (await program(argv[2])).parseAsync([...argv]);
  } catch (thrown) {
    process.exitCode = report(toError(thrown));
  }
}

/** With the command of this name, or with all when there is none such. */
async function program(name: string | undefined): Promise<Command> {
  const bosun = new Command('bosun')
    .description('Runs one long-lived Node daemon made of services, and shows and operates one that runs.')
    .version(ownPackage().version, '-V, --version', 'print the version')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', exitCodeHelp)
    .showSuggestionAfterError();
  const known =
    name !== undefined && Object.hasOwn(commands, name) ? [commands[name]] : Object.values(commands);
  for (const command of await Promise.all(known.map((load) => load?.()))) {
    if (command !== undefined) bosun.addCommand(command);
  }
  // Instead of ending the process, so that what was written gets out. Set on all, as it is not inherited.
  for (const command of [bosun, ...bosun.commands]) {
    command.exitOverride().helpOption('-h, --help', 'print this help');
  }
  return bosun;
}

const exitCodeHelp = `
Exit codes:
  0     clean
  1     a service failed for good, or the start failed; a running daemon refused, or failed at, what was asked
  69    no daemon could be reached
  70    a stop had to be forced
  78    the config, or the command line, cannot be used
  128+n the third signal cut it off

Examples:
  $ bosun init my-daemon
  $ bosun check
  $ bosun run --log-format pretty
  $ bosun ps
  $ bosun logs -f --level warn`;

/** Says what went wrong, and gives the exit code for it. */
function report(error: Error): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.config;
  if (error instanceof ConfigError) {
    process.stderr.write(renderProblems(error.problems));
    return exitCodes.config;
  }
  // What Bosun says is meant for people; anything else is a defect, and its stack is needed.
  const text = error instanceof BosunError ? `error: ${error.message}` : (error.stack ?? error.message);
  process.stderr.write(`bosun: ${text}\n`);
  if (error instanceof UsageError || (error instanceof AnswerError && error.status === 400)) {
    return exitCodes.config;
  }
  return error instanceof NoDaemonError ? exitCodes.unavailable : exitCodes.failure;
}
