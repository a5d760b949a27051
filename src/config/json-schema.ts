import { z } from 'zod';
import type { AnyServiceClass, ServiceClass } from '../service.ts';
import { configSettings } from './settings.ts';
import { innermost, referenced, spell } from './spelling.ts';
import { duration, size, type Unit } from './units.ts';
import { isSupervisorClass } from './use.ts';

/** As much of JSON Schema (draft 2020-12) as is made here. */
export interface JsonSchema {
  readonly [keyword: string]: unknown;
}

export interface JsonSchemaOptions {
  /** What `use` may say, and the class that it stands for. */
  readonly uses: ReadonlyMap<string, ServiceClass>;
  /** The services of a config, to be offered where an option is the name of one. */
  readonly services: readonly { readonly name: string; readonly Class: ServiceClass }[];
}

/** Wherever something else than any text is asked for, a text may say that the environment gives it. */
const substitution: JsonSchema = { $ref: '#/$defs/substitution' };

const amounts = {
  Ms: {
    name: 'duration',
    description: 'A duration: 250ms, 30s, 5m, 1h30m, 2d, infinity; a number is milliseconds.',
  },
  Bytes: { name: 'size', description: 'A size: 512, 10kB, 64MiB, infinity; a number is bytes.' },
} as const;

const amountOf = ({ suffix, pattern }: Unit): JsonSchema => ({
  description: amounts[suffix].description,
  anyOf: [{ type: 'number', minimum: 0 }, { type: 'string', pattern }, substitution],
});

/** The JSON Schema (draft 2020-12) of a config file, for the completion and the checks of editors. */
export function configJsonSchema(options: JsonSchemaOptions): JsonSchema {
  const generator = new Generator(options);
  const kinds = [...options.uses];
  const settings = generator.object(configSettings, {}, []);
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Bosun config',
    ...settings,
    properties: {
      $schema: { type: 'string' },
      ...(settings.properties as JsonSchema),
      services: { $ref: '#/$defs/services' },
    },
    required: ['services'],
    $defs: {
      substitution: { type: 'string', pattern: '\\$\\{' },
      duration: amountOf(duration),
      size: amountOf(size),
      services: {
        description: 'The services by their names.',
        type: 'object',
        additionalProperties: { $ref: '#/$defs/service' },
      },
      service: {
        type: 'object',
        required: ['use'],
        properties: {
          use: {
            description: 'A built-in kind, a module (./file.ts or ./file.ts#Export) or a package.',
            anyOf: [{ enum: kinds.map(([kind]) => kind) }, { type: 'string' }],
          },
        },
        allOf: kinds.map(([kind], index) => ({
          if: { properties: { use: { const: kind } }, required: ['use'] },
          // biome-ignore lint/suspicious/noThenProperty: it is JSON Schema's word
          then: { $ref: `#/$defs/use${index}` },
        })),
      },
      ...Object.fromEntries(
        kinds.map(([kind, Class], index) => [`use${index}`, generator.service(kind, Class)]),
      ),
    },
  };
}

class Generator {
  readonly #services: JsonSchemaOptions['services'];

  constructor({ services }: JsonSchemaOptions) {
    this.#services = services;
  }

  service(kind: string, Class: ServiceClass): JsonSchema {
    const nested = isSupervisorClass(Class);
    const own = {
      use: { const: kind },
      after: { type: 'array', items: this.#nameOf(undefined), default: [] },
      ...(nested ? { services: { $ref: '#/$defs/services' } } : {}),
    };
    return this.object(Class.schema, own, ['name', 'services'], ['use', ...(nested ? ['services'] : [])]);
  }

  /** An object with its options as a config file spells them; `own` and `required` come on top. */
  object(
    schema: z.ZodObject,
    own: JsonSchema,
    leftOut: readonly string[],
    required: readonly string[] = [],
  ): JsonSchema {
    const options = spell(schema).filter(({ key }) => !leftOut.includes(key));
    const properties = options.map((option) => [option.name, this.#of(option.schema, option.unit)]);
    const missing = options.filter((option) => !z.safeParse(option.schema, undefined).success);
    return {
      type: 'object',
      properties: { ...Object.fromEntries(properties), ...own },
      required: [...required, ...missing.map(({ name }) => name)],
      additionalProperties: false,
    };
  }

  #of(schema: z.core.$ZodType, unit: Unit | undefined): JsonSchema {
    const inner = innermost(schema);
    const description = z.globalRegistry.get(schema)?.description ?? z.globalRegistry.get(inner)?.description;
    const fallback = schema instanceof z.ZodDefault ? schema.def.defaultValue : undefined;
    return {
      ...(description === undefined ? {} : { description }),
      ...this.#shapeOf(inner, unit),
      ...(fallback === undefined ? {} : { default: spelled(fallback, unit) }),
    };
  }

  #shapeOf(schema: z.core.$ZodType, unit: Unit | undefined): JsonSchema {
    const wanted = referenced(schema);
    if (wanted !== undefined) return this.#nameOf(wanted);
    if (schema instanceof z.ZodObject) return this.object(schema, {}, []);
    if (schema instanceof z.ZodArray) return { type: 'array', items: this.#of(schema.element, unit) };
    if (schema instanceof z.ZodRecord) {
      return { type: 'object', additionalProperties: this.#of(schema.valueType, unit) };
    }
    if (schema instanceof z.ZodUnion)
      return { anyOf: schema.options.map((option) => this.#of(option, unit)) };
    const isWord = schema instanceof z.ZodLiteral || schema instanceof z.ZodEnum;
    if (unit !== undefined && !isWord) return { $ref: `#/$defs/${amounts[unit.suffix].name}` };
    const { $schema: _, ...plain } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
    const anyText = plain.type === 'string' && Object.keys(plain).length === 1;
    return anyText || Object.keys(plain).length === 0 ? plain : { anyOf: [plain, substitution] };
  }

  /** The name of a service of a class, or of any. Without services to offer, any name. */
  #nameOf(wanted: AnyServiceClass | undefined): JsonSchema {
    const fitting = this.#services.filter(
      ({ Class }) => wanted === undefined || Class === wanted || Class.prototype instanceof wanted,
    );
    if (this.#services.length === 0) return { type: 'string' };
    return { anyOf: [{ enum: fitting.map(({ name }) => name) }, substitution] };
  }
}

/** A default as a config file would give it. */
function spelled(value: unknown, unit: Unit | undefined): unknown {
  return typeof value === 'number' && unit !== undefined ? unit.format(value) : value;
}
