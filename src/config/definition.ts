import type { ServiceClass } from '../service.ts';
import type { Conversion } from './convert.ts';
import { isPlainObject } from './node.ts';
import type { Place } from './problems.ts';

/** A service as a config defines it: checked, and not constructed yet. */
export interface ServiceDefinition {
  readonly name: string;
  /** What the file says under `use`. */
  readonly use: string;
  readonly Class: ServiceClass;
  /** As code takes them, but for other services: an object stands for each, which `references` names. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly references: ReadonlyMap<object, string>;
  readonly after: readonly string[];
  /** The services of a supervisor. */
  readonly services: readonly ServiceDefinition[];
  /** Where its key stands, to report what its constructor throws. */
  readonly place: Place;
  readonly path: readonly string[];
  readonly conversion: Conversion;
}

/** Services and all below them. */
export function flatten<Node extends { readonly services: readonly Node[] }>(
  services: readonly Node[],
): Node[] {
  return services.flatMap((service) => [service, ...flatten(service.services)]);
}

/** Those of the stand-ins that options hold: one that was tried for a type that did not fit is not there. */
export function referencesIn(options: unknown, standIns: ReadonlyMap<object, string>): Map<object, string> {
  const found = new Map<object, string>();
  replaceIn(options, standIns, (name, standIn) => found.set(standIn, name));
  return found;
}

/** The options with something else in the place of what stands for a service. */
export function withReferences(
  { options, references }: ServiceDefinition,
  replace: (name: string) => unknown,
): Record<string, unknown> {
  return replaceIn(options, references, replace) as Record<string, unknown>;
}

/** A copy of a value in which the stand-ins are replaced, however deep in lists and maps. */
function replaceIn(
  value: unknown,
  standIns: ReadonlyMap<object, string>,
  replace: (name: string, standIn: object) => unknown,
): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const name = standIns.get(value);
  if (name !== undefined) return replace(name, value);
  if (Array.isArray(value)) return value.map((item) => replaceIn(item, standIns, replace));
  if (!isPlainObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, replaceIn(item, standIns, replace)]),
  );
}
