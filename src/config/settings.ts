import { z } from 'zod';
import { settingsSchema } from '../entrypoint.ts';
import { preview } from '../errors.ts';
import { Conversion } from './convert.ts';
import type { Problems } from './problems.ts';
import { rereadScalar } from './reread.ts';
import { innermost, spell } from './spelling.ts';
import type { Environment } from './substitute.ts';
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
        keys: at.keys,
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

/** Puts overrides in the place of what a file says; later ones outdo those before them. */
export function override(settings: Settings, overrides: readonly Override[], problems: Problems): Settings {
  const result = structuredClone(settings) as Record<string, unknown>;
  for (const { label, setting, text } of overrides) {
    const { keys, schema, unit } = leaves.get(setting) as Leaf;
    const reread = rereadScalar(text);
    const node = { kind: 'scalar', place: {}, value: text, shown: preview(text) } as const;
    const conversion = new Conversion({ problems, path: [label] });
    const value = conversion.read(schema, reread === undefined ? node : { ...node, reread }, unit);
    let at = result;
    for (const key of keys.slice(0, -1)) {
      at[key] ??= {};
      at = at[key] as Record<string, unknown>;
    }
    at[keys.at(-1) as string] = value;
  }
  return result;
}
