import type { Clock } from '../clock.ts';

/** A function that calls `report` at most once in `intervalMs`, and ignores the calls between. */
export function atMostEvery(intervalMs: number, clock: Clock, report: () => void): () => void {
  let next = Number.NEGATIVE_INFINITY;
  return () => {
    const now = clock.now();
    if (now < next) return;
    next = now + intervalMs;
    report();
  };
}
