import type { Frame, Stall } from '../../observe/reports.ts';
import { SourceMaps } from '../../observe/source-maps.ts';
import { BEAT_MS, type HeartbeatMemory, HeartbeatReader, steadyMs } from '../heartbeat.ts';
import type { StallOptions } from '../protocol.ts';
import { captureStack } from './stack-capture.ts';
import { waitingMs } from './waiting-time.ts';

/** The stack is looked at when a stall has lasted as long as the threshold, and each time that grows so much. */
const SAMPLE_FACTOR = 4;
/** How often those who follow a stall are told how long it is. */
const PROGRESS_MS = 1_000;
/** A stack that took longer to come, while the main thread had a processor, was native code's to give. */
const NATIVE_MS = 50;
/** How long what is told first waits for the stack. */
const FIRST_WORD_MS = 200;
/** How long the end of a stall waits for the stack. */
const LAST_WORD_MS = 1_000;
/** The thread looks at the heartbeat at least so often. */
const MAX_LOOK_MS = 100;

/** Who is told of stalls. */
export interface StallListener {
  /** A stall goes on, or is over. */
  changed(stall: Stall): void;
  /** While it goes on, as soon as its stack is seen, or when that takes long; and when it is over. */
  tell(stall: Stall, inNative: boolean): void;
  /** Once, after that. */
  over(stall: Stall): void;
}

/** A stall under way. */
interface Ongoing {
  stall: Stall;
  /** Whether native code ran when its stack was looked at. */
  inNative: boolean;
  /** When the stack is looked at next, and progress told, in ms of duration. */
  nextSampleMs: number;
  nextProgressMs: number;
  told: 'nothing' | 'that it is' | 'its stack';
  /** The look at the stack that is under way. */
  capture: Promise<void> | undefined;
}

/** Looks at the main loop's heartbeat, and at its stack when there is none. */
export class StallWatch {
  #thresholdMs: number;
  #lastId: number;
  readonly #expression: string;
  readonly #listener: StallListener;
  readonly #heart: HeartbeatReader;
  readonly #maps = new SourceMaps();
  #timer: NodeJS.Timeout;
  #beat: number;
  #lookedAt = steadyMs();
  #dueAt = this.#lookedAt;
  #waitingMs = waitingMs('thread-self');
  /** Since the last beat: time in which the process was suspended, so that nothing is to be said of it. */
  #lostMs = 0;
  #ongoing: Ongoing | undefined;
  #finishing: Promise<void> = Promise.resolve();

  constructor(memory: HeartbeatMemory, options: StallOptions, listener: StallListener) {
    this.#thresholdMs = options.thresholdMs;
    this.#lastId = options.lastId;
    this.#expression = options.expression;
    this.#listener = listener;
    this.#heart = new HeartbeatReader(memory);
    this.#beat = this.#heart.lastBeatMs;
    this.#timer = this.#wait();
  }

