import type { Clock } from '../../clock.ts';

const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 1_000;

/**
 * Makes attempts until one succeeds or the signal aborts: after `pauseMs`, and then after 100 ms × 2 up to 1 s.
 * An attempt does not wait for the one before, as one that hangs says nothing of the next: packets that a dead
 * network has swallowed are sent again late.
 */
export async function search(
  attempt: () => Promise<boolean>,
  {
    clock,
    signal,
    pauseMs = 0,
  }: { readonly clock: Clock; readonly signal: AbortSignal; readonly pauseMs?: number },
): Promise<void> {
  const found = new AbortController();
  const done = AbortSignal.any([found.signal, signal]);
  for (let pause = pauseMs; ; pause = Math.min(Math.max(pause * 2, FIRST_PAUSE_MS), MAX_PAUSE_MS)) {
    if (pause > 0) await clock.sleep(pause, { signal: done }).catch(() => {});
    if (done.aborted) return;
    void attempt().then((success) => {
      if (success) found.abort();
    });
  }
}
