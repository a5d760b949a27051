/** An answer for all who want it: they share one question, and what it gave for a while. */
export class Kept<Value> {
  readonly #freshMs: number;
  readonly #ask: () => Promise<Value>;
  #askedAt = Number.NEGATIVE_INFINITY;
  #underWay = false;
  #value: Promise<Value> | undefined;

  /** An answer is fresh for so long after the question; 0: only while the question is under way. */
  constructor(freshMs: number, ask: () => Promise<Value>) {
    this.#freshMs = freshMs;
    this.#ask = ask;
  }

  get(): Promise<Value> {
    const now = performance.now();
    if (this.#value === undefined || (!this.#underWay && now - this.#askedAt >= this.#freshMs)) {
      this.#askedAt = now;
      this.#underWay = true;
      this.#value = this.#ask().finally(() => {
        this.#underWay = false;
      });
    }
    return this.#value;
  }
}
