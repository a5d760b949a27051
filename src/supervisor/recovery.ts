import type { Clock } from '../clock.ts';
import type { Child } from './child.ts';
import type { RunEnd } from './run.ts';

/** The child whose end is to be recovered from. */
export interface Culprit {
  readonly child: Child;
  readonly end: RunEnd;
}

/**
 * The restart of one child, or of a group of them, that is under way: what it is about, and how to hurry,
 * interrupt or cancel it. The supervisor drives it.
 *
 * @internal
 */
export class Recovery {
  readonly members: Set<Child>;
  /** Aborts when the recovery is to be given up. */
  readonly #cancelled = new AbortController();
  #attempt = new AbortController();
  #next: Culprit | undefined;
  #settled: Promise<void> = Promise.resolve();

  constructor(members: Iterable<Child>, culprit: Culprit) {
    this.members = new Set(members);
    this.#next = culprit;
  }

  /** Runs `drive`, and keeps its end for who waits. */
  begin(drive: () => Promise<void>, onError: (error: unknown) => void): void {
    for (const member of this.members) member.recovery = this;
    this.#settled = drive()
      .catch(onError)
      .finally(() => {
        for (const member of this.members) if (member.recovery === this) member.recovery = undefined;
      });
  }

  /** Resolves when the recovery is over, whatever came of it. */
  get settled(): Promise<void> {
    return this.#settled;
  }

  get cancelled(): boolean {
    return this.#cancelled.signal.aborted;
  }

  /** Aborts when the attempt under way is overtaken: by another failure, or by a cancellation. */
  get attemptSignal(): AbortSignal {
    return this.#attempt.signal;
  }

  /** Another failure, of a member or of one that joins: the attempt under way is void. */
  interrupt(culprit: Culprit, joining: Iterable<Child>): void {
    this.#next ??= culprit;
    for (const child of joining) {
      this.members.add(child);
      child.recovery = this;
    }
    this.#attempt.abort(new Error('another failure overtook this attempt'));
  }

  cancel(reason: unknown): void {
    this.#cancelled.abort(reason);
    this.#attempt.abort(reason);
  }

  /** Ends the pause, if one is under way. */
  hurry: () => void = () => {};

  /** The failure to deal with next, if there is one; begins an attempt. */
  take(): Culprit | undefined {
    const next = this.#next;
    this.#next = undefined;
    if (next !== undefined && !this.cancelled) this.#attempt = new AbortController();
    return next;
  }

  /** Waits, until the time is over, `hurry` is called, or the attempt is void. */
  async pause(clock: Clock, pauseMs: number): Promise<void> {
    const hurried = new AbortController();
    this.hurry = () => hurried.abort();
    const onAbort = () => hurried.abort();
    const { attemptSignal } = this;
    if (attemptSignal.aborted) return;
    attemptSignal.addEventListener('abort', onAbort, { once: true });
    try {
      await clock.sleep(pauseMs, { signal: hurried.signal });
    } catch (error) {
      if (!hurried.signal.aborted) throw error;
    } finally {
      attemptSignal.removeEventListener('abort', onAbort);
      this.hurry = () => {};
    }
  }
}
