import { systemClock, type Timer } from '../clock.ts';
import type { Control } from '../supervisor/host.ts';

/** How long lines are gathered: each message between threads costs more than a line in it. */
const GATHER_MS = 100;
/** More lines than that in one turn are too many for a reader; the last ones are passed on. */
const MAX_LINES = 1_000;

/** Passes the lines of the log on, many at a time. */
export class LinePump {
  readonly #send: (lines: readonly string[]) => void;
  readonly #untap: () => void;
  #lines: string[] = [];
  #timer: Timer | undefined;

  constructor(control: Control, send: (lines: readonly string[]) => void) {
    this.#send = send;
    this.#untap = control.tapLog((line) => this.#add(line));
  }

  /** Passes on what has been gathered, now. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const lines = this.#lines.slice(-MAX_LINES);
    this.#lines = [];
    if (lines.length > 0) this.#send(lines);
  }

  close(): void {
    this.#untap();
    this.flush();
  }

  #add(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > 2 * MAX_LINES) this.#lines = this.#lines.slice(-MAX_LINES);
    this.#timer ??= systemClock.setTimer(() => this.flush(), GATHER_MS).unref();
  }
}
