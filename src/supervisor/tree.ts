import {
  DependencyCycleError,
  DuplicateServiceError,
  MissingDependencyError,
  ServiceInUseError,
} from '../errors.ts';
import { nearest } from '../nearest.ts';
import { type Service, servicesIn } from '../service.ts';
import { type Graph, inOrder } from './graph.ts';

/** The services that a supervisor holds; none for any other service. Set by the supervisor's class. */
export const heldServices: unique symbol = Symbol.for('bosun.held-services');

/** The services directly below one. */
export function held(service: Service): readonly Service[] {
  return heldServices in service ? (service[heldServices] as readonly Service[]) : [];
}

/** A service and all below it. */
export function subtree(service: Service): Service[] {
  return [service, ...held(service).flatMap(subtree)];
}

/** How many levels of services there are in a subtree: 1 for a service that holds none. */
export function height(service: Service): number {
  return 1 + Math.max(0, ...held(service).map(height));
}

/** What one service must start after: those it holds in its options, and names. */
export function needsOf(service: Service): { services: ReadonlySet<Service>; names: readonly string[] } {
  // A supervisor's services are below it, not before it; and what it was made with may have been removed.
  const options = heldServices in service ? { ...service.options, services: [] } : service.options;
  return { services: servicesIn(options), names: service.options.after };
}

/**
 * @throws {ServiceInUseError} `ERR_SERVICE_IN_USE` when services of the tree, outside of the subtree of `service`,
 * depend on one inside it.
 */
export function checkUnused(root: Service, service: Service): void {
  const inside = new Set(subtree(service));
  const names = new Set([...inside].map(({ name }) => name));
  const dependents = subtree(root).filter((other) => {
    if (inside.has(other)) return false;
    const needs = needsOf(other);
    return (
      needs.names.some((name) => names.has(name)) || [...needs.services].some((need) => inside.has(need))
    );
  });
  if (dependents.length === 0) return;
  throw new ServiceInUseError(
    service.name,
    dependents.map((other) => other.name),
  );
}

/** @throws {DuplicateServiceError} `ERR_DUPLICATE_SERVICE` when two services of a tree share a name. */
export function checkNames(services: readonly Service[]): void {
  const byName = new Map<string, Service>();
  for (const service of services.flatMap(subtree)) {
    const other = byName.get(service.name);
    if (other !== undefined) throw new DuplicateServiceError(service.name);
    byName.set(service.name, service);
  }
}

/** @throws {MissingDependencyError} `ERR_MISSING_DEPENDENCY` when a service needs one that is not in the tree. */
export function checkDependencies(services: readonly Service[]): void {
  const all = services.flatMap(subtree);
  const known = new Set(all);
  const names = new Set(all.map((service) => service.name));
  for (const service of all) {
    const needs = needsOf(service);
    for (const dependency of needs.services) {
      if (!known.has(dependency)) throw new MissingDependencyError(service.name, dependency.name);
    }
    for (const name of needs.names) {
      if (!names.has(name)) throw new MissingDependencyError(service.name, name, nearest(name, names));
    }
  }
}

/**
 * Which of the services of one supervisor must start after which others, also on behalf of the services
 * below them; in the order given, as far as that allows.
 *
 * @throws {DependencyCycleError} `ERR_DEPENDENCY_CYCLE`
 */
export function dependencyGraph(services: readonly Service[]): Graph<Service> {
  const owner = new Map<Service, Service>();
  const byName = new Map<string, Service>();
  for (const top of services) {
    for (const service of subtree(top)) {
      owner.set(service, top);
      byName.set(service.name, service);
    }
  }
  const graph = new Map<Service, Set<Service>>(services.map((service) => [service, new Set()]));
  for (const [service, top] of owner) {
    const needs = needsOf(service);
    const named = needs.names.flatMap((name) => byName.get(name) ?? []);
    for (const dependency of [...needs.services, ...named]) {
      const dependencyTop = owner.get(dependency);
      if (dependencyTop === undefined) continue;
      if (dependencyTop !== top) graph.get(top)?.add(dependencyTop);
      else if (dependency === service || subtree(dependency).includes(service)) {
        throw new DependencyCycleError([service.name, dependency.name, service.name]);
      }
    }
  }
  const order = inOrder(graph, (service) => service.name);
  return new Map(order.map((service) => [service, graph.get(service) ?? new Set()]));
}

/**
 * The services that ask to be restarted with their dependencies (`restartWith: dependencies`) and that depend
 * on one of `restarted`, directly or through others that ask for it too; in dependency order.
 */
export function restartClosure(root: Service, restarted: ReadonlySet<Service>): Service[] {
  const candidates = subtree(root).filter((service) => service.options.restartWith === 'dependencies');
  const graph = new Map(candidates.map((service) => [service, needsOf(service).services]));
  const affected = new Set([...restarted].flatMap(subtree));
  return inOrder(graph, (service) => service.name).filter((service) => {
    if (affected.has(service)) return false;
    const hit = [...(graph.get(service) ?? [])].some((dependency) => affected.has(dependency));
    if (hit) affected.add(service);
    return hit;
  });
}
