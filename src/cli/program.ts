import { Command, CommanderError } from 'commander';
import { ConfigError, renderProblems } from '../config/problems.ts';
import { exitCodes } from '../entrypoint.ts';
import { BosunError, toError } from '../errors.ts';
import { checkCommand } from './check.ts';
import { initCommand } from './init.ts';
import { ownPackage } from './own-package.ts';
import { runCommand } from './run.ts';
import { schemaCommand } from './schema.ts';

/** Runs the command line and sets `process.exitCode`. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    await program().parseAsync([...argv]);
  } catch (thrown) {
    process.exitCode = report(toError(thrown));
  }
}

function program(): Command {
  const bosun = new Command('bosun')
    .description('Runs one long-lived Node daemon made of services.')
    .version(ownPackage().version, '-V, --version', 'print the version')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', exitCodeHelp)
    .showSuggestionAfterError();
  for (const command of [runCommand(), checkCommand(), schemaCommand(), initCommand()]) {
    bosun.addCommand(command);
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
  1     a service failed for good, or the start failed
  70    a stop had to be forced
  78    the config, or the command line, cannot be used
  128+n the third signal cut it off

Examples:
  $ bosun init my-daemon
  $ bosun check
  $ bosun run --log-format pretty`;

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
  return exitCodes.failure;
}
