import { Command } from 'commander';
import { createDaemon } from '../config/daemon.ts';
import { flatten } from '../config/definition.ts';
import { type Config, loadConfig } from '../config/load.ts';
import { needsOf } from '../config/order.ts';
import { ConfigError } from '../config/problems.ts';
import { exitCodes } from '../entrypoint.ts';
import { configArgument, configFile } from './config-file.ts';
import { warnOfUnknownVariables } from './warnings.ts';

/** One service as `check` shows it; `after` are the services that it starts after. */
interface CheckedService {
  readonly name: string;
  readonly use: string;
  readonly type: string;
  readonly after: readonly string[];
  readonly supervisor: string | undefined;
}

export function checkCommand(): Command {
  return new Command('check')
    .description('Read and validate a config, construct its services and print their start order.')
    .argument('[file]', configArgument)
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Nothing is started. The modules that the config names are imported.

Examples:
  $ bosun check
  $ bosun check staging.yaml --json | jq '.problems[]'`,
    )
    .action(async (file: string | undefined, { json = false }: { json?: boolean }) => {
      warnOfUnknownVariables(process.env);
      try {
        const path = configFile(file);
        const load = () => loadConfig(path, { env: process.env });
        const config = await load();
        const services = inStartOrder(config, load);
        process.stdout.write(
          json ? `${JSON.stringify({ ok: true, file: config.file, services }, null, 2)}\n` : table(services),
        );
      } catch (error) {
        if (!json || !(error instanceof ConfigError)) throw error;
        process.stdout.write(`${JSON.stringify({ ok: false, problems: error.problems }, null, 2)}\n`);
        process.exitCode = exitCodes.config;
      }
    });
}

function inStartOrder(config: Config, load: () => Promise<Config>): CheckedService[] {
  const definitions = new Map(flatten(config.services).map((definition) => [definition.name, definition]));
  return createDaemon(config, load).services.flatMap(({ name, type, supervisor }) => {
    const definition = definitions.get(name);
    if (definition === undefined) return [];
    return { name, use: definition.use, type, after: needsOf(definition), supervisor };
  });
}

function table(services: readonly CheckedService[]): string {
  const rows = services.map(({ name, use, after, supervisor }) => [
    name,
    use,
    [after.length > 0 ? `after ${after.join(', ')}` : '', supervisor === undefined ? '' : `in ${supervisor}`]
      .filter((part) => part !== '')
      .join('; '),
  ]);
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0));
  const widths = [width(0), width(1)];
  const lines = rows.map((row, index) =>
    `${String(index + 1).padStart(3)}  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd(),
  );
  const count = services.length === 1 ? '1 service' : `${services.length} services`;
  return `ok: ${count}, in start order (independent ones start together)\n${lines.join('\n')}\n`;
}
