import { fileURLToPath } from 'node:url';
import type { Pace } from '../pace.ts';
import type { Frame } from '../reports.ts';
import type { SourceMaps } from '../source-maps.ts';
import type { Stack } from './heap-sampler.ts';
import { type AllocationHint, type AllocationPlace, allocationPlaces, madeAt } from './source-lines.ts';
import { SourceTexts } from './source-texts.ts';

/** Whose code a function is: the lower, the rather a call site. */
const origins = { user: 0, library: 1, bosun: 2, internal: 3 } as const;

/** What is known of a function. */
interface Known {
  readonly origin: number;
  /** Its beginning, as its author wrote it. */
  readonly frame: Frame;
  /** Functions that it has been seen to call, which V8 may inline: then what they allocate shows as its own. */
  readonly callees: Set<Frame>;
}

/** A line that can have made an allocation. */
export interface Line {
  /** As the author wrote it. */
  readonly frame: Frame;
  /** Whether what it makes is handed to a call, which may keep it. */
  readonly isArgument: boolean;
}

/** Where in a function an allocation can have been made. */
export interface Places {
  /** In its own text. */
  readonly own: readonly Line[];
  /** In what it calls. */
  readonly inlined: readonly Line[];
  /** Whether it was there; otherwise nothing in it is of that kind, and it can have been in any of these lines. */
  readonly found: boolean;
  /** The line, if nothing in any other one can have made it. */
  readonly sure: Frame | undefined;
}

type Lines = Pick<Places, 'own' | 'inlined'>;

/** The function that an allocation is put down to, and what is known of where in it that was. */
export interface CallSite {
  /** As V8 has it. */
  readonly frame: Frame;
  /** The function that it called, if it did not allocate itself. */
  readonly callee: Frame | undefined;
}

interface Place extends AllocationPlace {
  /** As its author wrote it. */
  readonly written: Frame;
}

const ownRoot = new URL('../../', import.meta.url).href;
const ownPath = fileURLToPath(ownRoot);

/** Functions whose places are kept. */
const MAX_FUNCTIONS = 2_000;

/** How deep calls are followed that may have been inlined. */
const MAX_INLINED_DEPTH = 3;

/**
 * Finds the line that an allocation was made in. V8 tells the function only: within it, the line is the one that can
 * have made it, by the name of what it called, or by the kind of object.
 */
export class CallSites {
  readonly #maps: SourceMaps;
  readonly #known = new WeakMap<Frame, Known>();
  readonly #places = new Map<Frame, readonly Place[]>();
  readonly #texts: SourceTexts;
  readonly #pace: Pace;

  constructor(maps: SourceMaps, pace: Pace) {
    this.#maps = maps;
    this.#texts = new SourceTexts(pace);
    this.#pace = pace;
  }

  /** The innermost function of the user; without one, of a library, of Bosun, of Node. */
  async of(stack: Stack): Promise<CallSite> {
    let best: CallSite = { frame: stack.frame, callee: undefined };
    let bestOrigin: number = Number.POSITIVE_INFINITY;
    let callee: Frame | undefined;
    let userCallee: Frame | undefined;
    for (let at: Stack | undefined = stack; at !== undefined; at = at.caller) {
      const { frame } = at;
      const { origin, callees } = this.#known.get(frame) ?? (await this.#learn(frame));
      if (origin < bestOrigin) {
        best = { frame, callee };
        bestOrigin = origin;
      }
      if (origin === origins.user) {
        if (userCallee !== undefined && userCallee !== frame) callees.add(userCallee);
        userCallee = frame;
      }
      callee = frame;
    }
    return best;
  }

