import { readFile, stat } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import type { Pace } from '../pace.ts';

/** TypeScript of more characters is not stripped: it is done in one piece, about 8 ms for so many. */
const MAX_TYPESCRIPT_CHARACTERS = 50_000;

/** The texts of source files as they run: TypeScript without its types, which Node replaces by blanks. */
export class SourceTexts {
  /** When each file was last changed, at its first reading. */
  readonly #versions = new Map<string, number>();
  readonly #texts = new Map<string, Promise<string | undefined>>();
  readonly #pace: Pace;

  constructor(pace: Pace) {
    this.#pace = pace;
  }

  /**
   * `undefined` for what cannot be read, has been changed since it was first read, or is TypeScript that does not run
   * as it is.
   */
  of(file: string): Promise<string | undefined> {
    let text = this.#texts.get(file);
    if (text === undefined) {
      text = this.#read(file).catch(() => undefined);
      this.#texts.set(file, text);
    }
    return text;
  }

  /** Files are read again when they are needed again. */
  forget(): void {
    this.#texts.clear();
  }

  async #read(file: string): Promise<string | undefined> {
    const path = file.startsWith('file://') ? new URL(file) : file;
    const [text, { mtimeMs }] = await this.#pace.away(Promise.all([readFile(path, 'utf8'), stat(path)]));
    const version = this.#versions.get(file) ?? mtimeMs;
    this.#versions.set(file, version);
    if (mtimeMs !== version) return undefined;
    if (!/\.[cm]?ts$/.test(file)) return text;
    if (text.length > MAX_TYPESCRIPT_CHARACTERS) return undefined;
    await this.#pace.giveWay();
    return withoutTypes(text);
  }
}

/** Node warns at the first call that it is experimental; Node does the same to run the file, without a warning. */
function withoutTypes(text: string): string {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return stripTypeScriptTypes(text);
  } finally {
    process.emitWarning = emitWarning;
  }
}
