import type { Pace } from '../pace.ts';
import type { Frame, MemoryRow } from '../reports.ts';
import type { CallSite, CallSites, Line, Places } from './call-sites.ts';
import { shareOut } from './external-memory.ts';
import type { Allocations, Capture, Stack } from './heap-sampler.ts';
import type { AllocationHint } from './source-lines.ts';

/** What the rows of a report stand for. */
export type GroupBy = 'line' | 'file' | 'stack';

/** Allocations that are counted together. */
interface Entry {
  readonly origin: Origin;
  objects: number;
  heapBytes: number;
  buffers: number;
  externalBytes: number;
}

/** Where the allocations of an entry were made, as far as that is known without a look at the sources. */
type Origin =
  | { readonly kind: 'line'; readonly frame: Frame; readonly hint: AllocationHint }
  | { readonly kind: 'file'; readonly frame: Frame }
  | { readonly kind: 'stack'; readonly stack: Stack };

/** What was held at one moment. */
export interface Holdings {
  readonly entries: ReadonlyMap<string, Entry>;
  /** Outside the heap, in buffers made since the beginning; nobody knows by whom. */
  readonly unattributedBytes: number;
}

/** An entry, and by how much it has grown. */
type Growth = Entry & Pick<MemoryRow, 'objectsDiff' | 'bytesDiff'> & { readonly key: string };

/** Functions whose lines are looked up for a report, the largest first: the others are too small to be seen in it. */
const MAX_LOOKED_UP = 60;

const nothing: Holdings = { entries: new Map(), unattributedBytes: 0 };

/** Above it, what one object takes tells that it is what a container keeps its entries in. */
const LARGE_OBJECT_BYTES = 1_024;

/**
 * Keeps account of who holds how much: in the heap as it was sampled, and outside by an estimate. What buffers take
 * there is known of the process only, and is shared among the places by how many buffers they hold.
 */
export class Ledger {
  readonly #sites: CallSites;
  readonly #groupBy: GroupBy;
  readonly #pace: Pace;
  readonly #ids = new WeakMap<Frame, number>();
  #nextId = 0;
  /**
   * The lines of entries that were made there for certain: once V8 has inlined a function, nothing can be told of it
   * for certain.
   */
  readonly #certain = new Map<string, string>();
  #last = nothing;
  /** What buffers of unknown places take that were there before. */
  #othersBytes: number;

  /** `arrayBuffersBytes` are held already; nobody knows by whom. */
  constructor(sites: CallSites, groupBy: GroupBy, arrayBuffersBytes: number, pace: Pace) {
    this.#sites = sites;
    this.#groupBy = groupBy;
    this.#othersBytes = arrayBuffersBytes;
    this.#pace = pace;
  }

