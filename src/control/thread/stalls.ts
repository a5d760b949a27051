import type { Frame, Stall } from '../../observe/reports.ts';
import { SourceMaps } from '../../observe/source-maps.ts';
import { BEAT_MS, type Gap, type HeartbeatMemory, HeartbeatReader, steadyMs } from '../heartbeat.ts';
import type { StallOptions } from '../protocol.ts';
import { Looks } from './looks.ts';
import { processorTime } from './processor-time.ts';
import { captureStack } from './stack-capture.ts';

/** From so many thresholds on, looks at the stack become rarer: each comes when the stall has grown by `GROWTH`. */
const DENSE_THRESHOLDS = 4;
const GROWTH = 1.5;
/** How often those who follow a stall are told how long it is. */
const PROGRESS_MS = 1_000;
/** A stack that took longer to come, while the main thread had a processor, was native code's to give. */
const NATIVE_MS = 50;
/** How long what is told first waits until it is known what blocks the loop. */
const FIRST_WORD_MS = 200;
/** How long the end of a stall waits for the stack. */
const LAST_WORD_MS = 1_000;
/** The thread looks at the heartbeat at least so often: while the loop turns, each look comes when it may be silent. */
const MAX_LOOK_MS = 100 + BEAT_MS;

/** Who is told of stalls. */
export interface StallListener {
  /** Gives the id of one that begins. */
  newId(): number;
  /** A stall goes on, or is over. */
  changed(stall: Stall): void;
  /** While it goes on, as soon as its cause is known, or when that takes long; and when it is over. */
  tell(stall: Stall, inNative: boolean): void;
  /** Once, after that. */
  over(stall: Stall): void;
}

/** A time without a beat that has become long enough to look at the stack. */
interface Silence {
  /** By `steadyMs`. */
  readonly beganAt: number;
  readonly looks: Looks;
  /** Since it has lasted as long as the threshold. */
  stall: Stall | undefined;
  /** Whether native code ran when the stall's stack was looked at. */
  inNative: boolean;
  /** When the stack is looked at next, and progress told, in ms of duration. */
  nextLookMs: number;
  nextProgressMs: number;
  told: 'nothing' | 'that it is' | 'its cause';
  /** The look at the stack that is under way. */
  look: Promise<void> | undefined;
}

/** A time between two looks in which the process seems to have been suspended. */
interface Suspension {
  /** By `steadyMs`. */
  readonly from: number;
  readonly until: number;
  /** For how long the main thread has run in it all the same, or waited for a processor. */
  readonly mainMs: number;
}

/** Looks at the main loop's heartbeat, and at its stack when there is none. */
export class StallWatch {
  #thresholdMs: number;
  readonly #expression: string;
  readonly #listener: StallListener;
  readonly #heart: HeartbeatReader;
  readonly #maps = new SourceMaps();
  #timer: NodeJS.Timeout;
  #closed = false;
  #beat: number;
  #lookedAt = steadyMs();
  #dueAt = this.#lookedAt;
  #watcherMs = accountedMs('thread-self');
  #mainMs = accountedMs('self');
  /** Those that reach beyond the last beat. */
  #suspensions: Suspension[] = [];
  #silence: Silence | undefined;
  #finishing: Promise<void> = Promise.resolve();

  constructor(
    memory: HeartbeatMemory,
    { thresholdMs, expression }: Pick<StallOptions, 'thresholdMs' | 'expression'>,
    listener: StallListener,
  ) {
    this.#thresholdMs = thresholdMs;
    this.#expression = expression;
    this.#listener = listener;
    this.#heart = new HeartbeatReader(memory);
    this.#beat = this.#heart.lastBeatMs;
    this.#timer = this.#wait();
  }

