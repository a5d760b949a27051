/** V8's sampling profiler as `@datadog/pprof` binds it. */

/** What the code that a sample found running was marked with. */
export interface Mark {
  readonly service: string;
  /**
   * Who set it. What a frame holds points into this profiler's memory, and whoever reads the frame follows that: so it
   * must live as long as a frame is marked by it. (`dispose` would free it at once.)
   */
  readonly profiler: TimeProfiler;
}

/** One sample. */
export interface RawSample {
  /** Microseconds since the epoch. */
  readonly timestamp: bigint;
  readonly context?: Mark | undefined;
}

/** A function on one stack. Positions count from 1; 0 where there is none. */
export interface RawNode {
  readonly name: string;
  readonly scriptName: string;
  readonly scriptId: number;
  readonly lineNumber: number;
  readonly columnNumber: number;
  readonly hitCount: number;
  readonly contexts: readonly RawSample[];
  readonly children: readonly RawNode[];
}

export interface RawProfile {
  readonly topDownRoot: RawNode;
  /** Microseconds, by the monotonic clock. */
  readonly startTime: number;
  readonly endTime: number;
}

export interface TimeProfiler {
  start(): void;
  /** The samples since `start`, or since it was last called; `true` goes on sampling. */
  stop(goOn: boolean): RawProfile;
  /** Above 0 when V8 may sample no more until it is started anew. */
  v8ProfilerStuckEventLoopDetected(): number;
  /**
   * The mark of the current asynchronous frame. Setting it changes the frame itself, so that it holds for
   * whatever goes on in it, also what was started before; frames that are made in it inherit it.
   */
  set context(mark: Mark | undefined);
}

/** Where a holder is found that the profiler has put into the current frame: the mark is its item 0. */
export type MarkHolder = readonly [Mark];

export type TimeProfilerClass = new (options: {
  readonly intervalMicros: number;
  readonly durationMillis: number;
  readonly withContexts: boolean;
  readonly useCPED: boolean;
  readonly CPEDKey: object;
  readonly workaroundV8Bug: boolean;
  readonly collectCpuTime: boolean;
  readonly collectAsyncId: boolean;
  readonly lineNumbers: boolean;
  readonly isMainThread: boolean;
}) => TimeProfiler;

/**
 * The class below the package's `time` functions: they build a protobuf on the event loop, and leave out what is no
 * JavaScript and the columns.
 */
export async function loadTimeProfiler(): Promise<TimeProfilerClass> {
  const { TimeProfiler } = await import('@datadog/pprof/out/src/time-profiler-bindings.js');
  return TimeProfiler;
}
