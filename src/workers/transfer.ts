import { isArrayBuffer, isArrayBufferView } from 'node:util/types';
import type { Transferable } from 'node:worker_threads';

const moved = new WeakMap<object, readonly Transferable[]>();
let used = false;
const none: readonly Transferable[] = [];

/**
 * Marks an argument, a result or an item of a task: the buffers and ports in `list` move to the other thread
 * instead of being copied, and are empty (detached) here afterwards. Default of `list`: the value itself, or
 * the buffer of a view. Gives the value. Between processes everything is copied.
 *
 * ```ts
 * await tasks.resize(transfer(pixels), 640);
 * ```
 *
 * `pixels` must own its buffer: small ones made by `Buffer.from` share one, and are refused.
 */
export function transfer<Value extends object>(
  value: Value,
  list: readonly Transferable[] = own(value),
): Value {
  used = true;
  moved.set(value, list);
  return value;
}

function own(value: object): Transferable[] {
  if (isArrayBufferView(value)) return isArrayBuffer(value.buffer) ? [value.buffer] : [];
  return [value as Transferable];
}

/** What `transfer` has marked among the arguments of a task. @internal */
export const transferredWithAny = (values: readonly unknown[]): readonly Transferable[] =>
  used ? values.flatMap((value) => transferredWith(value) ?? []) : none;

/** What `transfer` has marked in a value that is sent. @internal */
export function transferredWith(value: unknown): readonly Transferable[] | undefined {
  return used && typeof value === 'object' && value !== null ? moved.get(value) : undefined;
}
