import { z } from 'zod';
import { unwrap } from '../options.ts';
import { type AnyServiceClass, referencedClass } from '../service.ts';
import { type Unit, unitOf } from './units.ts';

/** One option, as a config file spells it. */
export interface SpelledOption {
  /** Its name in code: `intervalMs`. */
  readonly key: string;
  /** Its name in a config file: `interval`. */
  readonly name: string;
  readonly unit: Unit | undefined;
  readonly schema: z.core.$ZodType;
}

/**
 * The options of an object schema as a config file spells them: without the unit at the end of the name. One
 * that would then be spelt as another keeps its unit.
 */
export function spell(schema: z.ZodObject): SpelledOption[] {
  const keys = Object.keys(schema.shape);
  const bare = (key: string) => key.slice(0, key.length - (unitOf(key)?.suffix.length ?? 0));
  return keys.map((key) => {
    const name = bare(key);
    const unique = keys.every((other) => other === key || (other !== name && bare(other) !== name));
    const option = schema.shape[key] as z.core.$ZodType;
    return { key, name: unique ? name : key, unit: unitOf(key), schema: option };
  });
}

/** The schema of the values as a file gives them, below wrappers such as `optional()` and `lazy()`. */
export function innermost(schema: z.core.$ZodType): z.core.$ZodType {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodLazy) return innermost(inner.unwrap());
  if (inner instanceof z.ZodCatch || inner instanceof z.ZodNonOptional) return innermost(inner.unwrap());
  return inner;
}

/** The class that an option of type `service(Class)` asks for; also when it was described afterwards. */
export function referenced(schema: z.core.$ZodType): AnyServiceClass | undefined {
  for (let at: z.core.$ZodType | undefined = schema; at !== undefined; at = at._zod.parent) {
    const found = referencedClass(at);
    if (found !== undefined) return found;
  }
  return undefined;
}
