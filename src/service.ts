import type { Logger } from 'pino';
import { z } from 'zod';
import type { Clock } from './clock.ts';
import type { Context } from './context.ts';
import { IllegalTransitionError } from './errors.ts';
import type { Metric } from './metrics.ts';
import { durationMs, parseOptions } from './options.ts';
import type { Workers } from './workers/workers.ts';

export type { Logger } from 'pino';

/** Where a service is in its life. `since` and `nextTryAt` are the clock's milliseconds since the epoch. */
export type ServiceState =
  | { readonly status: 'created' }
  | { readonly status: 'starting'; readonly since: number }
  | { readonly status: 'running'; readonly since: number }
  | { readonly status: 'stopping'; readonly since: number }
  | { readonly status: 'stopped'; readonly since: number }
  | { readonly status: 'failed'; readonly since: number; readonly error: Error }
  | {
      readonly status: 'backing-off';
      readonly since: number;
      readonly error: Error | undefined;
      readonly nextTryAt: number;
    };

const followers: Readonly<Record<ServiceState['status'], readonly ServiceState['status'][]>> = {
  created: ['starting'],
  starting: ['running', 'stopping', 'failed'],
  running: ['stopping'],
  stopping: ['stopped', 'failed'],
  stopped: ['starting', 'backing-off'],
  failed: ['starting', 'backing-off'],
  'backing-off': ['starting', 'stopped', 'backing-off'],
};

/**
 * The next state, if it may follow.
 *
 * @throws {IllegalTransitionError} `ERR_ILLEGAL_TRANSITION` when it may not.
 */
export function transition(service: string, from: ServiceState, to: ServiceState): ServiceState {
  if (!followers[from.status].includes(to.status)) {
    throw new IllegalTransitionError(`service "${service}" cannot go from ${from.status} to ${to.status}`);
  }
  return to;
}

/** Why a service is stopped, and how long it may take. Handed to `stop`. */
export interface StopReason {
  /**
   * `shutdown`: the whole tree stops; `remove`: it was taken out; `restart`: it is started again afterwards;
   * `failure`: this run failed with `error`; `finish`: it ended itself; `rollback`: a start failed elsewhere.
   */
  readonly kind: 'shutdown' | 'remove' | 'restart' | 'failure' | 'finish' | 'rollback';
  readonly error: Error | undefined;
  /**
   * Aborts when the stop has to end now: the timeout has passed, the shutdown's budget is spent, or a second
   * signal came. Destroy what is still open.
   */
  readonly signal: AbortSignal;
}

/** What a running service is handed. It belongs to one run of the service and ends with it. */
export interface Scope {
  /** Aborts when this run of the service ends: begin nothing new. */
  readonly signal: AbortSignal;
  /** The service's logger: every line carries `service`. */
  readonly log: Logger;
  /** Values shared between services; a `get` here ends with the run. */
  readonly context: Context;
  /** The entrypoint's worker threads. */
  readonly workers: Workers;
  readonly clock: Clock;
  /**
   * Runs background work. It is awaited when the service stops, within `stopTimeoutMs`. When it rejects
   * before `signal` has aborted, the service fails; afterwards a rejection counts as its end.
   */
  spawn(name: string, work: (signal: AbortSignal) => unknown): void;
  /** The service has failed: its run is stopped and the restart policy decides. The first call counts. */
  fail(error: unknown): void;
  /** The service is done: its run is stopped, and with `restart: always` started again. */
  finish(): void;
  /**
   * A clean-up for something this run has opened. Runs after `stop` and the spawned work, last first, also
   * when `start` failed half-way; at once when the run has ended already.
   */
  defer(cleanUp: () => unknown): void;
}

/** What a service says of its own state, beyond running or not. */
export interface Health {
  readonly ok: boolean;
  /** For people: what is wrong. */
  readonly detail?: string;
}

