import { z } from 'zod';
import { type OptionProblem, OptionsError } from './errors.ts';
import { nearest } from './nearest.ts';

/** A number of milliseconds, `Infinity` included. In config files a duration: `30s`. */
export const durationMs = (): z.ZodType<number, number> =>
  z.custom<number>(isAmount, 'must be a number of milliseconds of at least 0 (or Infinity)');

/** A duration that bounds something: above 0; `Infinity` means no limit. */
export const limitMs = () =>
  durationMs().refine((ms) => ms > 0, 'must be greater than 0 (Infinity: no limit)');

/** A number of bytes, `Infinity` included. In config files a size: `64MiB`. */
export const byteCount = (): z.ZodType<number, number> =>
  z.custom<number>(isAmount, 'must be a number of bytes of at least 0 (or Infinity)');

/** A count of at least `min`, `Infinity` included. In config files also `infinity`. */
export const countOrInfinity = (min = 1): z.ZodType<number, number> =>
  z
    .custom<number>(
      (value) => value === Number.POSITIVE_INFINITY || (Number.isInteger(value) && (value as number) >= min),
      `must be an integer of at least ${min} (or Infinity)`,
    )
    .meta({ anyOf: [{ type: 'integer', minimum: min }, { const: 'infinity' }] });

const isAmount = (value: unknown) => typeof value === 'number' && value >= 0;

const secrets = new WeakSet<z.core.$ZodType>();

/** Marks the type of an option whose value no message may show: a password, a URL that may carry one. */
export function secret<Schema extends z.ZodType>(schema: Schema): Schema {
  secrets.add(schema);
  return schema;
}

/**
 * Options against a schema.
 *
 * @throws {OptionsError} `ERR_OPTIONS`: every problem at once, each with option, rule and value received.
 */
export function parseOptions<Schema extends z.ZodType>(
  owner: string,
  schema: Schema,
  options: unknown,
): z.output<Schema> {
  const result = schema.safeParse(options);
  if (result.success) return result.data;
  throw new OptionsError(owner, problemsOf(result.error, schema, options));
}

/** A zod error as a flat list of problems, with the nearest name for each unknown option. */
export function problemsOf(error: z.ZodError, schema: z.ZodType, input: unknown): OptionProblem[] {
  return error.issues.flatMap((issue) => problemsOfIssue(issue, schema, input));
}

function problemsOfIssue(issue: z.core.$ZodIssue, schema: z.ZodType, input: unknown): OptionProblem[] {
  const received = valueAt(input, issue.path);
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schemaAt(schema, issue.path));
    return issue.keys.map((key) => {
      const suggestion = nearest(key, known);
      const rule =
        suggestion === undefined ? `does not exist (there are: ${known.join(', ')})` : 'does not exist';
      return {
        path: [...issue.path, key],
        rule,
        received: valueAt(received, [key]),
        ...(suggestion === undefined ? {} : { suggestion }),
      };
    });
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const rules = issue.errors.map((branch) => branch.map((inner) => ruleOf(inner, received)).join(' and '));
    return [{ path: issue.path, rule: [...new Set(rules)].join(', or '), received }];
  }
  if (issue.code === 'invalid_value' && typeof received === 'string') {
    const suggestion = nearest(received, issue.values.map(String));
    const problem = { path: issue.path, rule: ruleOf(issue, received), received };
    return [suggestion === undefined ? problem : { ...problem, suggestion }];
  }
  const at = schemaAt(schema, issue.path);
  const shown = at !== undefined && secrets.has(at) ? undefined : received;
  return [{ path: issue.path, rule: ruleOf(issue, received), received: shown }];
}

function ruleOf(issue: z.core.$ZodIssue, received: unknown): string {
  if (received === undefined && issue.code !== 'custom') return 'is required';
  // A message that the schema brings along says it best.
  if (!/^(Invalid|Too (big|small)|Unrecognized)\b/.test(issue.message)) return issue.message;
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${article(issue.expected)}`;
    case 'invalid_value':
      return issue.values.length === 1
        ? `must be ${JSON.stringify(issue.values[0])}`
        : `must be one of ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`;
    case 'too_small':
      return `must be ${issue.inclusive === false ? 'greater than' : 'at least'} ${issue.minimum}${sizeUnit(issue.origin)}`;
    case 'too_big':
      return `must be ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}${sizeUnit(issue.origin)}`;
    case 'invalid_format':
      return issue.pattern === undefined ? `must be ${article(issue.format)}` : `must match ${issue.pattern}`;
    default:
      return issue.message;
  }
}

const sizeUnit = (origin: string) =>
  origin === 'string' ? ' characters long' : origin === 'array' || origin === 'set' ? ' items long' : '';

const article = (noun: string) =>
  noun === 'int' ? 'an integer' : `${/^[aeio]/.test(noun) ? 'an' : 'a'} ${noun}`;

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (at, key) =>
      typeof at === 'object' && at !== null ? (at as Record<PropertyKey, unknown>)[key] : undefined,
    value,
  );
}

/** The schema below the wrappers that only add a default, optionality or a transformation. */
export function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  let inner = schema;
  for (;;) {
    if (
      inner instanceof z.ZodOptional ||
      inner instanceof z.ZodNullable ||
      inner instanceof z.ZodDefault ||
      inner instanceof z.ZodPrefault ||
      inner instanceof z.ZodReadonly
    ) {
      inner = inner.unwrap();
    } else if (inner instanceof z.ZodPipe) {
      inner = inner.in;
    } else {
      return inner;
    }
  }
}

function schemaAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): z.core.$ZodType | undefined {
  let at: z.core.$ZodType | undefined = unwrap(schema);
  for (const key of path) {
    if (at instanceof z.ZodObject) at = (at.shape as Record<PropertyKey, z.core.$ZodType>)[key];
    else if (at instanceof z.ZodArray) at = at.element;
    else if (at instanceof z.ZodRecord) at = at.valueType;
    else return undefined;
    if (at !== undefined) at = unwrap(at);
  }
  return at;
}

const knownKeys = (schema: z.core.$ZodType | undefined): string[] =>
  schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
