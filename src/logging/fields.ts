import { surroundings } from '../call.ts';

/** Fields of a log line: `{ reqId: '7f3a', traceId: '4bf9…' }`. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Calls `fn`; every line logged by it, and by whatever it awaits or starts, carries `fields`. Nested calls add
 * up, the inner one wins; what a logger or a line has of its own wins over both.
 *
 * ```ts
 * withLogFields({ reqId }, () => handle(request));
 * ```
 */
export function withLogFields<Result>(fields: LogFields, fn: () => Result): Result {
  const outer = surroundings.getStore();
  const all = outer?.fields === undefined ? fields : { ...outer.fields, ...fields };
  return surroundings.run({ call: outer?.call, fields: all }, fn);
}

/** The fields that `withLogFields` has set around the caller. */
export const logFields = (): LogFields | undefined => surroundings.getStore()?.fields;
