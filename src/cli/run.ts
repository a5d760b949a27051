import { Command } from 'commander';
import { createDaemon } from '../config/daemon.ts';
import { loadConfig } from '../config/load.ts';
import type { Override } from '../config/settings.ts';
import { runToEnd } from '../entrypoint.ts';
import { logFormats, logLevels } from '../logging/options.ts';
import { configArgument, configFile } from './config-file.ts';
import { warnOfUnknownVariables } from './warnings.ts';

/** Which setting each flag outdoes, by its name in code. */
const settingOf: Readonly<Record<string, string>> = {
  'log-level': 'log.level',
  'log-format': 'log.format',
  'shutdown-timeout': 'shutdown.timeoutMs',
  'shutdown-delay': 'shutdown.delayMs',
  workers: 'workers.threads',
};

export function runCommand(): Command {
  return new Command('run')
    .description('Start the services of a config and run until a signal stops them.')
    .argument('[file]', configArgument)
    .option('--log-level <level>', logLevels.join(', '))
    .option('--log-format <format>', logFormats.join(', '))
    .option('--shutdown-timeout <duration>', 'the budget of the whole shutdown: 10s, 1m, infinity')
    .option('--shutdown-delay <duration>', 'between not ready and the first stop: 5s')
    .option('--workers <count>', 'worker threads')
    .addHelpText(
      'after',
      `
Flags outdo the environment (BOSUN_LOG_LEVEL, BOSUN_LOG_FORMAT, BOSUN_SHUTDOWN_TIMEOUT, BOSUN_WORKERS, ...),
which outdoes the file.

Signals:
  SIGINT, SIGTERM  stop gracefully; the second forces, the third ends the process now
  SIGHUP           read the config again and apply what has changed

Examples:
  $ bosun run
  $ bosun run staging.yaml --log-level debug --shutdown-timeout 10s`,
    )
    .action(async (file: string | undefined, _options: unknown, command: Command) => {
      warnOfUnknownVariables(process.env);
      const path = configFile(file);
      const load = () => loadConfig(path, { env: process.env, overrides: overridesOf(command) });
      await runToEnd(createDaemon(await load(), load));
    });
}

function overridesOf(command: Command): Override[] {
  return command.options.flatMap((option) => {
    const text: unknown = command.getOptionValue(option.attributeName());
    const setting = settingOf[option.name()];
    return typeof text === 'string' && setting !== undefined
      ? [{ label: `--${option.name()}`, setting, text }]
      : [];
  });
}