  /** Takes in the next capture. */
  async add({ allocations, memory }: Capture): Promise<Holdings> {
    const entries = new Map<string, Entry>();
    for (const one of allocations) {
      if (this.#pace.isDue) await this.#pace.giveWay();
      await this.#enter(one, entries);
    }
    this.#othersBytes = Math.min(this.#othersBytes, memory.arrayBuffers);
    const bytes = memory.arrayBuffers - this.#othersBytes;
    const unattributedBytes = shareOut(entries, this.#last.entries, bytes);
    this.#last = { entries, unattributedBytes };
    return this.#last;
  }

  /** The `top` rows that have grown most since `baseline`; without one, since the beginning. */
  async rows(holdings: Holdings, baseline: Holdings | undefined, top: number): Promise<MemoryRow[]> {
    const growths = await this.#growths(holdings, baseline ?? nothing);
    const looked = largest(growths, Math.max(MAX_LOOKED_UP, top));
    const rows = await (this.#groupBy === 'line' ? this.#byLine(looked, holdings) : this.#asTheyAre(looked));
    this.#sites.forgetTexts();
    return rows.sort(largestGrowthFirst).slice(0, top);
  }

  /** Of all that is held, or was. */
  async #growths({ entries }: Holdings, { entries: before }: Holdings): Promise<Growth[]> {
    const growths: Growth[] = [];
    for (const key of new Set([...entries.keys(), ...before.keys()])) {
      if (this.#pace.isDue) await this.#pace.giveWay();
      const [now, then] = [entries.get(key), before.get(key)];
      const { origin } = (now ?? then) as Entry;
      const [a, b] = [now ?? none(origin), then ?? none(origin)];
      const [objectsDiff, bytesDiff] = [a.objects - b.objects, bytesOf(a) - bytesOf(b)];
      growths.push({ ...a, key, objectsDiff, bytesDiff });
    }
    return growths;
  }

  async #enter({ stack, bySize, buffers }: Allocations, entries: Map<string, Entry>): Promise<void> {
    const site = await this.#sites.of(stack);
    let ofBuffers: Entry | undefined;
    for (const { sizeBytes, count } of bySize) {
      const [key, origin] = await this.#place(stack, site, sizeBytes);
      let entry = entries.get(key);
      if (entry === undefined) {
        entry = none(origin);
        entries.set(key, entry);
      }
      entry.objects += count;
      entry.heapBytes += count * sizeBytes;
      // On the heap buffers are small objects.
      if (ofBuffers === undefined || sizeBytes <= LARGE_OBJECT_BYTES) ofBuffers = entry;
    }
    if (ofBuffers !== undefined) ofBuffers.buffers += buffers;
  }

  async #place(stack: Stack, { frame, callee }: CallSite, sizeBytes: number): Promise<[string, Origin]> {
    if (this.#groupBy === 'stack') return [this.#stackKey(stack), { kind: 'stack', stack }];
    if (this.#groupBy === 'file') {
      const written = await this.#sites.functionAt(frame);
      return [written.file, { kind: 'file', frame: { name: '', file: written.file, line: 0, column: 0 } }];
    }
    const kind = sizeBytes > LARGE_OBJECT_BYTES ? 'large' : 'small';
    const hint = callee === undefined ? ({ kind } as const) : { callee: callee.name };
    const key = `${this.#id(frame)} ${callee === undefined ? kind : `"${callee.name}`}`;
    return [key, { kind: 'line', frame, hint }];
  }

  #stackKey(stack: Stack): string {
    let key = '';
    for (let at: Stack | undefined = stack; at !== undefined; at = at.caller) key += `${this.#id(at.frame)} `;
    return key;
  }

  #id(frame: Frame): number {
    let id = this.#ids.get(frame);
    if (id === undefined) {
      id = this.#nextId++;
      this.#ids.set(frame, id);
    }
    return id;
  }

  async #asTheyAre(growths: readonly Growth[]): Promise<MemoryRow[]> {
    const rows: MemoryRow[] = [];
    for (const growth of growths) {
      const { origin } = growth;
      if (origin.kind === 'stack') rows.push(await this.#byStack(growth, origin.stack));
      else rows.push(rowOf(growth, [origin.frame], true));
    }
    return rows;
  }

