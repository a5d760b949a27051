import { OptionsError, toError } from '../errors.ts';
import type { Service } from '../service.ts';
import { flatten, type ServiceDefinition, withReferences } from './definition.ts';
import { Problems } from './problems.ts';

/**
 * Constructs services, each after those that it holds. Services that are there already are passed as
 * `existing` and taken as they are.
 *
 * @returns all services by name, those in supervisors too.
 * @throws {ConfigError} `ERR_CONFIG`: whatever constructors threw, all of it.
 */
export function compose(
  definitions: readonly ServiceDefinition[],
  existing: ReadonlyMap<string, Service> = new Map(),
): Map<string, Service> {
  const problems = new Problems();
  const byName = new Map(flatten(definitions).map((definition) => [definition.name, definition]));
  const made = new Map<string, Service | undefined>(existing);
  const make = (name: string): Service | undefined => {
    if (made.has(name)) return made.get(name);
    const definition = byName.get(name) as ServiceDefinition;
    const parts = [...definition.references.values(), ...definition.services.map((inner) => inner.name)].map(
      make,
    );
    const instance = parts.includes(undefined) ? undefined : construct(definition, made, problems);
    made.set(name, instance);
    return instance;
  };
  for (const name of byName.keys()) make(name);
  problems.throwIfAny();
  return made as Map<string, Service>;
}

function construct(
  definition: ServiceDefinition,
  made: ReadonlyMap<string, Service | undefined>,
  problems: Problems,
): Service | undefined {
  const { name, Class, services, place, path, conversion } = definition;
  const options = withReferences(definition, (name) => made.get(name));
  if (services.length > 0) options.services = services.map(({ name }) => made.get(name));
  try {
    return new Class(options);
  } catch (thrown) {
    // A rule of the constructor on its own options, not on those of something that it makes.
    if (thrown instanceof OptionsError && thrown.owner === `${Class.name} "${name}"`) {
      for (const problem of thrown.problems) conversion.report(problem, problems);
    } else {
      problems.add({ place, path, rule: `could not be constructed: ${toError(thrown).message}` });
    }
    return undefined;
  }
}
