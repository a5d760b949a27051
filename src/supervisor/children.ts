import { UnknownServiceError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import type { Service } from '../service.ts';
import { Child } from './child.ts';
import type { Graph } from './graph.ts';
import type { Intensity } from './restart-policy.ts';
import { checkNames, dependencyGraph } from './tree.ts';

/** The children of a supervisor, and what they need of each other. @internal */
export class Children {
  readonly #intensity: Intensity;
  readonly #byName = new Map<string, Child>();
  #graph: Graph<Child>;

  /**
   * @throws {DuplicateServiceError} `ERR_DUPLICATE_SERVICE`
   * @throws {DependencyCycleError} `ERR_DEPENDENCY_CYCLE`
   */
  constructor(services: readonly Service[], intensity: Intensity) {
    this.#intensity = intensity;
    const unique = [...new Set(services)];
    checkNames(unique);
    for (const service of unique) this.#byName.set(service.name, new Child(service, intensity));
    this.#graph = this.#order();
  }

  get size(): number {
    return this.#byName.size;
  }

  /** Whom each child has to start after, in start order. */
  get graph(): Graph<Child> {
    return this.#graph;
  }

  get inOrder(): readonly Child[] {
    return [...this.#graph.keys()];
  }

  has(child: Child): boolean {
    return this.#byName.get(child.name) === child;
  }

  /** @throws {UnknownServiceError} `ERR_UNKNOWN_SERVICE`, also for one that is still being added. */
  find(name: string): Child {
    const child = this.#byName.get(name);
    if (child !== undefined && !child.joining) return child;
    throw new UnknownServiceError(name, nearest(name, this.#byName.keys()));
  }

  /** Whom a child has to start after. */
  neededBy(child: Child): readonly Child[] {
    return [...(this.#graph.get(child) ?? [])];
  }

  isNeeded(child: Child): boolean {
    return [...this.#graph.values()].some((needs) => needs.has(child));
  }

  /** @throws {DependencyCycleError} `ERR_DEPENDENCY_CYCLE`: it was not added. */
  add(service: Service): Child {
    const child = new Child(service, this.#intensity);
    this.#byName.set(child.name, child);
    try {
      this.#graph = this.#order();
    } catch (error) {
      this.#byName.delete(child.name);
      throw error;
    }
    return child;
  }

  drop(child: Child): void {
    if (!this.has(child)) return;
    this.#byName.delete(child.name);
    this.#graph = this.#order();
  }

  #order(): Graph<Child> {
    const children = [...this.#byName.values()];
    const childOf = new Map(children.map((child) => [child.service, child]));
    const child = (service: Service) => childOf.get(service) as Child;
    const graph = dependencyGraph([...childOf.keys()]);
    return new Map([...graph].map(([service, needs]) => [child(service), new Set([...needs].map(child))]));
  }
}
