import { statSync } from 'node:fs';
import { createRequire, registerHooks } from 'node:module';
import { basename, dirname, isAbsolute, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { toError } from '../errors.ts';
import { isServiceClass, type ServiceClass } from '../service.ts';
import { Supervisor } from '../supervisor/supervisor.ts';
import { describeThrown, nearestFile } from './files.ts';
import { kinds } from './kinds.ts';
import { unknownName } from './problems.ts';

/** The class that a `use` names, or what is wrong with it. */
export type Used =
  | { readonly Class: ServiceClass }
  | { readonly rule: string; readonly suggestion?: string | undefined };

/**
 * Loads what a `use` names: a built-in kind, a module path relative to the config file, or a package; the
 * last two with an optional `#Export`.
 */
export async function loadUse(use: string, configFile: string): Promise<Used> {
  const kind = Object.hasOwn(kinds, use) ? kinds[use] : undefined;
  if (kind !== undefined) return { Class: await kind() };
  const [specifier = '', exportName] = use.split('#', 2);
  const isPath = /^(?:\.{0,2}\/|file:)/.test(specifier);
  const file = isPath ? pathOf(specifier, configFile) : packageFile(specifier, configFile);
  if (file === undefined) {
    const { rule, suggestion } = unknownName(use, Object.keys(kinds), 'is no built-in kind');
    const place = dirname(configFile);
    return {
      rule: `${rule}, and no package of that name is installed for ${place} (a module beside the config starts with ./)`,
      suggestion,
    };
  }
  const found = statSync(file, { throwIfNoEntry: false });
  if (found?.isDirectory()) return { rule: `names a directory, not a module: ${file}` };
  if (found === undefined) {
    const near = nearestFile(file);
    const directory = specifier.slice(0, specifier.length - basename(specifier).length);
    const suggestion = near === undefined ? undefined : `${directory}${near}`;
    return { rule: `names a module that does not exist: ${file}`, suggestion };
  }
  try {
    return pick(await import(pathToFileURL(file).href), exportName, specifier);
  } catch (thrown) {
    const { message, line, column } = describeThrown(thrown, file);
    const at = [basename(file), line, column].filter((part) => part !== undefined).join(':');
    return { rule: `names a module that could not be loaded: ${toError(thrown).name}: ${message} (${at})` };
  }
}

/** The classes of the built-in kinds. */
export async function builtInClasses(): Promise<Map<string, ServiceClass>> {
  const loading = Object.entries(kinds).map(async ([kind, load]) => [kind, await load()] as const);
  return new Map(await Promise.all(loading));
}

/** Whether the services of this class have services of their own. */
export function isSupervisorClass(Class: ServiceClass | undefined): boolean {
  return Class !== undefined && (Class === Supervisor || Class.prototype instanceof Supervisor);
}

const pathOf = (specifier: string, configFile: string): string =>
  specifier.startsWith('file:') ? fileURLToPath(specifier) : resolve(dirname(configFile), specifier);

/** The file of a package as an `import` in the config's directory would find it. */
function packageFile(specifier: string, configFile: string): string | undefined {
  // `require.resolve` leaves out packages that are there for `import` alone.
  const hooks = registerHooks({
    resolve: (name, context, next) => {
      const conditions = context.conditions.filter((condition) => condition !== 'require');
      return next(name, { ...context, conditions: [...conditions, 'import'] });
    },
  });
  try {
    const file = createRequire(configFile).resolve(specifier);
    return isAbsolute(file) ? file : undefined;
  } catch {
    return undefined;
  } finally {
    hooks.deregister();
  }
}

function pick(
  module: Readonly<Record<string, unknown>>,
  exportName: string | undefined,
  specifier: string,
): Used {
  const classes = new Map<ServiceClass, string>();
  for (const [name, value] of Object.entries(module)) {
    if (isServiceClass(value) && !classes.has(value)) classes.set(value, name);
  }
  const names = [...classes.values()].sort();
  if (exportName !== undefined) {
    const value = Object.hasOwn(module, exportName) ? module[exportName] : undefined;
    if (isServiceClass(value)) return { Class: value };
    if (value !== undefined) return { rule: `names the export ${exportName}, which is no Service class` };
    const { rule, suggestion } = unknownName(
      exportName,
      names,
      `names the export ${exportName}, which does not exist`,
    );
    return { rule, suggestion: suggestion === undefined ? undefined : `${specifier}#${suggestion}` };
  }
  if (isServiceClass(module.default)) return { Class: module.default };
  const [only, second] = classes.keys();
  if (only === undefined) return { rule: 'names a module that exports no Service class' };
  if (second === undefined) return { Class: only };
  const candidates = names.map((name) => `${specifier}#${name}`).join(', ');
  return { rule: `names a module that exports several services; say which: ${candidates}` };
}
