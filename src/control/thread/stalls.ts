import type { Stall } from '../../observe/reports.ts';
import { SourceMaps } from '../../observe/source-maps.ts';
import { BEAT_MS, type HeartbeatMemory, HeartbeatReader, steadyMs } from '../heartbeat.ts';
import type { StallOptions } from '../protocol.ts';
import { captureStack } from './stack-capture.ts';

/** The stack is looked at when a stall has lasted as long as the threshold, and each time that grows so much. */
const SAMPLE_FACTOR = 4;
/** How often those who follow a stall are told how long it is. */
const PROGRESS_MS = 1_000;
/** A stack that took longer to come was native code's to give. */
const NATIVE_MS = 50;
/** How long the first line about a stall waits for the stack. */
const FIRST_WORD_MS = 100;
/** How long the end of a stall waits for the stack. */
const LAST_WORD_MS = 1_000;
/** The thread looks at the heartbeat at least so often. */
const MAX_LOOK_MS = 100;

/** Who is told of stalls. */
export interface StallListener {
  /** A stall goes on, or is over. */
  changed(stall: Stall): void;
  /** Once while it goes on, if it does for long enough, and when it is over. */
  tell(stall: Stall, inNative: boolean): void;
  /** Once, after that. */
  over(stall: Stall): void;
}

/** A stall under way. */
interface Ongoing {
  stall: Stall;
  /** The beat after which nothing came. */
  readonly beat: number;
  inNative: boolean;
  /** When the stack is looked at next, and progress told, in ms of duration. */
  nextSampleMs: number;
  nextProgressMs: number;
  told: boolean;
  /** The look at the stack that is under way, or has been. */
  capture: Promise<void> | undefined;
  capturing: boolean;
}

/** Ids go on when the watch is set up anew. */
let lastId = 0;

/** Looks at the main loop's heartbeat, and at its stack when there is none. */
export class StallWatch {
  thresholdMs: number;
  readonly #expression: string;
  readonly #listener: StallListener;
  readonly #heart: HeartbeatReader;
  readonly #maps = new SourceMaps();
  #timer: NodeJS.Timeout;
  #beat: number;
  #lookedAt = steadyMs();
  #dueAt = this.#lookedAt;
  /** Since the last beat: time in which this thread did not run either, so that nothing is to be said of it. */
  #lostMs = 0;
  #ongoing: Ongoing | undefined;
  #finishing: Promise<void> = Promise.resolve();

  constructor(memory: HeartbeatMemory, { thresholdMs, expression }: StallOptions, listener: StallListener) {
    this.thresholdMs = thresholdMs;
    this.#expression = expression;
    this.#listener = listener;
    this.#heart = new HeartbeatReader(memory);
    this.#beat = this.#heart.lastBeatMs;
    this.#timer = this.#wait();
  }

  /** Ends the watch; a stall under way is over. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    const now = steadyMs();
    if (this.#heart.lastBeatMs !== this.#beat) this.#turned();
    else if (this.#ongoing !== undefined) this.#end(this.#ongoing, this.#blockedMs(now));
    await this.#finishing;
  }

  #wait(): NodeJS.Timeout {
    const stallMs = this.#beat + BEAT_MS + this.#lostMs + this.thresholdMs - this.#lookedAt;
    const lookMs = Math.min(this.thresholdMs / 4, MAX_LOOK_MS);
    const delayMs = stallMs > 0 ? Math.min(stallMs, lookMs) : lookMs;
    this.#dueAt = this.#lookedAt + delayMs;
    return setTimeout(() => this.#look(), delayMs);
  }

  #look(): void {
    const now = steadyMs();
    // The process was suspended, or the machine has no time for it: who is late cannot call others so.
    if (now - this.#dueAt > this.thresholdMs / 2) this.#lostMs += now - this.#lookedAt;
    this.#lookedAt = now;
    if (this.#heart.lastBeatMs !== this.#beat) this.#turned();
    else this.#stillBlocked(this.#blockedMs(now));
    this.#timer = this.#wait();
  }

  #blockedMs(now: number): number {
    return now - this.#beat - BEAT_MS - this.#lostMs;
  }

  #stillBlocked(durationMs: number): void {
    if (this.#ongoing === undefined) {
      if (durationMs < this.thresholdMs) return;
      this.#ongoing = this.#begin(durationMs);
    }
    const ongoing = this.#ongoing;
    ongoing.stall = { ...ongoing.stall, durationMs: Math.round(durationMs) };
    if (durationMs >= ongoing.nextSampleMs && !ongoing.capturing) {
      ongoing.nextSampleMs = durationMs * SAMPLE_FACTOR;
      ongoing.capture = this.#capture(ongoing);
    }
    if (durationMs >= ongoing.nextProgressMs) {
      ongoing.nextProgressMs = durationMs + PROGRESS_MS;
      this.#listener.changed(ongoing.stall);
    }
    if (durationMs >= this.thresholdMs + FIRST_WORD_MS) this.#tellFirst(ongoing);
  }

  /** There was a beat: what came before it is over. */
  #turned(): void {
    const { began, ended } = this.#heart.lastGap;
    const known = began === this.#beat || this.#ongoing === undefined;
    const durationMs = (known ? ended - began : this.#lookedAt - this.#beat) - BEAT_MS - this.#lostMs;
    if (this.#ongoing !== undefined) this.#end(this.#ongoing, durationMs);
    // One that ended just before this thread looked.
    else if (began >= this.#beat && durationMs >= this.thresholdMs)
      this.#end(this.#begin(durationMs), durationMs);
    this.#beat = this.#heart.lastBeatMs;
    this.#lostMs = 0;
  }

  #begin(durationMs: number): Ongoing {
    const stall = {
      id: ++lastId,
      beganAt: Math.round(Date.now() - durationMs),
      durationMs: Math.round(durationMs),
      over: false,
      service: undefined,
      stack: [],
    };
    return {
      stall,
      beat: this.#beat,
      inNative: false,
      nextSampleMs: 0,
      nextProgressMs: 0,
      told: false,
      capture: undefined,
      capturing: false,
    };
  }

  async #capture(ongoing: Ongoing): Promise<void> {
    const askedAt = steadyMs();
    ongoing.capturing = true;
    const glimpse = await captureStack(this.#expression.replace('BEAT', String(ongoing.beat)));
    if (glimpse !== undefined) {
      const stack = await Promise.all(glimpse.stack.map((frame) => this.#maps.original(frame)));
      ongoing.stall = { ...ongoing.stall, stack, service: glimpse.service };
      ongoing.inNative = glimpse.at - askedAt > NATIVE_MS;
      if (this.#ongoing === ongoing) {
        this.#listener.changed(ongoing.stall);
        this.#tellFirst(ongoing);
      }
    }
    ongoing.capturing = false;
  }

  #tellFirst(ongoing: Ongoing): void {
    if (ongoing.told) return;
    ongoing.told = true;
    this.#listener.tell(ongoing.stall, ongoing.inNative);
  }

  #end(ongoing: Ongoing, durationMs: number): void {
    this.#ongoing = undefined;
    this.#finishing = Promise.all([this.#finish(ongoing, durationMs), this.#finishing]).then(() => {});
  }

  async #finish(ongoing: Ongoing, durationMs: number): Promise<void> {
    if (ongoing.capture !== undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, LAST_WORD_MS);
      await Promise.race([ongoing.capture, promise]);
      clearTimeout(timer);
    }
    const stall = { ...ongoing.stall, durationMs: Math.round(durationMs), over: true };
    this.#listener.changed(stall);
    this.#listener.tell(stall, ongoing.inNative);
    this.#listener.over(stall);
  }
}
