/** Shorter values are no secrets worth the name, and would be found in any message. */
const MIN_CONCEALED = 6;

/** The text of a config file, and which parts of it are never shown. */
export class SourceText {
  /** The absolute path. */
  readonly file: string;
  readonly text: string;
  readonly #concealed = new Set<string>();
  readonly #masks: [start: number, end: number][] = [];

  constructor(file: string, text: string) {
    this.file = file;
    this.text = text;
  }

  /** Hides a range of offsets wherever a line is shown. */
  mask(start: number, end: number): void {
    this.#masks.push([start, end]);
  }

  /** Keeps values out of messages that others make. */
  conceal(values: readonly string[]): void {
    for (const value of values) if (value.length >= MIN_CONCEALED) this.#concealed.add(value);
  }

  /** A message without the values that are concealed. */
  scrub(message: string): string {
    return [...this.#concealed].reduce((text, value) => text.replaceAll(value, '***'), message);
  }

  /** A line (from 1) with what is masked as asterisks, so that columns stay where they are. */
  maskedLine(line: number): string {
    let { text } = this;
    for (const [start, end] of this.#masks) {
      text = text.slice(0, start) + text.slice(start, end).replace(/[^\r\n]/g, '*') + text.slice(end);
    }
    return text.split(/\r?\n/)[line - 1] ?? '';
  }
}
