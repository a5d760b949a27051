import { setImmediate } from 'node:timers/promises';

/** How long a piece of work may hold up the event loop, in ms. */
const SLICE_MS = 2;

/** Divides long work into slices, between which the event loop gets its turn. */
export class Pacer {
  #sliceBegan = performance.now();

  /** Call it every hundred steps or so. */
  async pause(): Promise<void> {
    if (performance.now() - this.#sliceBegan < SLICE_MS) return;
    await setImmediate();
    this.#sliceBegan = performance.now();
  }
}
