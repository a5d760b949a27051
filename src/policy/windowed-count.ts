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
    const at = this.#indexOf(this.#newest);
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
    const first = Math.max(this.#newest, newest - this.#buckets.length) + 1;
    for (let bucket = first; bucket <= newest; bucket++) {
      const at = this.#indexOf(bucket);
      this.#total -= this.#buckets[at] as number;
      this.#buckets[at] = 0;
    }
    this.#newest = newest;
  }

  /** Also for times before the epoch. */
  #indexOf(bucket: number): number {
    const { length } = this.#buckets;
    return ((bucket % length) + length) % length;
  }
}
