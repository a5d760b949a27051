import type { Logger } from '../service.ts';
import type { AuditEntry } from './protocol.ts';

/** Somebody had something done, or has tried to. */
export function logAction(log: Logger, { server: _, ...entry }: AuditEntry): void {
  const { method, path, remote, userAgent, status, durationMs, error } = entry;
  const who = userAgent === undefined ? remote : `${remote} (${userAgent})`;
  const what = `${method} ${path} by ${who}: ${status} in ${durationMs} ms`;
  log.info(entry, error === undefined ? what : `${what}: ${error}`);
}

/** Somebody was not let in. */
export function logRefusal(log: Logger, { server: _, ...entry }: AuditEntry): void {
  const { method, path, remote, status, error, unsaid = 0 } = entry;
  const more = unsaid === 0 ? '' : `; ${unsaid} more were refused before it`;
  log.warn(entry, `refused ${method} ${path} by ${remote}: ${status}, ${error}${more}`);
}
