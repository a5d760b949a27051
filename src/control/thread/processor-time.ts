import { readFileSync } from 'node:fs';

/** Whose: the thread that asks, or the main one. */
type Thread = 'thread-self' | 'self';

/** What a thread has done since it began, in ms; both stand still while the process is suspended. */
export interface ProcessorTime {
  readonly ranMs: number;
  /** It could have run, but had to wait for a processor. */
  readonly waitedMs: number;
}

/** As proc(5) has it: `/proc/[pid]/schedstat`. Zeros where the system does not tell. */
export function processorTime(thread: Thread): ProcessorTime {
  try {
    const [ran, waited] = readFileSync(`/proc/${thread}/schedstat`, 'latin1').split(' ');
    return { ranMs: Number(ran) / 1e6, waitedMs: Number(waited) / 1e6 };
  } catch {
    return { ranMs: 0, waitedMs: 0 };
  }
}
