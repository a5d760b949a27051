import { AsyncLocalStorage } from 'node:async_hooks';

/** What every log line of a request carries. */
export interface LogFields {
  readonly reqId: string;
}

const storage = new AsyncLocalStorage<LogFields>();

/** Calls `fn`; what it logs, also later and asynchronously, carries the fields. */
export function withLogFields<Args extends unknown[]>(
  fields: LogFields,
  fn: (...args: Args) => void,
  ...args: Args
): void {
  storage.run(fields, fn, ...args);
}

/** The fields of the request in whose course this is called. */
export const currentLogFields = (): LogFields | undefined => storage.getStore();
