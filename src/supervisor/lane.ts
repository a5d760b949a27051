/**
 * Does what is to be done with one child, or with the children that are restarted together, one thing after
 * the other. What that is, a `step` finds out afresh each time from the children's states, so nothing is lost
 * when one step is interrupted by the next.
 *
 * @internal
 */
export class Lane<Member> {
  /** Whom it is about, in start order. */
  readonly members: () => readonly Member[];
  /** Those that have been started again since it was last at rest. */
  readonly revived = new Set<Member>();
  /** When the pause before the next start is over. */
  resumeAt = 0;
  readonly #step: (interrupted: AbortSignal) => Promise<boolean>;
  readonly #begin: (work: () => Promise<void>) => Promise<void>;
  readonly #requests: (() => Promise<void>)[] = [];
  #interruption = new AbortController();
  #working: Promise<void> | undefined;

  /**
   * `step` does the next thing, and is over soon after its signal has aborted; `false` when there is nothing to
   * do. `begin` calls what it is given, and deals with its errors.
   */
  constructor(
    members: () => readonly Member[],
    step: (interrupted: AbortSignal) => Promise<boolean>,
    begin: (work: () => Promise<void>) => Promise<void>,
  ) {
    this.members = members;
    this.#step = step;
    this.#begin = begin;
  }

  get busy(): boolean {
    return this.#working !== undefined;
  }

  /** Resolves when what is under way is done; more may have come since. */
  async idle(): Promise<void> {
    await this.#working;
  }

  /** Something has changed: a step under way is void, and the next one is taken. */
  wake(): void {
    this.interrupt();
    this.#working ??= this.#begin(() => this.#work());
  }

  /** Ends the step under way, if there is one. */
  interrupt(): void {
    this.#interruption.abort(new Error('something else came up'));
  }

  /** Does what is asked before the next step: an interrupted step, but no other request, makes way for it. */
  request<Result>(operation: () => Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#requests.push(() => operation().then(resolve, reject));
      this.wake();
    });
  }

  async #work(): Promise<void> {
    try {
      let more = true;
      while (more) {
        this.#interruption = new AbortController();
        const { signal } = this.#interruption;
        const request = this.#requests.shift();
        if (request === undefined) more = await this.#step(signal);
        else await request();
        more ||= signal.aborted;
      }
    } finally {
      this.#working = undefined;
    }
  }
}
