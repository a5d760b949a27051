import { writeSync } from 'node:fs';
import { print } from './output.ts';

/** The other screen of the terminal, without a cursor; lines are not wrapped. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** What a key sends: a sequence that begins with ESC, or a character. */
const keyPattern = /\p{Cc}\[[\d;]*[A-Za-z~]|./gsu;
/** What colours, and moves nothing; or a character. */
const cellPattern = /(\p{Cc}\[[\d;]*m)|./gsu;

/** The whole terminal, its keys too, until it is disposed of or the process ends, however that comes. */
export class Screen implements Disposable {
  readonly #onData: (keys: string) => void;
  readonly #leave = () => {
    try {
      if (process.stdin.isTTY) process.stdin.setRawMode(false);
      writeSync(process.stdout.fd, LEAVE);
    } catch {
      // The terminal is gone.
    }
  };
  readonly #onSignal = (signal: NodeJS.Signals) => {
    this[Symbol.dispose]();
    process.kill(process.pid, signal);
  };

  /** `onKey` is told a character, or the sequence of a key that has none: `\x1b[6~`. */
  constructor(onKey: (key: string) => void) {
    this.#onData = (keys) => {
      for (const [key] of keys.matchAll(keyPattern)) onKey(key);
    };
    process.once('exit', this.#leave);
    for (const signal of signals) process.once(signal, this.#onSignal);
    print(ENTER);
    if (process.stdin.isTTY) process.stdin.setRawMode(true).setEncoding('utf8').on('data', this.#onData);
  }

  /** How many lines there are above the foot. */
  get room(): number {
    return Math.max(1, (process.stdout.rows || 24) - 1);
  }

  get columns(): number {
    return process.stdout.columns || 80;
  }

  draw(lines: readonly string[], foot: string): void {
    const { room } = this;
    const shown = lines.slice(0, room);
    const body = [...shown, ...Array(room - shown.length).fill(''), foot];
    print(`\x1b[H${body.map((line) => `${cut(line, this.columns)}\x1b[K`).join('\n')}`);
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#leave);
    for (const signal of signals) process.off(signal, this.#onSignal);
    this.#leave();
    process.stdin.off('data', this.#onData).pause();
  }
}

/** What of a line with colours fits; the terminal would show its end in the last column. */
function cut(line: string, width: number): string {
  let left = width;
  return line.replace(cellPattern, (text, colour) => (colour !== undefined || left-- > 0 ? text : ''));
}
