import type { Holdings } from './ledger.ts';
import { Series } from './series.ts';

/** Half an hour apart at last, for as long as the trend looks back. */
const FIRST_SPAN_MS = 60_000;
const MAX_SPAN_MS = 1_920_000;
const MAX_ITEMS = 9;

interface Held {
  readonly at: number;
  readonly holdings: Holdings;
}

/** What was held now and then, so that it can be told what has grown since a time. */
export class HoldingsHistory {
  readonly #series = new Series<Held>({
    firstSpanMs: FIRST_SPAN_MS,
    maxSpanMs: MAX_SPAN_MS,
    maxItems: MAX_ITEMS,
    merge: (earlier) => earlier,
  });
  #last: Held | undefined;

  add(at: number, holdings: Holdings): void {
    this.#last = { at, holdings };
    this.#series.add(this.#last);
  }

  /** What was held at about a time, and what at last; `undefined`: nothing is known of what was since. */
  since(time: number): { readonly before: Holdings; readonly last: Holdings } | undefined {
    const last = this.#last;
    if (last === undefined || last.at <= time) return undefined;
    const distance = ({ at }: Held) => Math.abs(at - time);
    let nearest: Held | undefined;
    for (const held of this.#series.items) {
      if (held !== last && (nearest === undefined || distance(held) < distance(nearest))) nearest = held;
    }
    return nearest && { before: nearest.holdings, last: last.holdings };
  }
}
