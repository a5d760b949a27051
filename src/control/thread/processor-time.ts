import { openSync, readSync } from 'node:fs';

/** Whose: the thread that asks, or the main one. */
type Thread = 'thread-self' | 'self';

/** What a thread has done since it began, in ms; both stand still while the process is suspended. */
export interface ProcessorTime {
  readonly ranMs: number;
  /** It could have run, but had to wait for a processor. */
  readonly waitedMs: number;
}

/** Two numbers of 20 digits and one of 10 at most. */
const line = Buffer.alloc(64);
/** They are read ten times a second: each stays open as long as this thread runs. */
const files: { [Name in Thread]?: number } = {};

/** As proc(5) has it: `/proc/[pid]/schedstat`. Zeros where the system does not tell. */
export function processorTime(thread: Thread): ProcessorTime {
  try {
    files[thread] ??= openSync(`/proc/${thread}/schedstat`, 'r');
    const length = readSync(files[thread], line, 0, line.length, 0);
    const [ran, waited] = line.toString('latin1', 0, length).split(' ');
    return { ranMs: Number(ran) / 1e6, waitedMs: Number(waited) / 1e6 };
  } catch {
    return { ranMs: 0, waitedMs: 0 };
  }
}
