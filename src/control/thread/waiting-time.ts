import { readFileSync } from 'node:fs';

/** Whose: the thread that asks, or the main one. */
type Thread = 'thread-self' | 'self';

/**
 * For how long, in ms, a thread could have run but had to wait for a processor, since it began: proc(5),
 * `/proc/[pid]/schedstat`. It stands still while the process is suspended. 0 where the system does not tell.
 */
export function waitingMs(thread: Thread): number {
  try {
    return Number(readFileSync(`/proc/${thread}/schedstat`, 'latin1').split(' ')[1]) / 1e6;
  } catch {
    return 0;
  }
}
