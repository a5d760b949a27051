import type { ServiceClass } from '../service.ts';
import { Conversion, type ResolveReference } from './convert.ts';
import { flatten, referencesIn, type ServiceDefinition } from './definition.ts';
import { type ConfigNode, type Entry, type MapNode, shownNode } from './node.ts';
import { checkOrder } from './order.ts';
import { type Place, type Problems, unknownName } from './problems.ts';
import { isSupervisorClass, loadUse } from './use.ts';

/** A service of which the class is known, if its `use` could be loaded. */
interface Draft {
  readonly name: string;
  readonly use: string;
  readonly Class: ServiceClass | undefined;
  readonly node: MapNode;
  readonly place: Place;
  readonly path: readonly string[];
  readonly services: readonly Draft[];
}

/** Makes the definitions of a `services` map. What is wrong goes to `problems`. */
export async function defineServices(
  { entries, place }: MapNode,
  file: string,
  problems: Problems,
): Promise<ServiceDefinition[]> {
  const drafts = await draftServices(entries.get('services')?.node, place, [], file, problems);
  const byName = new Map<string, Draft>();
  for (const draft of flatten(drafts)) {
    const other = byName.get(draft.name);
    if (other === undefined) byName.set(draft.name, draft);
    else {
      const rule = `is the name of another service (${other.path.join('.')}): names are unique in the whole tree`;
      problems.add({ place: draft.place, path: draft.path, rule });
    }
  }
  const definitions = drafts.flatMap((draft) => define(draft, byName, problems) ?? []);
  checkOrder(definitions, problems);
  return definitions;
}

async function draftServices(
  node: ConfigNode | undefined,
  place: Place,
  above: readonly string[],
  file: string,
  problems: Problems,
): Promise<Draft[]> {
  const path = [...above, 'services'];
  if (node === undefined) {
    problems.add({ place, path, rule: 'is required: the map of the services by their names' });
    return [];
  }
  if (node.kind !== 'map') {
    problems.add({
      place: node.place,
      path,
      rule: 'must be a map of services by their names',
      received: shownNode(node),
    });
    return [];
  }
  if (node.entries.size === 0 && above.length === 0) {
    problems.add({ place: node.place, path, rule: 'must name at least one service' });
  }
  const drafts: Draft[] = [];
  for (const [name, entry] of node.entries) {
    const draft = await draftService(name, entry, path, file, problems);
    if (draft !== undefined) drafts.push(draft);
  }
  return drafts;
}

async function draftService(
  name: string,
  { node, place }: Entry,
  above: readonly string[],
  file: string,
  problems: Problems,
): Promise<Draft | undefined> {
  const path = [...above, name];
  if (node.kind !== 'map') {
    const rule = 'must be a map: `use` and the options of the service';
    problems.add({ place: node.place, path, rule, received: shownNode(node) });
    return undefined;
  }
  const { use, Class } = await classOf(node, place, path, file, problems);
  const nested = node.entries.get('services');
  const services =
    isSupervisorClass(Class) || (Class === undefined && nested?.node.kind === 'map')
      ? await draftServices(nested?.node, place, path, file, problems)
      : [];
  return { name, use, Class, node, place, path, services };
}

async function classOf(
  node: MapNode,
  place: Place,
  path: readonly string[],
  file: string,
  problems: Problems,
): Promise<{ use: string; Class: ServiceClass | undefined }> {
  const use = node.entries.get('use')?.node;
  const problem = { place: use?.place ?? place, path: [...path, 'use'] };
  if (use === undefined) {
    problems.add({ ...problem, rule: 'is required: a built-in kind or the path of a module' });
  } else if (use.kind !== 'scalar' || typeof use.value !== 'string') {
    const rule = 'must be a built-in kind or the path of a module';
    problems.add({ ...problem, rule, received: shownNode(use) });
  } else if (!problems.covers(problem.path)) {
    const used = await loadUse(use.value, file);
    if ('Class' in used) return { use: use.value, Class: used.Class };
    problems.add({ ...problem, rule: used.rule, suggestion: used.suggestion, received: use.shown });
  }
  return { use: '', Class: undefined };
}

/** The definition of a draft; `undefined` when its class is unknown. */
function define(
  draft: Draft,
  byName: ReadonlyMap<string, Draft>,
  problems: Problems,
): ServiceDefinition | undefined {
  const { name, use, Class, node, place, path } = draft;
  const services = draft.services.flatMap((service) => define(service, byName, problems) ?? []);
  if (Class === undefined) return undefined;
  const standIns = new Map<object, string>();
  const resolve: ResolveReference = (target, wanted) => {
    const found = byName.get(target);
    if (found === undefined) return unknownName(target, [...byName.keys()], 'names no service');
    if (found.Class !== undefined && found.Class !== wanted && !(found.Class.prototype instanceof wanted)) {
      return {
        rule: `must be a service of class ${wanted.name}; "${target}" is of class ${found.Class.name}`,
      };
    }
    const standIn: object = Object.create((found.Class ?? wanted).prototype);
    standIns.set(standIn, target);
    return { standIn };
  };
  const isSupervisor = isSupervisorClass(Class);
  const conversion = new Conversion({
    problems,
    path,
    resolve,
    skip: isSupervisor ? ['use', 'services'] : ['use'],
    preset: isSupervisor ? { name, services: [] } : { name },
  });
  const options = conversion.read(Class.schema, { ...node, place }) as Record<string, unknown>;
  const after = node.entries.get('after')?.node;
  if (after?.kind === 'list') checkAfter(after.items, path, byName, problems);
  return {
    name,
    use,
    Class,
    options,
    references: referencesIn(options, standIns),
    after: Array.isArray(options.after) ? options.after.map(String) : [],
    services,
    place,
    path,
    conversion,
  };
}

function checkAfter(
  items: readonly ConfigNode[],
  path: readonly string[],
  byName: ReadonlyMap<string, Draft>,
  problems: Problems,
): void {
  items.forEach((item, index) => {
    if (item.kind !== 'scalar' || typeof item.value !== 'string' || byName.has(item.value)) return;
    const unknown = unknownName(item.value, [...byName.keys()], 'names no service');
    problems.add({
      place: item.place,
      path: [...path, 'after', String(index)],
      received: item.shown,
      ...unknown,
    });
  });
}