  /** The beginning of a function, as its author wrote it. */
  async functionAt(frame: Frame): Promise<Frame> {
    return (this.#known.get(frame) ?? (await this.#learn(frame))).frame;
  }

  /** The lines that an allocation in a function can have been made in. */
  async places(frame: Frame, hint: AllocationHint): Promise<Places> {
    const [likely, possible] = [await this.#made(frame, hint), await this.#possible(frame, hint)];
    const { own, inlined } = likely.own.length + likely.inlined.length > 0 ? likely : possible;
    if (own.length + inlined.length > 0) {
      const all = [...own, ...inlined, ...possible.own, ...possible.inlined];
      return { own, inlined, found: true, sure: soleLine(all) };
    }
    const other =
      'callee' in hint
        ? await this.places(frame, { kind: 'small' })
        : await this.#made(frame, { kind: 'call' });
    return { ...other, found: false, sure: undefined };
  }

  /** What is made by what nobody would suspect is small: a number, a string, a promise. */
  async #possible(frame: Frame, hint: AllocationHint): Promise<Lines> {
    return 'kind' in hint && hint.kind === 'small'
      ? await this.#made(frame, { kind: 'maybe' })
      : { own: [], inlined: [] };
  }

  async #made(frame: Frame, hint: AllocationHint): Promise<Lines> {
    const own = await this.#lines(frame, hint);
    // What it called for it is of one name.
    const inlined = 'callee' in hint && own.length > 0 ? [] : await this.#inlinedLines(frame, hint);
    return { own, inlined };
  }

  async #inlinedLines(frame: Frame, hint: AllocationHint): Promise<Line[]> {
    const lines: Line[] = [];
    const seen = new Set([frame]);
    let level = [frame];
    for (let depth = 0; depth < MAX_INLINED_DEPTH && level.length > 0; depth++) {
      level = level.flatMap((at) => [...(this.#known.get(at)?.callees ?? [])].filter((it) => !seen.has(it)));
      for (const callee of level) {
        seen.add(callee);
        lines.push(...(await this.#lines(callee, hint)));
      }
    }
    return lines;
  }

  async #lines(frame: Frame, hint: AllocationHint): Promise<Line[]> {
    let places = this.#places.get(frame);
    if (places === undefined) {
      places = await this.#find(frame);
      if (this.#places.size >= MAX_FUNCTIONS) this.#places.clear();
      this.#places.set(frame, places);
    }
    const byLine = new Map<number, Line>();
    for (const { written, isArgument } of madeAt(places, hint)) {
      const known = byLine.get(written.line);
      byLine.set(written.line, {
        frame: known?.frame ?? written,
        isArgument: isArgument || known?.isArgument === true,
      });
    }
    return [...byLine.values()];
  }

  /** Files are read again when they are needed again. */
  forgetTexts(): void {
    this.#texts.forget();
  }

  async #find(frame: Frame): Promise<Place[]> {
    if (frame.line === 0 || originOf(frame.file) === origins.internal) return [];
    const text = await this.#texts.of(frame.file);
    if (text === undefined) return [];
    if (this.#pace.isDue) await this.#pace.giveWay();
    const places: Place[] = [];
    for (const place of allocationPlaces(text, frame)) {
      if (this.#pace.isDue) await this.#pace.giveWay();
      const written = await this.#maps.original({ ...frame, line: place.line, column: place.column });
      places.push({ ...place, written });
    }
    return places;
  }

  async #learn(frame: Frame): Promise<Known> {
    if (this.#pace.isDue) await this.#pace.giveWay();
    const written = await this.#maps.original(frame);
    const origin = originOf(frame.file);
    const known = {
      origin: origin === origins.user ? originOf(written.file) : origin,
      frame: written,
      callees: new Set<Frame>(),
    };
    this.#known.set(frame, known);
    return known;
  }
}

function soleLine([first, ...others]: readonly Line[]): Frame | undefined {
  const same = ({ frame: { file, line } }: Line) => file === first?.frame.file && line === first.frame.line;
  return others.every(same) ? first?.frame : undefined;
}

function originOf(file: string): number {
  if (file === '' || file.startsWith('node:') || file.startsWith('wasm:')) return origins.internal;
  if (/[\\/]node_modules[\\/]/.test(file)) return origins.library;
  return file.startsWith(ownRoot) || file.startsWith(ownPath) ? origins.bosun : origins.user;
}
