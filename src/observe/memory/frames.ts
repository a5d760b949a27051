import type { Frame } from '../reports.ts';

/** Functions that are kept; a program that makes them without end (`eval`) must not fill the memory with them. */
const MAX_FRAMES = 50_000;

/** What a profile says of a function. */
export interface ProfiledFunction {
  readonly name?: string;
  readonly scriptName: string;
  readonly lineNumber?: number;
  readonly columnNumber?: number;
}

/** The same object for the same function, from one profile to the next. */
export class Frames {
  readonly #max: number;
  #frames = new Map<string, Frame>();
  #older: ReadonlyMap<string, Frame> = new Map();

  constructor(max = MAX_FRAMES) {
    this.#max = max;
  }

  /** Reads one profile. When there are too many functions, those that are not in it are forgotten. */
  during(read: () => void): void {
    if (this.#frames.size > this.#max) {
      this.#older = this.#frames;
      this.#frames = new Map();
    }
    read();
    this.#older = new Map();
  }

  of({
    name = '',
    scriptName: file,
    lineNumber: line = 0,
    columnNumber: column = 0,
  }: ProfiledFunction): Frame {
    const key = `${file}:${line}:${column}:${name}`;
    let frame = this.#frames.get(key);
    if (frame === undefined) {
      frame = this.#older.get(key) ?? { name, file, line, column };
      this.#frames.set(key, frame);
    }
    return frame;
  }
}
