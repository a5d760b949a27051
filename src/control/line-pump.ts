import { systemClock, type Timer } from '../clock.ts';
import type { Control } from '../supervisor/host.ts';
import { boundedLine, missingLine } from './lines.ts';

/** How long lines are gathered: each message between threads costs more than a line in it. */
const GATHER_MS = 100;
/** More than that in one turn is too much for a reader; the last lines are passed on. */
const MAX_LINES = 1_000;
/** In characters. */
const MAX_LENGTH = 4 * 1_024 * 1_024;

/** Passes the lines of the log on, many at a time; those that are left out are counted. */
export class LinePump {
  readonly #send: (lines: readonly string[]) => void;
  readonly #untap: () => void;
  #lines: string[] = [];
  #length = 0;
  #missing = 0;
  #timer: Timer | undefined;

  constructor(control: Pick<Control, 'tapLog'>, send: (lines: readonly string[]) => void) {
    this.#send = send;
    this.#untap = control.tapLog((line) => this.#add(boundedLine(line)));
  }

  /** Passes on what has been gathered, now. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const lines = this.#lines;
    if (this.#missing > 0) lines.unshift(missingLine(this.#missing, 'too many came at a time'));
    this.#lines = [];
    this.#length = 0;
    this.#missing = 0;
    if (lines.length > 0) this.#send(lines);
  }

  close(): void {
    this.#untap();
    this.flush();
  }

  #add(line: string): void {
    this.#lines.push(line);
    this.#length += line.length;
    while (this.#lines.length > MAX_LINES || this.#length > MAX_LENGTH) {
      this.#length -= this.#lines.shift()?.length ?? 0;
      this.#missing += 1;
    }
    this.#timer ??= systemClock.setTimer(() => this.flush(), GATHER_MS).unref();
  }
}
