import { readFileSync, statSync } from 'node:fs';
import { extname } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  type Document,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type Range,
  type YAMLMap,
} from 'yaml';
import { preview, toError } from '../errors.ts';
import { describeThrown, nearestFile } from './files.ts';
import { type ConfigNode, type Entry, isPlainObject } from './node.ts';
import type { Place, Problems } from './problems.ts';
import { isSecretName, SourceText, secretParts } from './source-text.ts';
import { type Environment, rereadScalar, substitute } from './substitute.ts';

const moduleExtensions = ['.ts', '.js', '.mts', '.mjs'];
const dataExtensions = ['.yaml', '.yml', '.json'];

/**
 * Reads a config file: YAML and JSON with positions, a module for its default export. What cannot be read is
 * `undefined`, and said in `problems`.
 */
export async function readSource(
  file: string,
  env: Environment,
  problems: Problems,
): Promise<ConfigNode | undefined> {
  const source = openSource(file, problems);
  if (source === undefined) return undefined;
  const reader = new Reader(source, env, problems);
  const extension = extname(file);
  if (moduleExtensions.includes(extension)) return await readModule(source, reader, problems);
  if (dataExtensions.includes(extension)) return readDocument(source, reader, problems);
  const known = [...dataExtensions, ...moduleExtensions].join(', ');
  problems.add({ place: { source }, path: [], rule: `must be a file of one of the forms ${known}` });
  return undefined;
}

function openSource(file: string, problems: Problems): SourceText | undefined {
  try {
    return new SourceText(file, readFileSync(file, 'utf8'));
  } catch (thrown) {
    const { code, message } = toError(thrown) as NodeJS.ErrnoException;
    const rule =
      code === 'ENOENT'
        ? 'the file does not exist'
        : code === 'EISDIR'
          ? 'is a directory, not a file'
          : `cannot be read: ${message}`;
    const suggestion = code === 'ENOENT' ? nearestFile(file) : undefined;
    problems.add({ place: { source: new SourceText(file, '') }, path: [], rule, suggestion });
    return undefined;
  }
}

async function readModule(
  source: SourceText,
  reader: Reader,
  problems: Problems,
): Promise<ConfigNode | undefined> {
  // A changed file is another module, so that a reload reads it anew.
  const url = `${pathToFileURL(source.file).href}?changed=${statSync(source.file).mtimeMs}`;
  try {
    const module: { default?: unknown } = await import(url);
    const value: unknown = typeof module.default === 'function' ? await module.default() : module.default;
    if (value !== undefined) return reader.fromValue(value, [], false);
    problems.add({
      place: { source },
      path: [],
      rule: 'has no default export: it must be the config, or a function that gives it',
    });
  } catch (thrown) {
    const { message, line, column } = describeThrown(thrown, source.file);
    problems.add({ place: { source, line, column }, path: [], rule: `could not be loaded: ${message}` });
  }
  return undefined;
}

function readDocument(source: SourceText, reader: Reader, problems: Problems): ConfigNode | undefined {
  const lineCounter = new LineCounter();
  const document = parseDocument(source.text, { lineCounter, prettyErrors: false, uniqueKeys: false });
  const place = (offset: number): Place => {
    const { line, col } = lineCounter.linePos(offset);
    return { source, line, column: col };
  };
  for (const { message, pos } of [...document.errors, ...document.warnings]) {
    problems.add({ place: place(pos[0]), path: [], rule: `syntax: ${message}` });
  }
  if (document.errors.length > 0) return undefined;
  if (document.contents === null) {
    problems.add({ place: { source }, path: [], rule: 'is empty: it must name at least one service' });
    return undefined;
  }
  return reader.fromYaml(document, document.contents, place);
}

/** Makes nodes out of what was parsed, with the environment put in and secrets masked. */
class Reader {
  readonly #source: SourceText;
  readonly #env: Environment;
  readonly #problems: Problems;
  readonly #aliases = new Set<Node>();

  constructor(source: SourceText, env: Environment, problems: Problems) {
    this.#source = source;
    this.#env = env;
    this.#problems = problems;
  }

