import { type Clock, systemClock } from '../../clock.ts';
import { ProfilerBusyError } from './errors.ts';
import { loadTimeProfiler, type TimeProfilerClass } from './native.ts';
import { Profile } from './profile.ts';
import { type Capture, Sampler } from './sampler.ts';

/** The one that samples all the time, for whom a profile on demand is in the way. */
let continuous: ContinuousProfiler | undefined;
let taking = false;

/** For how long per window the continuous profiler looks for frames it does not know. */
const DISCOVERY_MS = 1_000;

/** Samples all the time, in windows. A process has one at most. */
export class ContinuousProfiler {
  readonly #Native: TimeProfilerClass;
  readonly #options: { readonly hertz: number; readonly windowMs: number };
  #sampler: Sampler | undefined;
  /** Of this window, from before a profile on demand. */
  #captures: Capture[] = [];

  private constructor(Native: TimeProfilerClass, hertz: number, windowMs: number) {
    this.#Native = Native;
    this.#options = { hertz, windowMs };
  }

  /** @throws {ProfilerBusyError} `ERR_PROFILER_BUSY` when there is one already. */
  static async start({
    hertz,
    windowMs,
  }: {
    readonly hertz: number;
    readonly windowMs: number;
  }): Promise<ContinuousProfiler> {
    const profiler = new ContinuousProfiler(await loadTimeProfiler(), hertz, windowMs);
    if (continuous !== undefined) {
      throw new ProfilerBusyError('this process is profiled all the time already, by another service');
    }
    continuous = profiler;
    if (!taking) profiler.resume();
    return profiler;
  }

  /** What was sampled since the last call: in several goes, when profiles on demand came between. */
  collect(): readonly Capture[] {
    const captures = this.#captures;
    this.#captures = [];
    return this.#sampler === undefined ? captures : [...captures, this.#sampler.collect()];
  }

  stop(): void {
    continuous = undefined;
    this.pause();
  }

  pause(): void {
    if (this.#sampler !== undefined) this.#captures.push(this.#sampler.stop());
    this.#sampler = undefined;
  }

  resume(): void {
    this.#sampler = new Sampler(this.#Native, { ...this.#options, discoveryMs: DISCOVERY_MS });
  }
}

/** What `takeProfile` is told. */
export interface TakeProfileOptions {
  /** How long it samples, counted from when sampling has begun. Default: 10. */
  readonly seconds?: number;
  /** Samples per second. Default: 1 000. */
  readonly hertz?: number;
  /** Ends it early, without a profile. */
  readonly signal?: AbortSignal | undefined;
  /** Measures `seconds`. Default: the real time. */
  readonly clock?: Clock;
}

/**
 * Profiles the thread that it is called in, whether a profiler service runs or not; that one pauses meanwhile.
 * Beginning holds up the loop for 10 to 30 ms, while V8 lists the functions there are.
 *
 * @throws {ProfilerBusyError} `ERR_PROFILER_BUSY` while another is being taken; `signal.reason`; {RangeError} for
 * seconds that are not in 0 to 3 600, or hertz not in 1 to 10 000.
 */
export async function takeProfile({
  seconds = 10,
  hertz = 1_000,
  signal,
  clock = systemClock,
}: TakeProfileOptions = {}): Promise<Profile> {
  if (!(seconds > 0 && seconds <= 3_600)) {
    throw new RangeError(`takeProfile: seconds must be above 0 and at most 3600, received ${seconds}`);
  }
  if (!(hertz >= 1 && hertz <= 10_000)) {
    throw new RangeError(`takeProfile: hertz must be from 1 to 10000, received ${hertz}`);
  }
  signal?.throwIfAborted();
  if (taking) throw new ProfilerBusyError('a profile is being taken already');
  taking = true;
  let capture: Capture;
  try {
    capture = await sample(await loadTimeProfiler(), seconds * 1_000, hertz, clock, signal);
  } finally {
    taking = false;
  }
  return await Profile.from([capture], clock.now());
}

async function sample(
  Native: TimeProfilerClass,
  durationMs: number,
  hertz: number,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<Capture> {
  signal?.throwIfAborted();
  continuous?.pause();
  try {
    const sampler = new Sampler(Native, { hertz, windowMs: durationMs, discoveryMs: durationMs });
    let capture: Capture;
    try {
      await clock.sleep(durationMs, { signal });
    } finally {
      capture = sampler.stop();
    }
    return capture;
  } finally {
    continuous?.resume();
  }
}
