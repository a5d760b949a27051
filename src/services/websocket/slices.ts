import { setImmediate } from 'node:timers/promises';

/** About a millisecond's worth of sending. */
const SLICE = 100;

/** Visits all items in slices, between which the event loop gets to do something else. */
export async function inSlices<Item>(items: Iterable<Item>, visit: (item: Item) => void): Promise<void> {
  let left = SLICE;
  for (const item of items) {
    if (left-- === 0) {
      await setImmediate();
      left = SLICE - 1;
    }
    visit(item);
  }
}
