import { type BosunError, DeadlineError, NonErrorThrown, preview } from '../errors.ts';
import { NoSuchTaskError, TaskDataError, WorkerInitError } from './errors.ts';

/** What was thrown, in a form that survives the copy to another thread or process. */
export type Thrown =
  | { readonly kind: 'value'; readonly value: unknown }
  | {
      readonly kind: 'error';
      readonly name: string;
      readonly message: string;
      readonly stack: string | undefined;
      readonly fields: Readonly<Record<string, unknown>>;
      readonly cause?: Thrown;
      readonly errors?: readonly Thrown[];
    };

/** Chains of causes that are longer are cut; it may be a circle. */
const MAX_DEPTH = 8;

/** @internal */
export function pack(thrown: unknown, depth = 0): Thrown {
  if (!(thrown instanceof Error)) {
    return { kind: 'value', value: isCloneable(thrown) ? thrown : preview(thrown) };
  }
  const fields: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(thrown)) {
    if (!['name', 'message', 'stack', 'cause', 'errors'].includes(key) && isCloneable(value))
      fields[key] = value;
  }
  return {
    kind: 'error',
    name: thrown.name,
    message: thrown.message,
    stack: thrown.stack,
    fields,
    ...('cause' in thrown && depth < MAX_DEPTH && { cause: pack(thrown.cause, depth + 1) }),
    ...(thrown instanceof AggregateError &&
      depth < MAX_DEPTH && { errors: thrown.errors.map((error) => pack(error, depth + 1)) }),
  };
}

/** The error that was packed; of its own class where that is known on both sides. @internal */
export function unpack(thrown: Thrown): unknown {
  if (thrown.kind === 'value') return thrown.value;
  const error = new Error(thrown.message);
  Object.assign(error, thrown.fields);
  hide(error, 'stack', thrown.stack);
  if (thrown.cause !== undefined) hide(error, 'cause', unpack(thrown.cause));
  if (thrown.errors !== undefined) hide(error, 'errors', thrown.errors.map(unpack));
  const Class = classes.get(thrown.name);
  if (Class !== undefined) Object.setPrototypeOf(error, Class.prototype);
  if (error.name !== thrown.name) hide(error, 'name', thrown.name);
  return error;
}

const hide = (error: Error, key: string, value: unknown) =>
  Object.defineProperty(error, key, { value, writable: true, configurable: true });

type ErrorClass = { readonly name: string; readonly prototype: Error | BosunError };

const classes = new Map<string, ErrorClass>(
  [
    ...[TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError, AggregateError],
    ...[DeadlineError, NonErrorThrown, WorkerInitError, NoSuchTaskError, TaskDataError],
  ].map((Class) => [Class.name, Class]),
);

/** Whether a value can be sent. @internal */
export function isCloneable(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return !['function', 'symbol'].includes(typeof value);
  try {
    structuredClone(value);
    return true;
  } catch {
    return false;
  }
}