  /** Changes the threshold for stalls that begin from now on. */
  setThreshold(thresholdMs: number): void {
    clearTimeout(this.#timer);
    this.#look();
    this.#thresholdMs = thresholdMs;
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
    const stallMs = this.#beat + BEAT_MS + this.#lostMs + this.#thresholdMs - this.#lookedAt;
    const lookMs = Math.min(this.#thresholdMs / 2, MAX_LOOK_MS);
    const delayMs = stallMs > 0 ? Math.min(stallMs, lookMs) : lookMs;
    this.#dueAt = this.#lookedAt + delayMs;
    return setTimeout(() => this.#look(), delayMs);
  }

  #look(): void {
    const now = steadyMs();
    const waiting = waitingMs('thread-self');
    // This thread is late as well, and not because others had the processor: the process was suspended.
    const lateMs = now - this.#dueAt - (waiting - this.#waitingMs);
    if (lateMs > this.#thresholdMs / 4) this.#lostMs += now - this.#lookedAt;
    this.#waitingMs = waiting;
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
      if (durationMs < this.#thresholdMs) return;
      this.#ongoing = this.#begin(this.#beat, durationMs);
    }
    const ongoing = this.#ongoing;
    ongoing.stall = { ...ongoing.stall, durationMs: Math.round(durationMs) };
    if (durationMs >= ongoing.nextSampleMs && ongoing.capture === undefined) {
      ongoing.nextSampleMs = durationMs * SAMPLE_FACTOR;
      ongoing.capture = this.#capture(ongoing).finally(() => {
        ongoing.capture = undefined;
      });
    }
    if (durationMs >= ongoing.nextProgressMs) {
      ongoing.nextProgressMs = durationMs + PROGRESS_MS;
      this.#listener.changed(ongoing.stall);
    }
    if (durationMs >= this.#thresholdMs + FIRST_WORD_MS && ongoing.told === 'nothing') {
      ongoing.told = 'that it is';
      this.#listener.tell(ongoing.stall, false);
    }
  }

  /** There was a beat: what came before it is over. */
  #turned(): void {
    const { began, ended } = this.#heart.lastGap;
    const known = began === this.#beat || this.#ongoing === undefined;
    const durationMs = (known ? ended - began : this.#lookedAt - this.#beat) - BEAT_MS - this.#lostMs;
    if (this.#ongoing !== undefined) this.#end(this.#ongoing, durationMs);
    // One that ended just before this thread looked.
    else if (began >= this.#beat && durationMs >= this.#thresholdMs) {
      this.#end(this.#begin(began, durationMs), durationMs);
    }
    this.#beat = this.#heart.lastBeatMs;
    this.#lostMs = 0;
  }

  #begin(lastBeat: number, durationMs: number): Ongoing {
    this.#lastId += 1;
    return {
      stall: {
        id: this.#lastId,
        beganAt: Math.round(Date.now() - (steadyMs() - lastBeat - BEAT_MS)),
        durationMs: Math.round(durationMs),
        over: false,
        service: undefined,
        stack: [],
      },
      inNative: false,
      nextSampleMs: 0,
      nextProgressMs: 0,
      told: 'nothing',
      capture: undefined,
    };
  }

  async #capture(ongoing: Ongoing): Promise<void> {
    const askedAt = steadyMs() - waitingMs('self');
    const glimpse = await captureStack(this.#expression.replace('BEAT', String(this.#beat)));
    if (glimpse === undefined) return;
    const stack = await Promise.all(glimpse.stack.map((frame) => this.#original(frame)));
    ongoing.stall = { ...ongoing.stall, stack, service: glimpse.service };
    ongoing.inNative = glimpse.at - waitingMs('self') - askedAt > NATIVE_MS;
    if (this.#ongoing !== ongoing) return;
    this.#listener.changed(ongoing.stall);
    if (ongoing.told === 'its stack') return;
    ongoing.told = 'its stack';
    this.#listener.tell(ongoing.stall, ongoing.inNative);
  }

  /** What code calls itself may be no path. */
  async #original(frame: Frame): Promise<Frame> {
    return await this.#maps.original(frame).catch(() => frame);
  }

  #end(ongoing: Ongoing, durationMs: number): void {
    this.#ongoing = undefined;
    this.#finishing = this.#finishing.then(() => this.#finish(ongoing, durationMs));
  }

  async #finish(ongoing: Ongoing, durationMs: number): Promise<void> {
    if (ongoing.capture !== undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, LAST_WORD_MS);
      await Promise.race([ongoing.capture, promise]);
      clearTimeout(timer);
    }
    const { stall: last } = ongoing;
    const stall = { ...last, durationMs: Math.max(last.durationMs, Math.round(durationMs)), over: true };
    this.#listener.changed(stall);
    this.#listener.tell(stall, ongoing.inNative);
    this.#listener.over(stall);
  }
}
