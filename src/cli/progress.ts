/** How far something is, on stderr: on a terminal in one line that changes, elsewhere only what it is. */
export class Progress implements Disposable {
  readonly #what: string;
  readonly #live = process.stderr.isTTY;

  constructor(what: string) {
    this.#what = what;
    process.stderr.write(this.#live ? what : `${what}\n`);
  }

  show(howFar: string): void {
    if (this.#live) process.stderr.write(`\r\x1b[K${this.#what}: ${howFar}`);
  }

  [Symbol.dispose](): void {
    if (this.#live) process.stderr.write('\n');
  }
}
