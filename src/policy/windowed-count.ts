/** How often something has happened of late: within the last `windowMs`, give or take one of its `buckets`. */
export class WindowedCount {
  readonly #widthMs: number;
  readonly #buckets: number[];
  #newest = Number.NEGATIVE_INFINITY;
  #total = 0;

  constructor(windowMs: number, buckets: number) {
    this.#widthMs = windowMs / buckets;
    this.#buckets = new Array<number>(buckets).fill(0);
  }

  add(now: number): void {
    this.#forget(now);
    const at = this.#newest % this.#buckets.length;
    this.#buckets[at] = (this.#buckets[at] as number) + 1;
    this.#total++;
  }

  total(now: number): number {
    this.#forget(now);
    return this.#total;
  }

  #forget(now: number): void {
    const newest = Math.floor(now / this.#widthMs);
    if (newest <= this.#newest) return;
    const { length } = this.#buckets;
    for (let bucket = Math.max(this.#newest + 1, newest - length + 1); bucket <= newest; bucket++) {
      this.#total -= this.#buckets[bucket % length] as number;
      this.#buckets[bucket % length] = 0;
    }
    this.#newest = newest;
  }
}
