const DRAW_EVERY_MS = 250;

/**
 * What is being done, on stderr: on a terminal one line that also says how far it is, or for how many seconds it has
 * gone on.
 */
export class Progress implements Disposable {
  readonly #what: string;
  readonly #begun = performance.now();
  readonly #timer: NodeJS.Timeout | undefined;
  #howFar: string | undefined;

  constructor(what: string) {
    this.#what = what;
    if (process.stderr.isTTY) {
      this.#draw();
      this.#timer = setInterval(() => this.#draw(), DRAW_EVERY_MS);
    } else {
      process.stderr.write(`${what}\n`);
    }
  }

  /** For what would else be over without a word: `undefined`, without a terminal. */
  static onTerminal(what: string): Progress | undefined {
    return process.stderr.isTTY ? new Progress(what) : undefined;
  }

  show(howFar: string): void {
    this.#howFar = howFar;
  }

  #draw(): void {
    const seconds = Math.floor((performance.now() - this.#begun) / 1_000);
    const howFar = this.#howFar ?? (seconds === 0 ? undefined : `${seconds} s`);
    process.stderr.write(`\r\x1b[K${this.#what}${howFar === undefined ? '' : `: ${howFar}`}`);
  }

  [Symbol.dispose](): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#draw();
    process.stderr.write('\n');
  }
}
