import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../config/problems.ts';

const names = ['bosun.yaml', 'bosun.yml', 'bosun.json', 'bosun.ts'];

/** How the help texts describe the argument. */
export const configArgument = `the config file (default: ${names.join(', ')} in the current directory)`;

/** The file that is named, or else the first of the default names that exists. */
export function configFile(given: string | undefined, directory = process.cwd()): string {
  const found = findConfigFile(given, directory);
  if (found !== undefined) return found;
  const rule = `is missing: there is no ${names.join(', ')} in ${directory} (bosun init makes one)`;
  throw new ConfigError([{ path: 'the config file', rule }]);
}

/** As `configFile`; `undefined` when there is none. */
export function findConfigFile(given: string | undefined, directory = process.cwd()): string | undefined {
  return given ?? names.map((name) => join(directory, name)).find((file) => existsSync(file));
}
