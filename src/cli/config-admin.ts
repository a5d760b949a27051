import { resolve } from 'node:path';
import { z } from 'zod';
import { Conversion } from '../config/convert.ts';
import { kinds } from '../config/kinds.ts';
import type { ConfigNode, MapNode } from '../config/node.ts';
import { ConfigError, Problems } from '../config/problems.ts';
import { readSource } from '../config/source.ts';
import { loadUse } from '../config/use.ts';
import type { ServiceClass } from '../service.ts';
import { AdminService } from '../services/admin.ts';
import type { Target } from './client.ts';

/**
 * Where a config's admin service listens; a service of the kind `admin`, or else, for which the modules that the config
 * names are loaded, of a class that extends that of the kind. What is wrong elsewhere in the config does not matter: a
 * variable that only the daemon has, say. Without such a service: the modules that could not be loaded.
 *
 * @throws {ConfigError} `ERR_CONFIG`
 */
export async function adminOf(
  file: string,
  env: NodeJS.ProcessEnv,
): Promise<Omit<Target, 'from'> | { readonly unloaded: readonly string[] }> {
  const problems = new Problems();
  const configFile = resolve(file);
  const node = await readSource(configFile, env, problems);
  if (node === undefined) throw problems.toError();
  const services = [...servicesIn(node, [])];
  const builtIn = services.find(({ use }) => use === 'admin');
  if (builtIn !== undefined) return read(builtIn, AdminService, problems);
  const unloaded: string[] = [];
  for (const service of services.filter(({ use }) => !Object.hasOwn(kinds, use))) {
    const used = await loadUse(service.use, configFile);
    if (!('Class' in used)) unloaded.push(service.use);
    else if (isAdminClass(used.Class)) return read(service, used.Class, problems);
  }
  return { unloaded };
}

const isAdminClass = (Class: ServiceClass): Class is typeof AdminService =>
  Class.prototype instanceof AdminService;

/** Its options that say where it is, held against its class; the others may need services, or variables. */
function read(
  { path, node }: ConfiguredService,
  { schema: { shape } }: typeof AdminService,
  problems: Problems,
): Omit<Target, 'from'> {
  const schema = z.object({ host: shape.host, port: shape.port, path: shape.path, token: shape.token });
  const skip = [...node.entries.keys()].filter((key) => !Object.hasOwn(schema.shape, key));
  const given = new Conversion({ problems, path, skip }).read(schema, node);
  if (problems.covers(path)) throw problemsBelow(problems, path);
  const { host, port, path: socket, token } = schema.parse(given);
  const address = socket === undefined ? { host: reachable(host), port } : { path: socket };
  return { address, token };
}

/** A daemon that listens on all addresses of its machine is reached from there at the loopback one. */
const reachable = (host: string) => (host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host);

interface ConfiguredService {
  readonly use: string;
  readonly node: MapNode;
  readonly path: readonly string[];
}

/** The services, also those below a supervisor. */
function* servicesIn(node: ConfigNode, path: readonly string[]): Generator<ConfiguredService> {
  const services = node.kind === 'map' ? node.entries.get('services')?.node : undefined;
  if (services?.kind !== 'map') return;
  for (const [name, { node: service }] of services.entries) {
    if (service.kind !== 'map') continue;
    const at = [...path, 'services', name];
    const use = service.entries.get('use')?.node;
    if (use?.kind === 'scalar' && typeof use.value === 'string') {
      yield { use: use.value, node: service, path: at };
    }
    yield* servicesIn(service, at);
  }
}

function problemsBelow(problems: Problems, path: readonly string[]): ConfigError {
  const own = path.join('.');
  return new ConfigError(
    problems
      .toError()
      .problems.filter((problem) => problem.path === own || problem.path.startsWith(`${own}.`)),
  );
}
