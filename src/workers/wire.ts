import type { LogFields } from '../logging/fields.ts';
import type { Thrown } from './thrown.ts';

/** What goes along with a task beside its arguments. */
export interface Baggage {
  readonly fields: LogFields | undefined;
  readonly carried: Readonly<Record<string, unknown>> | undefined;
  /** What the caller's deadline leaves, in ms; `undefined` when nothing can end the task from outside. */
  remainingMs: number | undefined;
}

/** A task as a worker is sent it. One flat array, as that is copied fastest. */
export type Request = readonly [
  task: number,
  /** The module's URL, `#`, and the function's name. */
  what: string,
  logger: number,
  logLevel: number,
  baggage: Baggage | undefined,
  ...args: readonly unknown[],
];

/** Told to a worker about a task that it runs. */
export type ToWorker =
  | { readonly kind: 'abort'; readonly task: number; readonly reason: Thrown }
  | { readonly kind: 'pull'; readonly task: number; readonly count: number }
  | { readonly kind: 'return'; readonly task: number };

/** A step of the generator that a task has given. */
export type StreamStep =
  | { readonly kind: 'open'; readonly task: number }
  | { readonly kind: 'item'; readonly task: number; readonly value: unknown }
  | { readonly kind: 'end'; readonly task: number }
  | { readonly kind: 'throw'; readonly task: number; readonly error: Thrown };

/** A line for the log of the service whose task it is. */
export interface LogLine {
  readonly kind: 'log';
  readonly logger: number;
  readonly level: LogLevel;
  readonly fields: LogFields | undefined;
  readonly object: Readonly<Record<string, unknown>>;
  /** The line's `err`. */
  readonly error: Thrown | undefined;
  readonly message: readonly unknown[];
}

export const logLevels = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60 } as const;
export type LogLevel = keyof typeof logLevels;

/** Said by a worker. */
export type FromWorker = StreamStep | LogLine;
