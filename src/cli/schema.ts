import { Command } from 'commander';
import { flatten } from '../config/definition.ts';
import { configJsonSchema } from '../config/json-schema.ts';
import { loadConfig } from '../config/load.ts';
import { builtInClasses } from '../config/use.ts';

export function schemaCommand(): Command {
  return new Command('schema')
    .description('Print the JSON Schema of the config, for the completion and the checks of editors.')
    .argument('[file]', 'a config file, of which the modules and the names of services are put in too')
    .addHelpText(
      'after',
      `
An editor with the YAML language server takes it from the first line of the config:
  # yaml-language-server: $schema=bosun.schema.json

Examples:
  $ bosun schema > bosun.schema.json
  $ bosun schema bosun.yaml > bosun.schema.json`,
    )
    .action(async (file: string | undefined) => {
      const uses = await builtInClasses();
      const definitions =
        file === undefined ? [] : flatten((await loadConfig(file, { env: process.env })).services);
      for (const { use, Class } of definitions) uses.set(use, Class);
      process.stdout.write(`${JSON.stringify(configJsonSchema({ uses, services: definitions }), null, 2)}\n`);
    });
}
