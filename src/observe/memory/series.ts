/** Options of `Series`. */
export interface SeriesOptions<Item> {
  /** An item stands for a span of so long, at first; each time there are too many, for twice as long. */
  readonly firstSpanMs: number;
  /** Not for longer than that: the oldest goes. */
  readonly maxSpanMs: number;
  readonly maxItems: number;
  /** The item for the time of both, from the beginning of the earlier one on. */
  merge(earlier: Item, later: Item): Item;
}

/** What was seen over time, in a bounded number of items. */
export class Series<Item extends { readonly at: number }> {
  readonly #options: SeriesOptions<Item>;
  #spanMs: number;
  #items: Item[] = [];

  constructor(options: SeriesOptions<Item>) {
    this.#options = options;
    this.#spanMs = options.firstSpanMs;
  }

  /** The oldest first. */
  get items(): readonly Item[] {
    return this.#items;
  }

  /** Whether what is seen at a time begins a new item: those that are there are whole then. */
  begins(at: number): boolean {
    const last = this.#items.at(-1);
    return last === undefined || at - last.at >= this.#spanMs;
  }

  add(item: Item): void {
    const { maxItems, merge } = this.#options;
    const last = this.#items.at(-1);
    if (last === undefined || this.begins(item.at)) this.#items.push(item);
    else this.#items[this.#items.length - 1] = merge(last, item);
    if (this.#items.length > maxItems) this.#thin();
  }

  clear(): void {
    this.#items = [];
    this.#spanMs = this.#options.firstSpanMs;
  }

  #thin(): void {
    const { maxSpanMs, merge } = this.#options;
    if (this.#spanMs >= maxSpanMs) {
      this.#items.shift();
      return;
    }
    this.#spanMs *= 2;
    this.#items = this.#items.flatMap((item, index) => {
      if (index % 2 === 1) return [];
      const next = this.#items[index + 1];
      return [next === undefined ? item : merge(item, next)];
    });
  }
}
