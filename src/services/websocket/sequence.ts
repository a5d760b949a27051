/** A step of a sequence; it must not throw or reject. */
type Step = () => Promise<void> | undefined;

/** Runs steps one after another; a step that returns no promise costs no turn of the event loop. */
export class Sequence {
  readonly #waiting: { readonly name: string; readonly step: Step }[] = [];
  readonly #onWait: () => unknown;
  readonly #onIdle: () => unknown;
  #current: string | undefined;

  /** `onWait` is called when a step has to be waited for, `onIdle` when such a one and all after it are done. */
  constructor({ onWait, onIdle }: { readonly onWait: () => unknown; readonly onIdle: () => void }) {
    this.#onWait = onWait;
    this.#onIdle = onIdle;
  }

  /** The step under way. */
  get current(): string | undefined {
    return this.#current;
  }

  push(name: string, step: Step): void {
    this.#waiting.push({ name, step });
    if (this.#current === undefined) this.#run();
  }

  #run(waited = false): void {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      this.#current = next.name;
      const pending = next.step();
      if (pending === undefined) continue;
      if (!waited) this.#onWait();
      void pending.then(() => this.#run(true));
      return;
    }
    this.#current = undefined;
    if (waited) this.#onIdle();
  }
}
