import { resolve } from 'node:path';
import { Conversion } from './convert.ts';
import { defineServices } from './define.ts';
import type { ServiceDefinition } from './definition.ts';
import { shownNode } from './node.ts';
import { Problems } from './problems.ts';
import { configSettings, environmentOverrides, type Override, override, type Settings } from './settings.ts';
import { readSource } from './source.ts';
import type { Environment } from './substitute.ts';

/** A config that has been read and checked. */
export interface Config {
  /** The absolute path of the file. */
  readonly file: string;
  readonly settings: Settings;
  /** In the order of the file. */
  readonly services: readonly ServiceDefinition[];
}

export interface LoadOptions {
  /** Read for `${VAR}`, and for settings (`BOSUN_LOG_LEVEL`). */
  readonly env: Environment;
  /** Settings that outdo the environment's: the command line's. */
  readonly overrides?: readonly Override[];
}

/**
 * Reads a config file and checks it; no service is constructed. Modules that it names are imported.
 *
 * @throws {ConfigError} `ERR_CONFIG`: every problem at once.
 */
export async function loadConfig(file: string, { env, overrides = [] }: LoadOptions): Promise<Config> {
  const problems = new Problems();
  const path = resolve(file);
  const node = await readSource(path, env, problems);
  if (node !== undefined && node.kind !== 'map') {
    const rule = 'must be a map with `services`';
    problems.add({ place: node.place, path: [], rule, received: shownNode(node) });
  }
  let given: Settings = {};
  let services: ServiceDefinition[] = [];
  if (node?.kind === 'map') {
    const conversion = new Conversion({ problems, path: [], skip: ['services', '$schema'] });
    given = conversion.read(configSettings, node) as Settings;
    services = await defineServices(node, path, problems);
  }
  const settings = override(given, [...environmentOverrides(env), ...overrides], problems);
  problems.throwIfAny();
  return { file: path, settings, services };
}
