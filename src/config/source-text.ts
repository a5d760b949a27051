const secretName =
  /pass(?:word|wd|phrase)?$|pwd$|secret|tokens?$|credentials?$|api[-_]?keys?$|private[-_]?key$|^authorization$/i;

/** Whether what stands under this name is a secret: it is not shown. */
export const isSecretName = (name: string): boolean => secretName.test(name);

const credentials = /(?<=\b[a-z][a-z\d+.-]*:\/\/)[^\s/@]+(?=@)/gi;
const privateKey = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*/g;

/** The parts of a text that are secret wherever it stands: a URL's user and password, a private key. */
export function secretParts(text: string): [start: number, end: number][] {
  return [...text.matchAll(credentials), ...text.matchAll(privateKey)].map((match) => [
    match.index,
    match.index + match[0].length,
  ]);
}

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
