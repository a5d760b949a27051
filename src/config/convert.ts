import { z } from 'zod';
import type { OptionProblem } from '../errors.ts';
import { problemsOf } from '../options.ts';
import type { AnyServiceClass } from '../service.ts';
import { type ConfigNode, type MapNode, type ScalarNode, shownNode } from './node.ts';
import { type Place, Problems, unknownName } from './problems.ts';
import { innermost, referenced, type SpelledOption, spell } from './spelling.ts';
import type { Unit } from './units.ts';

/**
 * Finds the service that an option names. Gives what is wrong with the name, or the object that stands for
 * the service until it is constructed.
 */
export type ResolveReference = (
  name: string,
  wanted: AnyServiceClass,
) => { readonly standIn: object } | { readonly rule: string; readonly suggestion?: string };

/** How the options of one object are read. */
export interface ConvertOptions {
  readonly problems: Problems;
  /** Where the object stands in the config: `['services', 'api']`. */
  readonly path: readonly string[];
  readonly resolve?: ResolveReference;
  /** Keys of the file that are no options. */
  readonly skip?: readonly string[];
  /** Options that the file does not give, by their names in code. */
  readonly preset?: Readonly<Record<string, unknown>>;
}

interface Spot {
  /** From the object down, by the names in code. */
  readonly keys: readonly PropertyKey[];
  /** From the top of the config down, as the file spells it. */
  readonly path: readonly string[];
  readonly unit: Unit | undefined;
}

interface Location {
  readonly path: readonly string[];
  readonly place: Place;
  readonly shown: string | undefined;
  readonly unit: Unit | undefined;
}

/**
 * The options of one object as code takes them: names with their units, amounts as numbers, services for
 * their names. Everything that is wrong goes to `problems`.
 */
export class Conversion {
  readonly #options: ConvertOptions;
  readonly #problems: Problems;
  readonly #locations = new Map<string, Location>();

  constructor(options: ConvertOptions) {
    this.#options = options;
    this.#problems = options.problems;
  }

  /** Converts a value and holds it against its schema. */
  read(schema: z.ZodType, node: ConfigNode, unit?: Unit): unknown {
    const value = this.#convert(schema, node, { keys: [], path: this.#options.path, unit });
    const result = schema.safeParse(value);
    if (!result.success) {
      for (const problem of problemsOf(result.error, schema, value)) this.report(problem);
    }
    return value;
  }

  /** Adds a problem with an option, named as code names it, to the others or to those of a later step. */
  report({ path, rule, suggestion, received }: OptionProblem, problems = this.#problems): void {
    const { unit, ...location } = this.#locate(path);
    if (problems.covers(location.path)) return;
    const shown = received === undefined ? undefined : location.shown;
    problems.add({ ...location, rule: inWordsOfConfig(rule, unit), received: shown, suggestion });
  }

  #locate(keys: readonly PropertyKey[]): Location {
    const known = this.#locations.get(locationKey(keys));
    if (known !== undefined) return known;
    const last = keys.at(-1);
    if (last === undefined) return { path: this.#options.path, place: {}, shown: undefined, unit: undefined };
    const parent = this.#locate(keys.slice(0, -1));
    return { ...parent, path: [...parent.path, String(last)], shown: undefined };
  }

  #convert(schema: z.core.$ZodType, node: ConfigNode, spot: Spot): unknown {
    this.#remember(spot, node.place, shownNode(node));
    const inner = innermost(schema);
    const wanted = referenced(inner);
    if (wanted !== undefined) return this.#reference(wanted, node, spot);
    if (inner instanceof z.ZodUnion) return this.#union(inner, node, spot);
    if (node.kind === 'map') {
      if (inner instanceof z.ZodObject) return this.#object(inner, node, spot);
      const element = inner instanceof z.ZodRecord ? inner.valueType : z.unknown();
      return Object.fromEntries(
        [...node.entries].map(([key, entry]) => [key, this.#convert(element, entry.node, below(spot, key))]),
      );
    }
    if (node.kind === 'list') {
      return node.items.map((item, index) =>
        this.#convert(elementOf(inner, index), item, below(spot, index)),
      );
    }
    return this.#scalar(inner, node, spot);
  }

  #object(schema: z.ZodObject, node: MapNode, spot: Spot): Record<string, unknown> {
    const { skip = [], preset = {} } = spot.keys.length === 0 ? this.#options : {};
    const options = spell(schema).filter(({ key }) => !(key in preset));
    const byName = new Map(options.map((option) => [option.name, option]));
    const value: Record<string, unknown> = { ...preset };
    for (const option of options) this.#remember(childOf(spot, option), node.place, undefined);
    for (const key of Object.keys(preset)) {
      this.#remember({ ...spot, keys: [...spot.keys, key] }, node.place, undefined);
    }
    for (const [name, entry] of node.entries) {
      if (skip.includes(name)) continue;
      const option = byName.get(name);
      if (option !== undefined) {
        value[option.key] = this.#convert(option.schema, entry.node, childOf(spot, option));
      } else if (isOpen(schema)) {
        value[name] = this.#convert(z.unknown(), entry.node, below(spot, name));
      } else {
        const received = shownNode(entry.node);
        const unknown = unknownOption(name, options, { skip, preset });
        this.#problems.add({ place: entry.place, path: [...spot.path, name], received, ...unknown });
      }
    }
    return value;
  }

