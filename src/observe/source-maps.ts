import { access, readFile, stat } from 'node:fs/promises';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Pace } from './pace.ts';
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
  readonly #pace: Pace;
  #mappings = 0;

  constructor(pace = new Pace()) {
    this.#pace = pace;
  }

  async original(frame: Frame): Promise<Frame> {
    const path = pathOf(frame.file);
    if (path === undefined) return frame;
    const map = await this.#mapOf(path);
    if (map === undefined || frame.line === 0) return { ...frame, file: path };
    const entry = map.findEntry(frame.line - 1, Math.max(0, frame.column - 1));
    // Of the generated code itself the source is null, whatever the types say.
    if (!('originalSource' in entry) || !entry.originalSource) return { ...frame, file: path };
    return {
      name: frame.name,
      file: entry.originalSource,
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
    const stored = await this.#read(path);
    if (stored === undefined) return undefined;
    // It is parsed in one piece.
    await this.#pace.giveWay();
    const payload = parse(stored);
    const mappings = mappingsIn(payload);
    // None is dropped for another: those in use would take turns, and be parsed each time.
    if (this.#mappings + mappings > MAX_MAPPINGS) return undefined;
    this.#mappings += mappings;
    return new SourceMap(payload);
  }

  async #read(script: string): Promise<Stored | undefined> {
    const at = mapComment.exec(await this.#pace.away(textOf(script)))?.[1];
    if (at === undefined) return undefined;
    const inline = /^data:application\/json[^,]*?(;base64)?,(.*)$/s.exec(at);
    const path = inline === null ? resolve(dirname(script), decodeURIComponent(at)) : script;
    const packageRoot = await this.#pace.away(packageAbove(path));
    if (inline === null) return { text: await this.#pace.away(textOf(path)), path, packageRoot };
    const data = inline[2] as string;
    const isBase64 = inline[1] !== undefined;
    const text = isBase64 ? Buffer.from(data, 'base64').toString('utf8') : decodeURIComponent(data);
    return { text, path, packageRoot };
  }

  #forget(): void {
    this.#maps.clear();
    this.#mappings = 0;
  }
}

/** `undefined` for what is no file of this machine: `node:internal/…`, `evalmachine.<anonymous>`, `file://host/…`. */
export function pathOf(file: string): string | undefined {
  if (!file.startsWith('file:')) return isAbsolute(file) ? file : undefined;
  try {
    return fileURLToPath(file);
  } catch {
    return undefined;
  }
}

/** A map may be made of others, as bundlers make it: https://tc39.es/ecma426/#sec-index-source-map */
type Payload = SourceMapPayload & { readonly sections?: readonly { readonly map: SourceMapPayload }[] };

/** In characters. */
const mappingsIn = ({ mappings, sections = [] }: Payload): number =>
  sections.reduce((sum, { map }) => sum + map.mappings.length, mappings?.length ?? 0);

/** A map as it is stored. */
interface Stored {
  readonly text: string;
  /** The file that it is in. */
  readonly path: string;
  /** The folder of the nearest package.json above; `undefined`: none. */
  readonly packageRoot: string | undefined;
}

async function packageAbove(path: string): Promise<string | undefined> {
  const folder = dirname(path);
  if (folder === path) return undefined;
  const found = await access(join(folder, 'package.json')).then(
    () => true,
    () => false,
  );
  return found ? folder : await packageAbove(folder);
}

function parse(stored: Stored): Payload {
  const payload: Payload = JSON.parse(stored.text);
  const placed = (map: SourceMapPayload): SourceMapPayload => ({
    ...map,
    sources: map.sources?.map((source) => source && placeOf(source, map.sourceRoot, stored)),
    // The author's text is not needed, and Node would keep it.
    sourcesContent: [],
  });
  const { sections } = payload;
  if (sections === undefined) return placed(payload);
  return { ...payload, sections: sections.map((section) => ({ ...section, map: placed(section.map) })) };
}

/**
 * The path of a source: it is relative to its map (https://tc39.es/ecma426/#sec-source-map-format), and webpack's are to
 * the package. What is not in a file keeps its URL.
 */
function placeOf(source: string, root: string | undefined, { path, packageRoot }: Stored): string {
  const prefixed = root ? `${root.replace(/\/$/, '')}/${source}` : source;
  if (isAbsolute(prefixed)) return prefixed;
  const url = URL.parse(prefixed, pathToFileURL(path).href);
  if (url === null) return prefixed;
  if (url.protocol !== 'webpack:') return pathOf(url.href) ?? prefixed;
  return packageRoot === undefined ? prefixed : join(packageRoot, decoded(url.pathname));
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function textOf(path: string): Promise<string> {
  const { size } = await stat(path);
  if (size > MAX_FILE_BYTES) throw new RangeError(`${path} is too large`);
  return await readFile(path, 'utf8');
}
