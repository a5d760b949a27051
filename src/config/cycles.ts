import { DependencyCycleError } from '../errors.ts';
import { inOrder } from '../supervisor/graph.ts';
import { flatten, type ServiceDefinition } from './definition.ts';
import type { Problems } from './problems.ts';

/** Reports every circle of dependencies, among those below each supervisor and through them. */
export function checkOrder(definitions: readonly ServiceDefinition[], problems: Problems): void {
  reportCycles(definitions, problems);
  for (const { services } of flatten(definitions)) reportCycles(services, problems);
}

/** The circles of one level, where what a supervisor's services need counts as its own need. */
function reportCycles(level: readonly ServiceDefinition[], problems: Problems): void {
  const owner = new Map<string, ServiceDefinition>();
  for (const top of level) for (const { name } of flatten([top])) owner.set(name, top);
  const graph = new Map<ServiceDefinition, Set<ServiceDefinition>>(level.map((top) => [top, new Set()]));
  const holds = (holder: ServiceDefinition, name: string) =>
    flatten([holder]).some((inner) => inner.name === name);
  for (const top of level) {
    for (const service of flatten([top])) {
      for (const name of needsOf(service)) {
        const target = owner.get(name);
        if (target !== undefined && target !== top) graph.get(top)?.add(target);
        else if (target === top && top.name === name && holds(top, service.name)) {
          report([service.name, ...(service === top ? [] : [name]), service.name], service, problems);
        }
      }
    }
  }
  for (;;) {
    try {
      inOrder(graph, ({ name }) => name);
      return;
    } catch (error) {
      if (!(error instanceof DependencyCycleError)) throw error;
      const [first, second] = error.cycle.map((name) => owner.get(name)) as [
        ServiceDefinition,
        ServiceDefinition,
      ];
      report(error.cycle, first, problems);
      // Without one of its arrows the circle is open, and the next one shows.
      graph.get(first)?.delete(second);
    }
  }
}

function report(cycle: readonly string[], first: ServiceDefinition, problems: Problems): void {
  const rule = `depends on itself in a circle: ${cycle.join(' -> ')}`;
  problems.add({ place: first.place, path: first.path, rule });
}

/** The names of what a service starts after. */
export const needsOf = ({ references, after }: ServiceDefinition): string[] => [
  ...new Set([...references.values(), ...after]),
];
