import { readFile } from 'node:fs/promises';
import { SourceMap } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Frame } from './reports.ts';

/** The comment's last occurrence counts: others may stand in strings. */
const mapComment = /\/\/[#@] sourceMappingURL=([^\s'"`]+)\s*$/;

/** Files whose maps are kept. */
const MAX_MAPS = 500;

/**
 * Finds the author's place of a frame in built code, by the source map that its file names, inline or beside it.
 * Frames without one stay as they are. Each file is read once.
 */
export class SourceMaps {
  readonly #maps = new Map<string, Promise<SourceMap | undefined>>();

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

  #mapOf(path: string): Promise<SourceMap | undefined> {
    let map = this.#maps.get(path);
    if (map === undefined) {
      if (this.#maps.size >= MAX_MAPS) this.#maps.clear();
      map = load(path).catch(() => undefined);
      this.#maps.set(path, map);
    }
    return map;
  }
}

/** `undefined` for what is no file: `node:internal/…`, `evalmachine.<anonymous>`. */
function pathOf(file: string): string | undefined {
  if (file.startsWith('file://')) return fileURLToPath(file);
  return file.startsWith('/') || /^[A-Za-z]:\\/.test(file) ? file : undefined;
}

async function load(path: string): Promise<SourceMap | undefined> {
  const at = mapComment.exec(await readFile(path, 'utf8'))?.[1];
  if (at === undefined) return undefined;
  const inline = /^data:application\/json[^,]*?(;base64)?,(.*)$/s.exec(at);
  const text =
    inline === null
      ? await readFile(resolve(dirname(path), decodeURIComponent(at)), 'utf8')
      : inline[1] === undefined
        ? decodeURIComponent(inline[2] as string)
        : Buffer.from(inline[2] as string, 'base64').toString('utf8');
  return new SourceMap(JSON.parse(text));
}
