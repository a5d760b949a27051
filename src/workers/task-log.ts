import { AsyncLocalStorage } from 'node:async_hooks';
import { logFields } from '../logging/fields.ts';
import type { Logger } from '../service.ts';
import { runOf } from '../supervisor/run.ts';
import type { Link } from './runner.ts';
import { isCloneable, pack } from './thrown.ts';
import { type LogLevel, logLevels } from './wire.ts';

/** What `currentLog` gives: pino's methods, as they are called there. */
export type CurrentLog = Pick<Logger, LogLevel>;

/** How a task on this worker logs. @internal */
export interface TaskLog {
  readonly link: Link;
  readonly logger: number;
  readonly level: number;
}

/** @internal */
export const taskLogs = new AsyncLocalStorage<TaskLog>();

/** Lines for which there was no room. */
let dropped = 0;

/**
 * The log of the service whose code runs; on a worker, that of the service whose task it is: lines cross to the
 * main thread with the service's name and the caller's log fields, in the background. More of them than the main
 * thread reads are dropped and counted. Outside of a service it writes nothing.
 *
 * ```ts
 * currentLog().info({ rows }, 'imported');
 * ```
 */
export const currentLog = (): CurrentLog =>
  taskLogs.getStore() === undefined ? (runOf()?.log ?? workerLog) : workerLog;

const workerLog = Object.fromEntries(
  (Object.keys(logLevels) as LogLevel[]).map((level) => [
    level,
    (...args: readonly unknown[]) => write(level, args),
  ]),
) as unknown as CurrentLog;

function write(level: LogLevel, args: readonly unknown[]): void {
  const task = taskLogs.getStore();
  if (task === undefined || logLevels[level] < task.level) return;
  const [first, ...rest] = args;
  const given = first instanceof Error ? { err: first } : first;
  const hasObject = typeof given === 'object' && given !== null;
  const { err, ...object } = (hasObject ? given : {}) as Record<string, unknown>;
  if (dropped > 0) object.dropped = dropped;
  const message = hasObject ? rest : args;
  const line = {
    kind: 'log',
    logger: task.logger,
    level,
    fields: logFields(),
    error: err === undefined ? undefined : pack(err),
    message: message.length === 0 && first instanceof Error ? [first.message] : message,
  } as const;
  const sent = post(task.link, { ...line, object });
  dropped = sent ? 0 : dropped + 1;
}

function post(link: Link, line: Parameters<Link['log']>[0]): boolean {
  try {
    return link.log(line);
  } catch {
    // Something in it cannot be copied.
    const message = line.message.map((part) => (isCloneable(part) ? part : String(part)));
    return link.log({
      ...line,
      fields: cloneable(line.fields ?? {}),
      object: cloneable(line.object),
      message,
    });
  }
}

const cloneable = (fields: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => isCloneable(value)));
