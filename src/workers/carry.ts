import type { AsyncLocalStorage } from 'node:async_hooks';

const carriers = new Map<string, AsyncLocalStorage<unknown>>();

/**
 * Lets the value of an `AsyncLocalStorage` go along to the workers: a task sees the one that its caller saw.
 * Call it where the storage is made, in a module that both sides import:
 *
 * ```ts
 * export const tenant = carry('tenant', new AsyncLocalStorage<string>());
 * ```
 *
 * Values are copied by the structured-clone algorithm. Log fields (`withLogFields`) go along without it.
 *
 * @throws {TypeError} when another storage has the name.
 */
export function carry<Value>(name: string, storage: AsyncLocalStorage<Value>): AsyncLocalStorage<Value> {
  const known = carriers.get(name);
  if (known !== undefined && known !== storage)
    throw new TypeError(`carry: "${name}" is another storage's name`);
  carriers.set(name, storage as AsyncLocalStorage<unknown>);
  return storage;
}

/** What the caller's storages hold; `undefined` when they hold nothing. @internal */
export function carried(): Readonly<Record<string, unknown>> | undefined {
  let values: Record<string, unknown> | undefined;
  for (const [name, storage] of carriers) {
    const value = storage.getStore();
    if (value === undefined) continue;
    values ??= {};
    values[name] = value;
  }
  return values;
}

/** Calls `fn` where the storages hold what was carried. @internal */
export function carrying<Result>(values: Readonly<Record<string, unknown>>, fn: () => Result): Result {
  let inner = fn;
  for (const [name, value] of Object.entries(values)) {
    const storage = carriers.get(name);
    const next = inner;
    if (storage !== undefined) inner = () => storage.run(value, next);
  }
  return inner();
}