  async #byStack(growth: Growth, stack: Stack): Promise<MemoryRow> {
    const frames: Frame[] = [];
    let exact = false;
    let callee: Frame | undefined;
    for (let at: Stack | undefined = stack; at !== undefined; at = at.caller) {
      const hint = callee === undefined ? ({ kind: 'small' } as const) : { callee: callee.name };
      const { own, found, sure } = await this.#sites.places(at.frame, hint);
      const line = found ? only(own) : undefined;
      frames.push(line ?? (await this.#sites.functionAt(at.frame)));
      if (callee === undefined) exact = line !== undefined && line === sure;
      callee = at.frame;
    }
    return rowOf(growth, frames, exact);
  }

  /**
   * What can only have been made in one line is put there: that is certain. What can have been made in several goes to
   * the one of them that holds most for certain; without one, to the only one that hands it to a call, or to the only
   * one in the function itself, or to its beginning.
   */
  async #byLine(growths: readonly Growth[], holdings: Holdings): Promise<MemoryRow[]> {
    const looked: { growth: Growth; frame: Frame; places: Places }[] = [];
    for (const growth of growths) {
      if (growth.origin.kind !== 'line') continue;
      const { frame, hint } = growth.origin;
      const places = await this.#sites.places(frame, hint);
      looked.push({ growth, frame, places });
      if (places.sure === undefined) this.#certain.delete(growth.key);
      else this.#certain.set(growth.key, placeOf(places.sure));
    }
    const certain = this.#heldForCertain(holdings);
    const rows = new Map<string, MemoryRow>();
    for (const { growth, frame, places } of looked) {
      const place = likeliest(places, certain) ?? (await this.#sites.functionAt(frame));
      const row = rowOf(growth, [place], places.sure !== undefined);
      const other = rows.get(placeOf(place));
      rows.set(placeOf(place), other === undefined ? row : sumOf(other, row));
    }
    return [...rows.values()];
  }

  /** In bytes, by line. Lines that hold nothing any more are forgotten. */
  #heldForCertain({ entries }: Holdings): ReadonlyMap<string, number> {
    const held = new Map<string, number>();
    for (const [key, place] of this.#certain) {
      const entry = entries.get(key);
      if (entry === undefined) this.#certain.delete(key);
      else held.set(place, (held.get(place) ?? 0) + bytesOf(entry));
    }
    return held;
  }
}

const none = (origin: Origin): Entry => ({ origin, objects: 0, heapBytes: 0, buffers: 0, externalBytes: 0 });

/** Those of the functions that have grown most: an entry may have grown only because another has shrunk. */
function largest(growths: readonly Growth[], functions: number): Growth[] {
  const byFunction = Map.groupBy(growths, ({ origin }) => (origin.kind === 'line' ? origin.frame : origin));
  const sums = [...byFunction.values()].map((all) => ({
    all,
    bytesDiff: all.reduce((sum, { bytesDiff }) => sum + bytesDiff, 0),
  }));
  const chosen = sums.sort(largestGrowthFirst).slice(0, functions);
  return chosen.flatMap(({ all }) => all).sort(largestGrowthFirst);
}

function likeliest(places: Places, certain: ReadonlyMap<string, number>): Frame | undefined {
  const lines = [...places.own, ...places.inlined];
  let best: Frame | undefined;
  let most = 0;
  for (const { frame } of lines) {
    const held = certain.get(placeOf(frame)) ?? 0;
    if (held > most) [best, most] = [frame, held];
  }
  return best ?? only(lines.filter(({ isArgument }) => isArgument)) ?? only(places.own);
}

const only = (lines: readonly Line[]) => (lines.length === 1 ? lines[0]?.frame : undefined);

const placeOf = ({ file, line, name }: Frame) => `${file}:${line}:${name}`;

const bytesOf = (entry: Entry) => entry.heapBytes + entry.externalBytes;

type Difference = Pick<MemoryRow, 'bytesDiff'>;

const largestGrowthFirst = (a: Difference, b: Difference) => b.bytesDiff - a.bytesDiff;

function rowOf(growth: Growth, stack: readonly Frame[], exact: boolean): MemoryRow {
  const { objects, objectsDiff, externalBytes } = growth;
  const [bytes, bytesDiff] = [Math.round(bytesOf(growth)), Math.round(growth.bytesDiff)];
  return withExternal({ objects, objectsDiff, bytes, bytesDiff, stack, exact }, Math.round(externalBytes));
}

/** The first one has grown most: it says whether the line is certain. */
function sumOf(a: MemoryRow, b: MemoryRow): MemoryRow {
  return withExternal(
    {
      objects: a.objects + b.objects,
      objectsDiff: a.objectsDiff + b.objectsDiff,
      bytes: a.bytes + b.bytes,
      bytesDiff: a.bytesDiff + b.bytesDiff,
      stack: a.stack,
      exact: a.exact,
    },
    (a.externalBytes ?? 0) + (b.externalBytes ?? 0),
  );
}

const withExternal = (row: MemoryRow, externalBytes: number): MemoryRow =>
  externalBytes > 0 ? { ...row, externalBytes } : row;
