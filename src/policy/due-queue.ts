import type { Call } from '../call.ts';

interface Entry {
  readonly call: Call;
  /** As it was when the call came: since then it may have become later. */
  readonly dueAt: number;
}

/** Calls in the order in which they are due; a binary heap, as there may be many, and they come in any order. @internal */
export class DueQueue {
  readonly #entries: Entry[] = [];

  get size(): number {
    return this.#entries.length;
  }

  /** When the first one is due; `Infinity`: there is none. */
  get nextDueAt(): number {
    return this.#entries[0]?.dueAt ?? Number.POSITIVE_INFINITY;
  }

  push(call: Call): void {
    const { dueAt } = call;
    let index = this.#entries.length;
    while (index > 0) {
      const above = (index - 1) >> 1;
      if (this.#at(above).dueAt <= dueAt) break;
      this.#entries[index] = this.#at(above);
      index = above;
    }
    this.#entries[index] = { call, dueAt };
  }

  /** Takes out the call that is due first. */
  pop(): Call | undefined {
    const first = this.#entries[0];
    const last = this.#entries.pop();
    if (last === undefined || last === first) return last?.call;
    const { length } = this.#entries;
    let index = 0;
    for (let below = 1; below < length; below = 2 * index + 1) {
      if (below + 1 < length && this.#at(below + 1).dueAt < this.#at(below).dueAt) below += 1;
      if (this.#at(below).dueAt >= last.dueAt) break;
      this.#entries[index] = this.#at(below);
      index = below;
    }
    this.#entries[index] = last;
    return first?.call;
  }

  #at(index: number): Entry {
    return this.#entries[index] as Entry;
  }
}
