import { AsyncLocalStorage, createHook } from 'node:async_hooks';
import { isMainThread } from 'node:worker_threads';
import { followFrames, type Run, runOf, serviceNameOf, visitFrames } from '../../supervisor/run.ts';
import type { Mark, MarkHolder, RawNode, TimeProfiler, TimeProfilerClass } from './native.ts';

/** What was sampled in one go. */
export interface Capture {
  readonly durationMs: number;
  readonly root: RawNode;
  /** How long beginning to sample, if it is the first, and taking it from V8 have held up the loop. */
  readonly pauseMs: number;
}

/** How a `Sampler` is told what to do. */
export interface SamplerOptions {
  readonly hertz: number;
  /** How often it is collected at least: room is made for that many samples. */
  readonly windowMs: number;
  /** For how long after its start, and each `collect`, it looks for frames that are not marked yet. */
  readonly discoveryMs: number;
}

/** How many samples a capture should have for their absence to mean something. */
const ENOUGH_SAMPLES = 20;

/** One for all samplers: a new mark takes the place of what an earlier one has left in a frame. */
const marked = new AsyncLocalStorage<MarkHolder>();

/** V8 wakes up late by a fraction of the interval: without room to spare samples would be lost. */
const SPARE_ROOM = 1.5;

/**
 * Samples the stack of this thread, and whose code runs. For that it marks the asynchronous frames
 * (AsyncContextFrame) in which services' code runs with the service's name; the signal handler that takes a
 * sample reads the mark of the current one. At its start it marks the frames in which each run began, and from
 * then on each new one. Frames that were derived from those before, by another AsyncLocalStorage, are found by a
 * hook when a callback of theirs comes up: that costs about 0.1 µs per callback, so it is on for a while only.
 *
 * A process can have one at a time. Starting it holds up the loop while V8 looks for functions in the whole heap:
 * 60 to 80 ms in a small daemon, and about 1 ms for each MB of small objects.
 */
export class Sampler {
  readonly #hertz: number;
  readonly #discoveryMs: number;
  readonly #native: TimeProfiler;
  readonly #unfollow: () => void;
  readonly #marks = new Map<string, Mark>();
  readonly #hook = createHook({ before: () => this.#discover(), trackPromises: false });
  #discoverUntil = 0;
  /** Since the last capture. */
  #pauseMs = 0;
  /** A sampling signal during the end of the process would crash it. */
  readonly #onExit = () => this.#native.stop(false);

  constructor(Native: TimeProfilerClass, { hertz, windowMs, discoveryMs }: SamplerOptions) {
    this.#hertz = hertz;
    this.#discoveryMs = discoveryMs;
    this.#native = new Native({
      intervalMicros: Math.round(1e6 / hertz),
      durationMillis: Math.ceil(windowMs * SPARE_ROOM),
      withContexts: true,
      useCPED: true,
      CPEDKey: marked,
      workaroundV8Bug: true,
      collectCpuTime: false,
      collectAsyncId: false,
      lineNumbers: false,
      isMainThread,
    });
    this.#pausing(() => this.#native.start());
    process.once('exit', this.#onExit);
    this.#unfollow = followFrames((run) => this.#setMark(this.#markOf(run)));
    this.#startDiscovery();
  }

  /** What was sampled since its start or the last call; it goes on. Holds up the loop for up to two samples. */
  collect(): Capture {
    const capture = this.#take(true);
    // A defect of V8 that the library can only detect. Starting anew walks the heap, so not on mere suspicion.
    const long = capture.durationMs > (1_000 / this.#hertz) * ENOUGH_SAMPLES;
    if (long && this.#native.v8ProfilerStuckEventLoopDetected() > 0) {
      this.#pausing(() => {
        this.#native.stop(false);
        this.#native.start();
      });
    }
    this.#startDiscovery();
    return capture;
  }

  /** Ends it, and gives what was sampled since its start or the last `collect`. */
  stop(): Capture {
    process.off('exit', this.#onExit);
    this.#hook.disable();
    this.#unfollow();
    // Every frame made from them would copy it. Those that were found by the hook keep theirs.
    visitFrames(() => this.#setMark(undefined));
    return this.#take(false);
  }

  #take(goOn: boolean): Capture {
    const { topDownRoot, startTime, endTime } = this.#pausing(() => this.#native.stop(goOn));
    const pauseMs = this.#pauseMs;
    this.#pauseMs = 0;
    return { durationMs: (endTime - startTime) / 1000, root: topDownRoot, pauseMs };
  }

  #pausing<Result>(work: () => Result): Result {
    const begun = performance.now();
    const result = work();
    this.#pauseMs += performance.now() - begun;
    return result;
  }

  #setMark(mark: Mark | undefined): void {
    this.#native.context = mark;
  }

  /** `undefined` for the entrypoint's own code. */
  #markOf(run: Run | undefined): Mark | undefined {
    const service = serviceNameOf(run);
    if (service === undefined) return undefined;
    let mark = this.#marks.get(service);
    if (mark === undefined) {
      mark = { service, profiler: this.#native };
      this.#marks.set(service, mark);
    }
    return mark;
  }

  #startDiscovery(): void {
    this.#discoverUntil = performance.now() + this.#discoveryMs;
    this.#hook.enable();
  }

  #discover(): void {
    const mark = this.#markOf(runOf());
    if (marked.getStore()?.[0] !== mark) this.#setMark(mark);
    if (performance.now() > this.#discoverUntil) this.#hook.disable();
  }
}
