import { Readable } from 'node:stream';
import { missingLine } from '../lines.ts';

/** What may wait for one who does not read before lines of the log are left out, in characters. */
const MAX_WAITING = 1_024 * 1_024;

/** What one reader is sent. Lines that come while much waits are left out, and that is said once it has been read. */
export class Outbox extends Readable {
  readonly #written: (line: string) => string;
  #missing = 0;

  constructor(written: (line: string) => string) {
    super({ encoding: 'utf8' });
    this.#written = written;
  }

  get full(): boolean {
    return this.readableLength > MAX_WAITING;
  }

  line(line: string): void {
    if (this.#missing > 0 || this.full) this.#missing += 1;
    else this.push(this.#written(line));
  }

  override _read(): void {
    if (this.#missing === 0) return;
    const line = missingLine(this.#missing, 'this reader was too slow');
    this.#missing = 0;
    this.push(this.#written(line));
  }
}