  /** Changes the threshold for stalls that begin from now on. */
  setThreshold(thresholdMs: number): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#look();
    this.#thresholdMs = thresholdMs;
  }

  /** Ends the watch; a stall under way is over. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    const beat = this.#heart.lastBeatMs;
    if (beat !== this.#beat) this.#turned(beat);
    else if (this.#silence?.stall !== undefined) this.#end(this.#silence, this.#silentMs(steadyMs()));
    await this.#finishing;
  }

  #wait(): NodeJS.Timeout {
    const lookMs = Math.min(this.#thresholdMs / 2 + BEAT_MS, MAX_LOOK_MS);
    const nextMs = this.#silence?.nextLookMs ?? this.#thresholdMs / 2;
    const dueMs = nextMs - this.#silentMs(this.#lookedAt);
    const delayMs = dueMs > 0 ? Math.min(dueMs, lookMs) : lookMs;
    this.#dueAt = this.#lookedAt + delayMs;
    return setTimeout(() => this.#look(), Math.ceil(delayMs));
  }

  #look(): void {
    const now = steadyMs();
    const [watcherMs, mainMs] = [accountedMs('thread-self'), accountedMs('self')];
    // This thread is late as well, without having run or waited for a processor: the process was suspended while
    // the main thread has not either.
    const lateMs = now - this.#dueAt - (watcherMs - this.#watcherMs);
    if (lateMs > this.#thresholdMs / 4) {
      this.#suspensions.push({ from: this.#lookedAt, until: now, mainMs: mainMs - this.#mainMs });
    }
    this.#watcherMs = watcherMs;
    this.#mainMs = mainMs;
    this.#lookedAt = now;
    const beat = this.#heart.lastBeatMs;
    if (beat !== this.#beat) this.#turned(beat);
    else this.#stillSilent(this.#silentMs(now));
    this.#timer = this.#wait();
  }

  /** For how long the loop has not turned, beyond what is usual. */
  #silentMs(now: number): number {
    return this.#durationMs({ began: this.#beat, ended: now });
  }

  /** Without what the process was suspended for. */
  #durationMs({ began, ended }: Gap): number {
    const beganAt = began + BEAT_MS;
    return this.#suspensions
      .map(({ from, until, mainMs }) => Math.min(until, ended) - Math.max(from, beganAt) - mainMs)
      .reduce((durationMs, lostMs) => durationMs - Math.max(0, lostMs), ended - beganAt);
  }

  #stillSilent(durationMs: number): void {
    const thresholdMs = this.#thresholdMs;
    const stepMs = thresholdMs / 2;
    if (this.#silence === undefined && durationMs < stepMs) return;
    this.#silence ??= this.#begin(this.#beat);
    const silence = this.#silence;
    if (durationMs >= silence.nextLookMs && silence.look === undefined) {
      const dense = durationMs < DENSE_THRESHOLDS * thresholdMs;
      // In steps, one of which is the threshold, also when one was late.
      silence.nextLookMs = dense ? (Math.floor(durationMs / stepMs) + 1) * stepMs : durationMs * GROWTH;
      silence.look = this.#lookAtStack(silence).finally(() => {
        silence.look = undefined;
      });
    }
    if (silence.stall === undefined && durationMs < thresholdMs) return;
    silence.stall = { ...(silence.stall ?? this.#stall(silence)), durationMs: Math.round(durationMs) };
    if (durationMs >= silence.nextProgressMs) {
      silence.nextProgressMs = durationMs + PROGRESS_MS;
      this.#listener.changed(silence.stall);
    }
    if (durationMs >= thresholdMs + FIRST_WORD_MS && silence.told === 'nothing') {
      silence.told = 'that it is';
      this.#listener.tell(silence.stall, silence.inNative);
    }
  }

  /** There was a beat: what came before it is over. */
  #turned(beat: number): void {
    const silence = this.#silence;
    const gaps = this.#heart.takeGaps();
    // It is too long ago to have been kept.
    if (silence?.stall !== undefined && !gaps.some(({ began }) => began === this.#beat)) {
      gaps.unshift({ began: this.#beat, ended: this.#lookedAt });
    }
    for (const gap of gaps) {
      const seen = gap.began === this.#beat ? silence : undefined;
      const durationMs = this.#durationMs(gap);
      // It may have ended just before this thread looked.
      if (seen?.stall === undefined && durationMs < this.#thresholdMs) continue;
      this.#end(seen ?? this.#begin(gap.began), durationMs);
    }
    this.#silence = undefined;
    this.#beat = beat;
    // A beat that this thread learns of late may be one from before the suspension.
    this.#suspensions = this.#suspensions.filter(({ until }) => until > beat);
  }

  #begin(lastBeat: number): Silence {
    const beganAt = lastBeat + BEAT_MS;
    return {
      beganAt,
      looks: new Looks(beganAt),
      stall: undefined,
      inNative: false,
      nextLookMs: 0,
      nextProgressMs: 0,
      told: 'nothing',
      look: undefined,
    };
  }

  #stall({ beganAt }: Silence): Stall {
    return {
      id: this.#listener.newId(),
      beganAt: Math.round(Date.now() - (steadyMs() - beganAt)),
      durationMs: 0,
      over: false,
      service: undefined,
      stack: [],
    };
  }

  async #lookAtStack(silence: Silence): Promise<void> {
    const askedAt = steadyMs() - processorTime('self').waitedMs;
    const glimpse = await captureStack(this.#expression.replace('BEAT', String(this.#beat)));
    const { waitedMs } = processorTime('self');
    if (glimpse === undefined) return;
    silence.looks.add({ ...glimpse, inNative: glimpse.at - waitedMs - askedAt > NATIVE_MS });
    if (silence.stall === undefined) return;
    await this.#judge(silence, glimpse.at);
    if (this.#silence !== silence) return;
    this.#listener.changed(silence.stall);
    if (silence.told === 'its cause' || silence.stall.lastSeen) return;
    silence.told = 'its cause';
    this.#listener.tell(silence.stall, silence.inNative);
  }

  /** Writes into the stall what the looks have told up to `at`. */
  async #judge(silence: Silence, at: number): Promise<void> {
    const verdict = silence.looks.verdict(at);
    if (verdict === undefined) return;
    const { look, certain } = verdict;
    const stack = await Promise.all(look.stack.map((frame) => this.#original(frame)));
    silence.stall = {
      ...(silence.stall as Stall),
      service: certain ? look.service : undefined,
      stack,
      lastSeen: !certain,
    };
    silence.inNative = look.inNative;
  }

  /** What code calls itself may be no path. */
  async #original(frame: Frame): Promise<Frame> {
    return await this.#maps.original(frame).catch(() => frame);
  }

  #end(silence: Silence, durationMs: number): void {
    this.#silence = undefined;
    silence.stall ??= this.#stall(silence);
    this.#finishing = this.#finishing.then(() => this.#finish(silence, durationMs));
  }

  async #finish(silence: Silence, durationMs: number): Promise<void> {
    if (silence.look !== undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, LAST_WORD_MS);
      await Promise.race([silence.look, promise]);
      clearTimeout(timer);
    }
    await this.#judge(silence, silence.beganAt + durationMs);
    const last = silence.stall as Stall;
    const stall = { ...last, durationMs: Math.max(last.durationMs, Math.round(durationMs)), over: true };
    this.#listener.changed(stall);
    this.#listener.tell(stall, silence.inNative);
    this.#listener.over(stall);
  }
}

/** For how long a thread has run or waited for a processor. */
function accountedMs(thread: Parameters<typeof processorTime>[0]): number {
  const { ranMs, waitedMs } = processorTime(thread);
  return ranMs + waitedMs;
}