  /** A value that a module gives; it has no positions. */
  fromValue(value: unknown, path: readonly string[], secret: boolean): ConfigNode {
    const place = { source: this.#source };
    if (Array.isArray(value)) {
      const items = value.map((item, index) => this.fromValue(item, [...path, String(index)], secret));
      return { kind: 'list', place, items };
    }
    if (isPlainObject(value)) {
      const entries = Object.entries(value)
        .filter(([, item]) => item !== undefined)
        .map(([key, item]): [string, Entry] => [
          key,
          { place, node: this.fromValue(item, [...path, key], isSecretName(key)) },
        ]);
      return { kind: 'map', place, entries: new Map(entries) };
    }
    return this.#scalar(value, place, path, secret);
  }

  fromYaml(
    document: Document,
    node: Node | null,
    at: (offset: number) => Place,
    path: readonly string[] = [],
    secret = false,
    key?: Place,
  ): ConfigNode {
    // A map or list is what its key names; a scalar stands for itself.
    const own = node?.range ? at(node.range[0]) : undefined;
    const place = (isScalar(node) || isAlias(node) ? (own ?? key) : (key ?? own)) ?? { source: this.#source };
    if (isAlias(node)) {
      const target = node.resolve(document);
      if (target === undefined || this.#aliases.has(target)) {
        const rule = target === undefined ? 'has no anchor above it' : 'contains itself';
        this.#problems.add({ place, path, rule: `the alias *${node.source} ${rule}` });
        return { kind: 'scalar', place, value: null, shown: 'null' };
      }
      this.#aliases.add(target);
      const resolved = this.fromYaml(document, target, at, path, secret, place);
      this.#aliases.delete(target);
      return resolved;
    }
    if (isMap(node)) {
      return { kind: 'map', place, entries: this.#entries(document, node, at, path) };
    }
    if (isSeq(node)) {
      const items = node.items.map((item, index) =>
        this.fromYaml(document, item as Node, at, [...path, String(index)], secret),
      );
      return { kind: 'list', place, items };
    }
    if (isScalar(node) && node.range) this.#mask(node.range, secret);
    return this.#scalar(isScalar(node) ? node.value : null, place, path, secret);
  }

  #entries(
    document: Document,
    map: YAMLMap,
    at: (offset: number) => Place,
    path: readonly string[],
  ): Map<string, Entry> {
    const entries = new Map<string, Entry>();
    const merged: [string, Entry][] = [];
    for (const pair of map.items) {
      if (!isPair(pair)) continue;
      const keyNode = pair.key as Node;
      const place = at(keyNode.range?.[0] ?? 0);
      if (!isScalar(keyNode)) {
        this.#problems.add({ place, path, rule: 'has a key that is no name' });
        continue;
      }
      const key = String(keyNode.value);
      const inner = [...path, key];
      const node = this.fromYaml(
        document,
        pair.value as Node | null,
        at,
        key === '<<' ? path : inner,
        isSecretName(key),
        place,
      );
      if (key === '<<') {
        for (const part of node.kind === 'list' ? node.items : [node]) {
          if (part.kind === 'map') merged.push(...part.entries);
          else this.#problems.add({ place, path: inner, rule: 'must be a map, or a list of maps' });
        }
        continue;
      }
      const first = entries.get(key);
      if (first !== undefined) {
        this.#problems.add({ place, path: inner, rule: `is there twice: first in line ${first.place.line}` });
      } else {
        entries.set(key, { place, node });
      }
    }
    for (const [key, entry] of merged) if (!entries.has(key)) entries.set(key, entry);
    return entries;
  }

  #mask([start, end]: Range, secret: boolean): void {
    if (secret) this.#source.mask(start, end);
    for (const [from, to] of secretParts(this.#source.text.slice(start, end))) {
      this.#source.mask(start + from, start + to);
    }
  }

  #scalar(value: unknown, place: Place, path: readonly string[], secret: boolean): ConfigNode {
    if (typeof value !== 'string') {
      return { kind: 'scalar', place, value, shown: secret ? '(a secret)' : preview(value) };
    }
    const { value: text, changed, whole, used, problems } = substitute(value, this.#env);
    for (const rule of problems) this.#problems.add({ place, path, rule });
    this.#source.conceal(secret ? [...used, text] : used);
    // What comes from the environment may be a secret: only where it came from is shown.
    const shown =
      secret || secretParts(value).length > 0
        ? '(a secret)'
        : `${preview(value)}${changed ? ' (from the environment)' : ''}`;
    const reread = whole ? rereadScalar(text) : undefined;
    return { kind: 'scalar', place, value: text, shown, ...(reread === undefined ? {} : { reread }) };
  }
}