  #reference(wanted: AnyServiceClass, node: ConfigNode, spot: Spot): unknown {
    const fail = (problem: { rule: string; suggestion?: string }) => {
      this.#problems.add({ place: node.place, path: spot.path, received: shownNode(node), ...problem });
      return undefined;
    };
    if (node.kind !== 'scalar' || typeof node.value !== 'string') {
      return fail({ rule: `must be the name of a service of class ${wanted.name}` });
    }
    const found = this.#options.resolve?.(node.value, wanted) ?? { rule: 'cannot be a service here' };
    return 'standIn' in found ? found.standIn : fail(found);
  }

  /** The first alternative that fits; else the one with the fewest problems, which are then reported. */
  #union(schema: z.ZodUnion, node: ConfigNode, spot: Spot): unknown {
    const attempts = alternatives(schema, node).map((option) => {
      const problems = new Problems();
      const attempt = new Conversion({ ...this.#options, problems, path: spot.path, skip: [], preset: {} });
      const value = attempt.read(option as z.ZodType, node, spot.unit);
      return { value, problems, isReference: referenced(innermost(option)) !== undefined };
    });
    const good = attempts.filter(({ problems }) => problems.count === 0);
    const chosen = good.find(({ isReference }) => isReference) ?? good[0];
    if (chosen !== undefined) return chosen.value;
    const [best] = attempts.toSorted((a, b) => a.problems.count - b.problems.count);
    const reference = attempts.find(({ isReference }) => isReference);
    // A text that is the name of nothing; of any other scalar the schema's own report names all alternatives.
    if (node.kind === 'scalar' && reference === undefined) return node.reread ?? node.value;
    const reported = node.kind === 'scalar' ? reference : best;
    if (reported !== undefined) this.#problems.addAll(reported.problems);
    return undefined;
  }

  #scalar(schema: z.core.$ZodType, node: ScalarNode, { unit, path }: Spot): unknown {
    const { value, reread } = node;
    if (typeof value !== 'string') return value;
    const takesText = schema instanceof z.ZodType && schema.safeParse(value).success;
    if (unit === undefined) {
      if (takesText) return value;
      const unlimited = value === 'infinity' && z.safeParse(schema, Number.POSITIVE_INFINITY).success;
      return unlimited ? Number.POSITIVE_INFINITY : reread === undefined ? value : reread;
    }
    const amount = unit.parse(value);
    if (amount === undefined && !takesText) {
      if (!this.#problems.covers(path)) {
        this.#problems.add({ place: node.place, path, rule: unit.rule, received: node.shown });
      }
      return undefined;
    }
    return amount ?? value;
  }

  #remember({ keys, path, unit }: Spot, place: Place, shown: string | undefined): void {
    this.#locations.set(locationKey(keys), { path, place, shown, unit });
  }
}

const locationKey = (keys: readonly PropertyKey[]) => keys.map(String).join('\0');

const below = (spot: Spot, key: string | number): Spot => ({
  keys: [...spot.keys, key],
  path: [...spot.path, String(key)],
  unit: spot.unit,
});

const childOf = (spot: Spot, { key, name, unit }: SpelledOption): Spot => ({
  keys: [...spot.keys, key],
  path: [...spot.path, name],
  unit,
});

function elementOf(schema: z.core.$ZodType, index: number): z.core.$ZodType {
  if (schema instanceof z.ZodArray) return schema.element;
  if (schema instanceof z.ZodTuple) return schema.def.items[index] ?? schema.def.rest ?? z.unknown();
  return z.unknown();
}

/** The types that a value may be meant for: of objects told apart by an option, those that it fits. */
function alternatives(schema: z.ZodUnion, node: ConfigNode): readonly z.core.$ZodType[] {
  if (!(schema instanceof z.ZodDiscriminatedUnion) || node.kind !== 'map') return schema.options;
  const { discriminator } = schema.def;
  const given = node.entries.get(discriminator)?.node;
  if (given?.kind !== 'scalar') return schema.options;
  const fitting = schema.options.filter((option) => {
    const type = option instanceof z.ZodObject ? option.shape[discriminator] : undefined;
    return type !== undefined && z.safeParse(type, given.value).success;
  });
  return fitting.length > 0 ? fitting : schema.options;
}

/** Whether an object takes options that its schema does not name. One that would drop them does not. */
function isOpen(schema: z.ZodObject): boolean {
  const { catchall } = schema.def;
  return catchall !== undefined && !(catchall instanceof z.ZodNever);
}

/** What is wrong with a key that names no option. */
function unknownOption(
  name: string,
  options: readonly SpelledOption[],
  { skip, preset }: Required<Pick<ConvertOptions, 'skip' | 'preset'>>,
): { rule: string; suggestion?: string } {
  if (name in preset) return { rule: "is no option in a config file: the service's key is its name" };
  const inCode = options.find(({ key }) => key === name);
  if (inCode === undefined) return unknownName(name, [...options.map((option) => option.name), ...skip]);
  return {
    rule: 'is the name in code: in a config file it goes without its unit',
    suggestion: inCode.name,
  };
}

/** A rule of code as it is said of a config file: `at least 1s` for `at least 1000`, `a map` for `an object`. */
function inWordsOfConfig(rule: string, unit: Unit | undefined): string {
  if (unit === undefined) {
    return rule
      .replaceAll('must be an object', 'must be a map')
      .replaceAll('must be an array', 'must be a list')
      .replaceAll('(or Infinity)', '(or infinity)');
  }
  return rule
    .replace(/must be a number of (?:milliseconds|bytes) of at least 0 \(or Infinity\)/, unit.rule)
    .replace(
      /\b(at least|at most|greater than|less than) (\d+)$/,
      (_, bound: string, amount: string) => `${bound} ${unit.format(Number(amount))}`,
    );
}