const baseShape = {
  name: z
    .string()
    .regex(/^[\p{L}\p{N}_.:-]+$/u, 'must be made of letters, digits and _ . : -')
    .optional(),
  restart: z.enum(['always', 'on-failure', 'never']).default('on-failure'),
  startTimeoutMs: durationMs().default(30_000),
  stopTimeoutMs: durationMs().default(10_000),
  critical: z.boolean().default(true),
  after: z.array(z.string()).default([]),
  restartWith: z.enum(['dependencies']).optional(),
};

type BaseShape = typeof baseShape;

/** The options that every service has. */
export type ServiceOptions = z.output<z.ZodObject<BaseShape>>;

/** Any class of services, abstract ones included. */
export type AnyServiceClass = (abstract new (
  // biome-ignore lint/suspicious/noExplicitAny: a constructor of any options, as mixins need it
  ...args: any[]
) => Service) & {
  readonly schema: z.ZodObject;
};

/** A class of services that can be constructed from its options. */
// biome-ignore lint/suspicious/noExplicitAny: a constructor of any options
export type ServiceClass = (new (options?: any) => Service) & { readonly schema: z.ZodObject };

type Merged<Base extends AnyServiceClass, Shape extends z.core.$ZodLooseShape> = z.ZodObject<
  z.core.util.Extend<Base['schema']['shape'], Shape>,
  z.core.$strict
>;

type Input<Schema extends z.ZodObject> =
  Record<string, never> extends z.input<Schema> ? [options?: z.input<Schema>] : [options: z.input<Schema>];

type Instance<Base extends AnyServiceClass, Schema extends z.ZodObject> = InstanceType<Base> & {
  readonly options: Readonly<z.output<Schema>>;
};

/** What `X.extend({ … })` gives: X with more options, to be subclassed. */
export type Extended<Base extends AnyServiceClass, Shape extends z.core.$ZodLooseShape> = Omit<
  Base,
  'schema' | 'prototype'
> & { readonly schema: Merged<Base, Shape> } & (Base extends new (
    ...args: never[]
  ) => Service
    ? new (
        ...args: Input<Merged<Base, Shape>>
      ) => Instance<Base, Merged<Base, Shape>>
    : abstract new (
        ...args: Input<Merged<Base, Shape>>
      ) => Instance<Base, Merged<Base, Shape>>);

const brand = Symbol.for('bosun.service');

/**
 * A unit with a lifecycle. Subclass it, and give the options it takes to `extend`:
 *
 * ```ts
 * class Poller extends Service.extend({ url: z.url(), intervalMs: z.number().default(1_000) }) {
 *   async start({ spawn, clock }: Scope) {
 *     spawn('poll', async (signal) => {
 *       for (;;) {
 *         await fetch(this.options.url, { signal });
 *         await clock.sleep(this.options.intervalMs, { signal });
 *       }
 *     });
 *   }
 * }
 * ```
 *
 * A supervisor may start the same instance again after it has stopped, so what belongs to one run is set up
 * in `start`.
 */
export abstract class Service {
  /** The options that the class takes; `extend` adds to them. */
  static readonly schema: z.ZodObject<BaseShape, z.core.$strict> = z.strictObject(baseShape);

  readonly [brand] = true;
  /** Unique in a tree of services. Default: the class's name in kebab case, without `Service`. */
  readonly name: string;
  /** The options as the schema gives them: validated, defaults filled in. */
  readonly options: Readonly<ServiceOptions>;

  /** @throws {OptionsError} `ERR_OPTIONS` for an unknown, missing or bad option: all problems at once. */
  constructor(options: z.input<z.ZodObject<BaseShape>> = {}) {
    const given = (options as { name?: unknown } | null)?.name;
    const owner = typeof given === 'string' ? `${new.target.name} "${given}"` : new.target.name;
    const parsed = parseOptions(owner, new.target.schema, options) as ServiceOptions;
    this.name = parsed.name ?? defaultName(new.target);
    this.options = Object.freeze({ ...parsed, name: this.name });
  }

