/** A place in code; file and position are the author's where a source map tells them. */
export interface Frame {
  /** The function's name; empty for one without. */
  readonly name: string;
  /** A path, or what Node calls it: `node:internal/…`; empty for what is not JavaScript. */
  readonly file: string;
  /** From 1 on; 0 where there is none. */
  readonly line: number;
  /** From 1 on; 0 where there is none. */
  readonly column: number;
}

/** The main loop was blocked. */
export interface Stall {
  /** Counts from 1, as long as one of the services is there that watch the loop. */
  readonly id: number;
  /** Milliseconds since the epoch. */
  readonly beganAt: number;
  /** How long it was blocked: so far, when it is blocked still. */
  readonly durationMs: number;
  readonly over: boolean;
  /** Whose code blocked it; `undefined`: not known. */
  readonly service: string | undefined;
  /** What blocked it, the innermost first; empty when it was over before that could be seen. */
  readonly stack: readonly Frame[];
  /** The stack is only what was seen last: it may be innocent. */
  readonly lastSeen?: boolean;
}

/** What one place in code has allocated and still holds, as far as sampling tells. */
export interface MemoryRow {
  readonly objects: number;
  readonly objectsDiff: number;
  readonly bytes: number;
  readonly bytesDiff: number;
  /** Of `bytes`, what is outside the heap: an estimate from the number of buffers. Absent: none. */
  readonly externalBytes?: number;
  /** The call site, the innermost frame first; one frame, unless grouped by stack. */
  readonly stack: readonly Frame[];
  /**
   * Whether nothing but the call site's line can have made what has grown most. Otherwise it is the likeliest of
   * several, or the function's first: the function is known, the line is not.
   */
  readonly exact: boolean;
}

/** What the memory tracer reports every interval. */
export interface MemoryReport {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The largest differences first. */
  readonly rows: readonly MemoryRow[];
  /** Of the process, in bytes. */
  readonly rssBytes: number;
  readonly heapUsedBytes: number;
  readonly heapTotalBytes: number;
  readonly externalBytes: number;
  readonly arrayBuffersBytes: number;
  /**
   * Of `arrayBuffersBytes`, what has come since the tracer was started and cannot be attributed to any place: the rows,
   * those left out included, account for the rest.
   */
  readonly unattributedBytes: number;
  readonly unattributedBytesDiff: number;
  /** One sample stands for about so many bytes. */
  readonly samplingBytes: number;
  /** How long this report held up the main loop, at the most in one piece. */
  readonly pauseMs: number;
}

/** The heap grows for good. */
export interface LeakSuspicion {
  readonly at: number;
  readonly mibPerHour: number;
  /** From 0 to 1: how sure it is that this is a trend. */
  readonly confidence: number;
  /** Where most of the growth was allocated; `undefined`: not known. */
  readonly suspect: MemoryRow | undefined;
}

/** A function's share of a profile. */
export interface ProfileRow {
  readonly frame: Frame;
  /** Samples in which it ran itself, and in which it was anywhere on the stack. */
  readonly selfHits: number;
  readonly totalHits: number;
  /** Of all samples that were not idle, from 0 to 1. */
  readonly selfShare: number;
  readonly totalShare: number;
  /** Whose code called it most; `undefined`: not known. */
  readonly service: string | undefined;
}

/** One node of a flame graph. */
export interface FlameNode {
  readonly frame: Frame;
  /** Samples on this stack or above it. */
  readonly hits: number;
  readonly children: readonly FlameNode[];
}

/** What a profile of some seconds says. */
export interface ProfileReport {
  /** Its end: milliseconds since the epoch. */
  readonly at: number;
  readonly durationMs: number;
  readonly hertz: number;
  readonly samples: number;
  readonly idleSamples: number;
  /** By self time. */
  readonly bySelf: readonly ProfileRow[];
  /** By total time. */
  readonly byTotal: readonly ProfileRow[];
  /** Samples by service; '' for what belongs to none. */
  readonly byService: Readonly<Record<string, number>>;
  readonly flame: FlameNode;
  /** Files that were written. */
  readonly files: readonly string[];
}
