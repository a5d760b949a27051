import { DependencyCycleError } from '../errors.ts';
import { inOrder } from '../supervisor/graph.ts';
import { flatten, type ServiceDefinition } from './definition.ts';
import type { Problems } from './problems.ts';

type Graph = Map<ServiceDefinition, Set<ServiceDefinition>>;

/** The names of what a service itself starts after. */
export const needsOf = ({ references, after }: ServiceDefinition): string[] => [
  ...new Set([...references.values(), ...after]),
];

/** Which of the services of one level each name belongs to: itself, or the supervisor that it is in. */
export function ownersIn(level: readonly ServiceDefinition[]): Map<string, ServiceDefinition> {
  return new Map(level.flatMap((top) => flatten([top]).map(({ name }) => [name, top] as const)));
}

/** The services of one level, where what a supervisor's services need counts as its own need. */
function graphOf(level: readonly ServiceDefinition[]): Graph {
  const owners = ownersIn(level);
  return new Map(
    level.map((top) => {
      const needs = flatten([top])
        .flatMap(needsOf)
        .flatMap((name) => owners.get(name) ?? []);
      return [top, new Set(needs.filter((other) => other !== top))];
    }),
  );
}

/** The services of one level in the order in which they start. */
export function startOrder(level: readonly ServiceDefinition[]): ServiceDefinition[] {
  return inOrder(graphOf(level), ({ name }) => name);
}

/** Reports every circle of dependencies: on each level, through supervisors, and of one with itself. */
export function checkOrder(definitions: readonly ServiceDefinition[], problems: Problems): void {
  for (const level of [definitions, ...flatten(definitions).map(({ services }) => services)]) {
    reportCycles(level, problems);
  }
  for (const definition of flatten(definitions)) {
    for (const inner of flatten([definition])) {
      if (!needsOf(inner).includes(definition.name)) continue;
      const between = inner === definition ? [] : [definition.name];
      report([inner.name, ...between, inner.name], inner, problems);
    }
  }
}

function reportCycles(level: readonly ServiceDefinition[], problems: Problems): void {
  const graph = graphOf(level);
  const owners = ownersIn(level);
  for (;;) {
    try {
      inOrder(graph, ({ name }) => name);
      return;
    } catch (error) {
      if (!(error instanceof DependencyCycleError)) throw error;
      const [first, second] = error.cycle.map((name) => owners.get(name));
      if (first === undefined || second === undefined) throw error;
      report(error.cycle, first, problems);
      // Without one of its arrows the circle is open, and the next one shows.
      graph.get(first)?.delete(second);
    }
  }
}

function report(cycle: readonly string[], { place, path }: ServiceDefinition, problems: Problems): void {
  problems.add({ place, path, rule: `depends on itself in a circle: ${cycle.join(' -> ')}` });
}