  /**
   * The class with more options, for a subclass to extend: `this.options` and the constructor are typed by
   * them. An option of the same name replaces the one above it.
   */
  static extend<Base extends AnyServiceClass, const Shape extends z.core.$ZodLooseShape>(
    this: Base,
    shape: Shape,
  ): Extended<Base, Shape> {
    // A mixin: TypeScript cannot relate the class expression to its generic base.
    const Base = this as unknown as abstract new (options: unknown) => Service;
    const schema = this.schema.extend(shape);
    abstract class Class extends Base {
      static readonly schema = schema;
    }
    Object.defineProperty(Class, 'name', { value: this.name });
    return Class as unknown as Extended<Base, Shape>;
  }

  /**
   * Resolves when the service accepts work; called once per run, after its dependencies are running. Must end
   * promptly when `scope.signal` aborts.
   */
  abstract start(scope: Scope): Promise<void> | void;

  /**
   * Ends the run: called once per successful `start`, after `scope.signal` has aborted and before the
   * dependencies stop. Resolves when nothing is left running.
   */
  stop(_reason: StopReason): Promise<void> | void {}

  /** Whether the service can do its work right now. */
  health(): Health | Promise<Health> {
    return { ok: true };
  }

  /**
   * What the service has measured; asked for whenever the metrics are read, so it must only copy what has been
   * counted already. A `service` label is added to each sample.
   */
  metrics(): readonly Metric[] {
    return [];
  }

  /** What the service waits for in `start`, or what keeps it from stopping; shown when a timeout passes. */
  waitingFor(): readonly string[] {
    return [];
  }

  /** Where the running service can be reached: `http://127.0.0.1:8080`. */
  get addresses(): readonly string[] {
    return [];
  }
}

/** Whether a value is a service, also one made by another copy of this package. */
export function isService(value: unknown): value is Service {
  return typeof value === 'object' && value !== null && brand in value;
}

/** Whether a value is a class whose instances are services. */
export function isServiceClass(value: unknown): value is ServiceClass {
  return typeof value === 'function' && 'schema' in value && typeof value.prototype?.start === 'function';
}

const references = new WeakMap<z.core.$ZodType, AnyServiceClass>();

/**
 * The type of an option that is another service: in code the instance, in a config file its name. The service
 * that holds it depends on it: it starts after it and stops before it.
 */
export function service<Class extends AnyServiceClass>(
  Class: Class,
): z.ZodType<InstanceType<Class>, InstanceType<Class>> {
  const schema = z.custom<InstanceType<Class>>(
    (value) => value instanceof Class,
    `must be a service of class ${Class.name}`,
  );
  references.set(schema, Class);
  return schema;
}

/** The class that a `service(Class)` option asks for; `undefined` for any other type. */
export function referencedClass(schema: z.core.$ZodType): AnyServiceClass | undefined {
  return references.get(schema);
}

/** The services in a service's options, however deep in arrays and plain objects. */
export function servicesIn(options: object): ReadonlySet<Service> {
  const found = new Set<Service>();
  const seen = new Set<object>();
  const visit = (value: unknown) => {
    if (typeof value !== 'object' || value === null || seen.has(value)) return;
    seen.add(value);
    if (isService(value)) found.add(value);
    else if (Array.isArray(value)) value.forEach(visit);
    else if (isPlain(value)) Object.values(value).forEach(visit);
  };
  visit(options);
  return found;
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function defaultName(Class: { readonly name: string }): string {
  const base = Class.name.replace(/(?<=.)Service$/, '').replace(/[^\p{L}\p{N}_]/gu, '');
  return base.replace(/([a-z\d])([A-Z])|([A-Z]+)(?=[A-Z][a-z])/g, '$1$3-$2').toLowerCase() || 'service';
}
