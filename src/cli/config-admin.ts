import { resolve } from 'node:path';
import { Conversion } from '../config/convert.ts';
import type { ConfigNode, MapNode } from '../config/node.ts';
import { ConfigError, Problems } from '../config/problems.ts';
import { readSource } from '../config/source.ts';
import { AdminService } from '../services/admin.ts';
import type { Target } from './client.ts';

/**
 * Where a config's `admin` service listens; `undefined` when there is none. No module that it names is loaded, and
 * what is wrong elsewhere in it does not matter: a variable that only the daemon has, say.
 *
 * @throws {ConfigError} `ERR_CONFIG`
 */
export async function adminOf(
  file: string,
  env: NodeJS.ProcessEnv,
): Promise<Omit<Target, 'from'> | undefined> {
  const problems = new Problems();
  const node = await readSource(resolve(file), env, problems);
  if (node === undefined) throw problems.toError();
  const found = findAdmin(node, []);
  if (found === undefined) return undefined;
  const { path } = found;
  const preset = { name: path.at(-1) };
  const given = new Conversion({ problems, path, skip: ['use'], preset }).read(
    AdminService.schema,
    found.node,
  );
  if (problems.covers(path)) throw problemsBelow(problems, path);
  const { host, port, path: socket, token } = AdminService.schema.parse(given);
  const address = socket === undefined ? { host: reachable(host), port } : { path: socket };
  return { address, token };
}

/** A daemon that listens on all addresses of its machine is reached from there at the loopback one. */
const reachable = (host: string) => (host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host);

/** The first service of the kind, also below a supervisor. */
function findAdmin(
  node: ConfigNode,
  path: readonly string[],
): { readonly node: MapNode; readonly path: readonly string[] } | undefined {
  const services = node.kind === 'map' ? node.entries.get('services')?.node : undefined;
  if (services?.kind !== 'map') return undefined;
  for (const [name, { node: service }] of services.entries) {
    if (service.kind !== 'map') continue;
    const at = [...path, 'services', name];
    const use = service.entries.get('use')?.node;
    if (use?.kind === 'scalar' && use.value === 'admin') return { node: service, path: at };
    const below = findAdmin(service, at);
    if (below !== undefined) return below;
  }
  return undefined;
}

function problemsBelow(problems: Problems, path: readonly string[]): ConfigError {
  const own = path.join('.');
  return new ConfigError(
    problems
      .toError()
      .problems.filter((problem) => problem.path === own || problem.path.startsWith(`${own}.`)),
  );
}
