import { type Clock, systemClock } from '../../clock.ts';
import { ProfilerBusyError } from './errors.ts';
import { MAX_HERTZ, MAX_SAMPLES, MIN_HERTZ } from './limits.ts';
import { loadTimeProfiler, type TimeProfilerClass } from './native.ts';
import { Profile } from './profile.ts';
import { type Capture, Sampler, type SamplerOptions } from './sampler.ts';

/** The one that samples all the time, if there is one. */
let continuous: ContinuousProfiler | undefined;
/** Whether a profile is being taken on demand, and whether it has a sampler of its own at work. */
let taking = false;
let sampling = false;

/** For how long per window the continuous profiler looks for frames it does not know. */
const DISCOVERY_MS = 1_000;

/** How `ContinuousProfiler.start` is told what to do. */
export interface ContinuousOptions {
  readonly hertz: number;
  /** How often it is collected, at least. */
  readonly windowMs: number;
}

/** Samples all the time, in windows. A process has one at most. */
export class ContinuousProfiler {
  readonly hertz: number;
  readonly #Native: TimeProfilerClass;
  readonly #windowMs: number;
  #sampler: Sampler | undefined;
  /** Of this window, when it was sampled in several goes. */
  #captures: Capture[] = [];
  readonly #followers = new Set<Capture[]>();

  private constructor(Native: TimeProfilerClass, { hertz, windowMs }: ContinuousOptions) {
    this.hertz = hertz;
    this.#Native = Native;
    this.#windowMs = windowMs;
  }

  /** @throws {ProfilerBusyError} `ERR_PROFILER_BUSY` when there is one already. */
  static async start(options: ContinuousOptions): Promise<ContinuousProfiler> {
    const profiler = new ContinuousProfiler(await loadTimeProfiler(), options);
    if (continuous !== undefined) {
      throw new ProfilerBusyError('this process is profiled all the time already, by another service');
    }
    if (!sampling) profiler.resume();
    continuous = profiler;
    return profiler;
  }

  /** What was sampled since the last call: in several goes, when profiles on demand were taken meanwhile. */
  collect(): readonly Capture[] {
    this.#cut();
    const captures = this.#captures;
    this.#captures = [];
    return captures;
  }

  /** What is sampled until `end` resolves; it is in the window as well. */
  async during(end: () => Promise<unknown>): Promise<readonly Capture[]> {
    this.#cut();
    const captures: Capture[] = [];
    this.#followers.add(captures);
    try {
      await end();
      this.#cut();
    } finally {
      this.#followers.delete(captures);
    }
    return captures;
  }

  stop(): void {
    this.pause();
    continuous = undefined;
  }

  pause(): void {
    if (this.#sampler !== undefined) this.#keep(this.#sampler.stop());
    this.#sampler = undefined;
  }

  resume(): void {
    const { hertz } = this;
    this.#sampler = new Sampler(this.#Native, { hertz, windowMs: this.#windowMs, discoveryMs: DISCOVERY_MS });
  }

  #cut(): void {
    if (this.#sampler !== undefined) this.#keep(this.#sampler.collect());
  }

  #keep(capture: Capture): void {
    this.#captures.push(capture);
    for (const captures of this.#followers) captures.push(capture);
  }
}

/** What `takeProfile` is told. */
export interface TakeProfileOptions {
  /** How long it samples, counted from when sampling has begun. Default: 10. */
  readonly seconds?: number;
  /** Samples per second. Default: the rate of the profiler service, if one runs, else 1 000, or less for a long one. */
  readonly hertz?: number | undefined;
  /** Ends it early, without a profile. */
  readonly signal?: AbortSignal | undefined;
  /** Measures `seconds`. Default: the real time. */
  readonly clock?: Clock;
}

const DEFAULT_HERTZ = 1_000;

/**
 * Profiles the thread that it is called in, whether a profiler service runs or not. At the rate of that service
 * it uses its samples; at any other that one pauses meanwhile.
 *
 * At a rate of its own it holds up the loop when it begins, while V8 looks for functions in the whole heap: 60 to
 * 80 ms in a small daemon, and about 1 ms for each MB of small objects; and once more when the service resumes.
 *
 * @throws {ProfilerBusyError} `ERR_PROFILER_BUSY` while another is being taken; `signal.reason`; {RangeError} for
 * seconds that are not above 0, hertz not from 50 to 10 000, or more than 150 000 samples.
 */
export async function takeProfile({
  seconds = 10,
  hertz = continuous?.hertz ?? Math.min(DEFAULT_HERTZ, Math.floor(MAX_SAMPLES / seconds)),
  signal,
  clock = systemClock,
}: TakeProfileOptions = {}): Promise<Profile> {
  if (!(seconds > 0)) throw new RangeError(`takeProfile: seconds must be above 0, received ${seconds}`);
  if (!(hertz >= MIN_HERTZ && hertz <= MAX_HERTZ)) {
    throw new RangeError(`takeProfile: hertz must be from ${MIN_HERTZ} to ${MAX_HERTZ}, received ${hertz}`);
  }
  if (seconds * hertz > MAX_SAMPLES) {
    throw new RangeError(
      `takeProfile: seconds × hertz must be at most ${MAX_SAMPLES}, received ${seconds * hertz}`,
    );
  }
  signal?.throwIfAborted();
  if (taking) throw new ProfilerBusyError('a profile is being taken already');
  taking = true;
  const durationMs = seconds * 1_000;
  const end = () => clock.sleep(durationMs, { signal });
  let captures: readonly Capture[];
  try {
    captures =
      continuous?.hertz === hertz
        ? await continuous.during(end)
        : [await sampleDuring(end, { hertz, windowMs: durationMs, discoveryMs: durationMs })];
  } finally {
    taking = false;
  }
  return await Profile.from(captures, clock.now(), hertz);
}

async function sampleDuring(end: () => Promise<unknown>, options: SamplerOptions): Promise<Capture> {
  const Native = await loadTimeProfiler();
  sampling = true;
  continuous?.pause();
  let capture: Capture;
  try {
    const sampler = new Sampler(Native, options);
    try {
      await end();
    } finally {
      capture = sampler.stop();
    }
    return capture;
  } finally {
    sampling = false;
    continuous?.resume();
  }
}
