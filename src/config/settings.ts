import { z } from 'zod';
import { settingsSchema } from '../entrypoint.ts';
import { preview } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { problemsOf } from '../options.ts';
import { Conversion } from './convert.ts';
import { isPlainObject } from './node.ts';
import type { Problems } from './problems.ts';
import { innermost, spell } from './spelling.ts';
import { type Environment, rereadScalar } from './substitute.ts';
import type { Unit } from './units.ts';

/** What a config can set beside its services. Whoever runs a config owns the process. */
export const configSettings = settingsSchema.omit({ ownsProcess: true });

/** The settings as `Entrypoint` takes them. */
export type Settings = z.input<typeof configSettings>;

/** A setting that is given outside the config file, and outdoes it. */
export interface Override {
  /** What gives it, for people: `BOSUN_LOG_LEVEL`, `--log-level`. */
  readonly label: string;
  /** Which setting, by its name in code: `log.level`. */
  readonly setting: string;
  readonly text: string;
}

interface Leaf {
  readonly keys: readonly string[];
  /** As a config file spells them. */
  readonly names: readonly string[];
  readonly variable: string;
  readonly schema: z.ZodType;
  readonly unit: Unit | undefined;
}

function leavesOf(schema: z.ZodObject, keys: readonly string[], names: readonly string[]): Leaf[] {
  return spell(schema).flatMap((option): Leaf[] => {
    const inner = innermost(option.schema);
    const at = { keys: [...keys, option.key], names: [...names, option.name] };
    if (inner instanceof z.ZodObject) return leavesOf(inner, at.keys, at.names);
    if (inner instanceof z.ZodArray) return [];
    const words = at.names.map((name) => name.replace(/(?<=[a-z\d])(?=[A-Z])/g, '_')).join('_');
    return [
      {
        ...at,
        variable: `BOSUN_${words.toUpperCase()}`.replace(/^BOSUN_WORKERS_THREADS$/, 'BOSUN_WORKERS'),
        schema: option.schema as z.ZodType,
        unit: option.unit,
      },
    ];
  });
}

const leaves = new Map(leavesOf(configSettings, [], []).map((leaf) => [leaf.keys.join('.'), leaf]));

/** The environment variable of every setting, by the setting's name in code. */
export const settingVariables: ReadonlyMap<string, string> = new Map(
  [...leaves].map(([setting, { variable }]) => [setting, variable]),
);

/** The settings that the environment gives. A variable that is empty counts as unset. */
export function environmentOverrides(env: Environment): Override[] {
  return [...settingVariables].flatMap(([setting, variable]) => {
    const text = env[variable];
    return text === undefined || text === '' ? [] : [{ label: variable, setting, text }];
  });
}

/** What a variable is called that seems to be meant for a setting, without being one. */
export interface UnknownVariable {
  readonly name: string;
  readonly suggestion: string | undefined;
}

const PREFIX = 'BOSUN_';
const withoutPrefix = (variable: string) => variable.slice(PREFIX.length);

/**
 * Variables that are set, and are no setting's but nearly (`BOSUN_LOGLEVEL`), or begin as those of a group do
 * (`BOSUN_LOG_COLOR`). Any other (`BOSUN_HOME`) is its user's own affair.
 */
export function unknownVariables(env: Environment): UnknownVariable[] {
  const known = new Set(settingVariables.values());
  const words = [...known].map(withoutPrefix);
  const groups = new Set(words.flatMap((word) => /^[A-Z]+_/.exec(word) ?? []));
  return Object.keys(env).flatMap((name) => {
    if (!name.startsWith(PREFIX) || known.has(name) || !env[name]) return [];
    const word = withoutPrefix(name);
    const near = nearest(word, words);
    if (near === undefined && !groups.has(/^[A-Z]+_/.exec(word)?.[0] ?? '')) return [];
    return [{ name, suggestion: near === undefined ? undefined : `${PREFIX}${near}` }];
  });
}

/** Puts overrides in the place of what a file says; later ones outdo those before them. */
export function override(settings: Settings, overrides: readonly Override[], problems: Problems): Settings {
  const result: Record<string, unknown> = { ...settings };
  for (const { label, setting, text } of overrides) {
    const { keys, schema, unit } = leaves.get(setting) as Leaf;
    const reread = rereadScalar(text);
    const node = { kind: 'scalar', place: {}, value: text, shown: preview(text) } as const;
    const conversion = new Conversion({ problems, path: [label] });
    const value = conversion.read(schema, reread === undefined ? node : { ...node, reread }, unit);
    let at = result;
    for (const key of keys.slice(0, -1)) {
      const group = at[key];
      // What is no map has been reported.
      const copy = isPlainObject(group) ? { ...group } : {};
      at[key] = copy;
      at = copy;
    }
    at[keys.at(-1) as string] = value;
  }
  if (problems.count === 0 && overrides.length > 0) checkTogether(result, overrides, problems);
  return result;
}

/** What was right alone may be wrong beside what others say: a delay that is longer than its timeout. */
function checkTogether(settings: unknown, overrides: readonly Override[], problems: Problems): void {
  const result = configSettings.safeParse(settings);
  if (result.success) return;
  for (const { path, rule, received } of problemsOf(result.error, configSettings, settings)) {
    const leaf = leaves.get(path.join('.'));
    const group = overrides.filter(({ setting }) => setting.split('.')[0] === path[0]);
    const shown = typeof received === 'number' ? leaf?.unit?.format(received) : undefined;
    problems.add({
      place: {},
      path: leaf?.names ?? path.map(String),
      rule: `(with ${group.map(({ label }) => label).join(', ')}) ${rule}`,
      received: shown ?? preview(received),
    });
  }
}
