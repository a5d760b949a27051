import type { Service, ServiceClass } from '../service.ts';
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

/** Definitions and all below them. */
export function flatten(definitions: readonly ServiceDefinition[]): ServiceDefinition[] {
  return definitions.flatMap((definition) => [definition, ...flatten(definition.services)]);
}

/** Those of the stand-ins that options hold: one that was tried for a type that did not fit is not there. */
export function referencesIn(options: unknown, standIns: ReadonlyMap<object, string>): Map<object, string> {
  const found = new Map<object, string>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    const name = standIns.get(value);
    if (name !== undefined) found.set(value, name);
    else if (Array.isArray(value)) value.forEach(visit);
    else if (isPlainObject(value)) Object.values(value).forEach(visit);
  };
  visit(options);
  return found;
}

/** The options with something else in the place of what stands for a service. */
export function withReferences(
  { options, references }: ServiceDefinition,
  replace: (name: string) => unknown,
): Record<string, unknown> {
  const visit = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value;
    const name = references.get(value);
    if (name !== undefined) return replace(name);
    if (Array.isArray(value)) return value.map(visit);
    if (!isPlainObject(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, visit(item)]));
  };
  return visit({ ...options }) as Record<string, unknown>;
}

/** Services by their names. */
export type ServicesByName = ReadonlyMap<string, Service>;
