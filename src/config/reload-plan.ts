import { isDeepStrictEqual } from 'node:util';
import { flatten, type ServiceDefinition, withReferences } from './definition.ts';
import type { Config } from './load.ts';
import { isPlainObject } from './node.ts';
import { needsOf, ownersIn, startOrder } from './order.ts';

/**
 * What has to happen for one config to become another. It names services of the top level: a supervisor is
 * replaced as a whole when anything in it has changed.
 */
export interface ReloadPlan {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** Replaced by a new instance: its own definition has changed, or a service that it starts after is replaced. */
  readonly changed: readonly string[];
  /** What is taken out, dependents first: the removed and the changed. */
  readonly stop: readonly string[];
  /** What is put in, dependencies first: the changed and the added. */
  readonly start: readonly string[];
  /** Settings that differ, by their names in code: `log.level`. */
  readonly settings: readonly string[];
}

/** Compares two configs by what their definitions come to, not by how they are written. */
export function planReload(
  before: Pick<Config, 'services' | 'settings'>,
  after: Pick<Config, 'services' | 'settings'>,
): ReloadPlan {
  const old = new Map(before.services.map((service) => [service.name, service]));
  const present = new Set(after.services.map(({ name }) => name));
  const owners = ownersIn(before.services);
  const removed = before.services.filter(({ name }) => !present.has(name)).map(({ name }) => name);
  const replaced = new Set(removed);
  // In start order, so that what a service needs has been judged before it.
  const start = startOrder(after.services).filter((service) => {
    const previous = old.get(service.name);
    const kept =
      previous !== undefined &&
      isDeepStrictEqual(essence(previous), essence(service)) &&
      !flatten([service])
        .flatMap(needsOf)
        .some((name) => replaced.has(owners.get(name)?.name ?? name));
    if (!kept) replaced.add(service.name);
    return !kept;
  });
  const started = start.map(({ name }) => name);
  return {
    removed,
    added: started.filter((name) => !old.has(name)),
    changed: started.filter((name) => old.has(name)),
    stop: startOrder(before.services)
      .map(({ name }) => name)
      .filter((name) => replaced.has(name))
      .reverse(),
    start: started,
    settings: differences(before.settings, after.settings),
  };
}

/** A plan in one line; `undefined` when there is nothing to do. */
export function describePlan({ added, removed, changed, settings }: ReloadPlan): string | undefined {
  const parts = Object.entries({ added, removed, changed, settings })
    .filter(([, names]) => names.length > 0)
    .map(([what, names]) => `${what}: ${names.join(', ')}`);
  return parts.length === 0 ? undefined : parts.join('; ');
}

/** What makes a service what it is. */
function essence(definition: ServiceDefinition): unknown {
  const { name, Class, services } = definition;
  const options = withReferences(definition, (reference) => ({ reference }));
  return { name, Class, options, services: services.map(essence) };
}

function differences(before: unknown, after: unknown, path: readonly string[] = []): string[] {
  if (isDeepStrictEqual(before, after)) return [];
  if (!isPlainObject(before) && !isPlainObject(after)) return [path.join('.')];
  const [left, right] = [isPlainObject(before) ? before : {}, isPlainObject(after) ? after : {}];
  const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
  return [...keys].flatMap((key) => differences(left[key], right[key], [...path, key]));
}
