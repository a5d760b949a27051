import { readFile, stat } from 'node:fs/promises';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Frame } from './reports.ts';

/** The comment's last occurrence counts: others may stand in strings. */
const mapComment = /\/\/[#@] sourceMappingURL=([^\s'"`]+)\s*$/;

/** Files of which it is known whether they have a map. */
const MAX_FILES = 5_000;

/** Characters of mappings that are kept, of all maps: Node makes 24 bytes of each. */
const MAX_MAPPINGS = 2_000_000;

/** Larger files are not read: their text alone would be a burden. */
const MAX_FILE_BYTES = 16 * 1_024 * 1_024;

/**
 * Finds the author's place of a frame in built code, by the source map that its file names, inline or beside it.
 * Frames without one stay as they are, as do those of files whose maps would take too much room. Each file is read
 * once.
 */
export class SourceMaps {
  readonly #maps = new Map<string, Promise<SourceMap | undefined>>();
  #mappings = 0;

  async original(frame: Frame): Promise<Frame> {
    const path = pathOf(frame.file);
    if (path === undefined) return frame;
    const map = await this.#mapOf(path);
    if (map === undefined || frame.line === 0) return { ...frame, file: path };
    const entry = map.findEntry(frame.line - 1, Math.max(0, frame.column - 1));
    if (!('originalSource' in entry) || entry.originalSource === undefined) return { ...frame, file: path };
    return {
      name: frame.name,
      file: pathOf(entry.originalSource) ?? resolve(dirname(path), entry.originalSource),
      line: entry.originalLine + 1,
      column: entry.originalColumn + 1,
    };
  }

  /** Whether the file at that path has a map. */
  async has(path: string): Promise<boolean> {
    return (await this.#mapOf(path)) !== undefined;
  }

  #mapOf(path: string): Promise<SourceMap | undefined> {
    let map = this.#maps.get(path);
    if (map === undefined) {
      if (this.#maps.size >= MAX_FILES) this.#forget();
      map = this.#load(path).catch(() => undefined);
      this.#maps.set(path, map);
    }
    return map;
  }

  async #load(path: string): Promise<SourceMap | undefined> {
    const payload = await read(path);
    if (payload === undefined) return undefined;
    const mappings = mappingsIn(payload);
    // None is dropped for another: those in use would take turns, and be parsed each time.
    if (this.#mappings + mappings > MAX_MAPPINGS) return undefined;
    this.#mappings += mappings;
    return new SourceMap(payload);
  }

  #forget(): void {
    this.#maps.clear();
    this.#mappings = 0;
  }
}

/** `undefined` for what is no file: `node:internal/…`, `evalmachine.<anonymous>`. */
export function pathOf(file: string): string | undefined {
  if (file.startsWith('file://')) return fileURLToPath(file);
  return file.startsWith('/') || /^[A-Za-z]:\\/.test(file) ? file : undefined;
}

/** A map may be made of others, as bundlers make it: https://tc39.es/ecma426/#sec-index-source-map */
type Payload = SourceMapPayload & { readonly sections?: readonly { readonly map: SourceMapPayload }[] };

/** In characters. */
const mappingsIn = ({ mappings, sections = [] }: Payload): number =>
  sections.reduce((sum, { map }) => sum + map.mappings.length, mappings?.length ?? 0);

async function read(path: string): Promise<Payload | undefined> {
  const at = mapComment.exec(await textOf(path))?.[1];
  if (at === undefined) return undefined;
  const inline = /^data:application\/json[^,]*?(;base64)?,(.*)$/s.exec(at);
  const text =
    inline === null
      ? await textOf(resolve(dirname(path), decodeURIComponent(at)))
      : inline[1] === undefined
        ? decodeURIComponent(inline[2] as string)
        : Buffer.from(inline[2] as string, 'base64').toString('utf8');
  // The author's text is not needed, and Node would keep it.
  return { ...JSON.parse(text), sourcesContent: [] };
}

async function textOf(path: string): Promise<string> {
  const { size } = await stat(path);
  if (size > MAX_FILE_BYTES) throw new RangeError(`${path} is too large`);
  return await readFile(path, 'utf8');
}
