import { setImmediate } from 'node:timers/promises';
import type { Frame, MemoryRow } from '../reports.ts';
import type { CallSite, CallSites, Line, Places } from './call-sites.ts';
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
export type Holdings = ReadonlyMap<string, Entry>;

/** An entry, and by how much it has grown. */
type Growth = Entry & Pick<MemoryRow, 'objectsDiff' | 'bytesDiff'>;

/** Entries whose lines are looked up for a report, the largest first: the others are too small to be seen in it. */
const MAX_LOOKED_UP = 60;

/** How many stacks are looked at in one turn of the event loop. */
const ENTRIES_PER_TURN = 100;

/** Above it, what one object takes tells that it is what a container keeps its entries in. */
const LARGE_OBJECT_BYTES = 1_024;

/**
 * Keeps account of who holds how much: in the heap as it was sampled, and outside by an estimate. What buffers take
 * there is known of the process only; each change of it is shared among the places whose number of buffers has
 * changed in that direction, by how much it has.
 */
export class Ledger {
  readonly #sites: CallSites;
  readonly #groupBy: GroupBy;
  readonly #ids = new WeakMap<Frame, number>();
  #nextId = 0;
  /**
   * How much was held for certain by the lines of the functions, at the most: once V8 has inlined a function, nothing
   * can be told of it for certain.
   */
  readonly #certain = new Map<string, number>();
  #last: Holdings = new Map();
  #arrayBuffersBytes: number;

  /** `arrayBuffersBytes` are held already; nobody knows by whom. */
  constructor(sites: CallSites, groupBy: GroupBy, arrayBuffersBytes: number) {
    this.#sites = sites;
    this.#groupBy = groupBy;
    this.#arrayBuffersBytes = arrayBuffersBytes;
  }

  /** Takes in the next capture. */
  async add(capture: Capture): Promise<Holdings> {
    const entries = new Map<string, Entry>();
    for (const [index, allocations] of capture.allocations.entries()) {
      if (index % ENTRIES_PER_TURN === ENTRIES_PER_TURN - 1) await setImmediate();
      await this.#enter(allocations, entries);
    }
    const grown = capture.memory.arrayBuffers - this.#arrayBuffersBytes;
    this.#shareOut(entries, grown);
    this.#arrayBuffersBytes = capture.memory.arrayBuffers;
    this.#last = entries;
    return entries;
  }

  /** The `top` rows that have grown most since `baseline`. */
  async rows(holdings: Holdings, baseline: Holdings, top: number): Promise<MemoryRow[]> {
    const growths: Growth[] = [];
    for (const [key, entry] of holdings) {
      const before = baseline.get(key);
      growths.push({
        ...entry,
        objectsDiff: entry.objects - (before?.objects ?? 0),
        bytesDiff: bytesOf(entry) - (before === undefined ? 0 : bytesOf(before)),
      });
    }
    growths.sort(largestGrowthFirst);
    const looked = growths.slice(0, Math.max(MAX_LOOKED_UP, top));
    const rows = await (this.#groupBy === 'line' ? this.#byLine(looked) : this.#asTheyAre(looked));
    this.#sites.forgetTexts();
    return rows.sort(largestGrowthFirst).slice(0, top);
  }

  async #enter({ stack, bySize, buffers }: Allocations, entries: Map<string, Entry>): Promise<void> {
    const site = await this.#sites.of(stack);
    let ofBuffers: Entry | undefined;
    for (const { sizeBytes, count } of bySize) {
      const [key, origin] = await this.#place(stack, site, sizeBytes);
      let entry = entries.get(key);
      if (entry === undefined) {
        entry = { origin, objects: 0, heapBytes: 0, buffers: 0, externalBytes: 0 };
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

  #shareOut(entries: ReadonlyMap<string, Entry>, grownBytes: number): void {
    const shares = new Map<Entry, number>();
    let sum = 0;
    for (const [key, entry] of entries) {
      const before = this.#last.get(key);
      entry.externalBytes = before?.externalBytes ?? 0;
      const share = (entry.buffers - (before?.buffers ?? 0)) * Math.sign(grownBytes);
      if (share <= 0) continue;
      shares.set(entry, share);
      sum += share;
    }
    for (const [entry, share] of shares) {
      entry.externalBytes = Math.max(0, entry.externalBytes + (grownBytes * share) / sum);
    }
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
      const { own, found } = await this.#sites.places(at.frame, hint);
      const line = found ? only(own) : undefined;
      frames.push(line ?? (await this.#sites.functionAt(at.frame)));
      if (callee === undefined) exact = line !== undefined;
      callee = at.frame;
    }
    return rowOf(growth, frames, exact);
  }

  /**
   * What can only have been made in one line is put there: that is certain. What can have been made in several goes to
   * the one of them that holds most for certain; without one, to the only one that hands it to a call, or to the only
   * one in the function itself, or to its beginning.
   */
  async #byLine(growths: readonly Growth[]): Promise<MemoryRow[]> {
    const certain = this.#certain;
    const looked: { growth: Growth; frame: Frame; places: Places; exact: boolean }[] = [];
    for (const growth of growths) {
      if (growth.origin.kind !== 'line') continue;
      const { frame, hint } = growth.origin;
      const places = await this.#sites.places(frame, hint);
      const line = only([...places.own, ...places.inlined]);
      const exact = places.found && line !== undefined;
      looked.push({ growth, frame, places, exact });
      if (exact) certain.set(placeOf(line), Math.max(certain.get(placeOf(line)) ?? 0, bytesOf(growth)));
    }
    const rows = new Map<string, MemoryRow>();
    for (const { growth, frame, places, exact } of looked) {
      const place = likeliest(places, certain) ?? (await this.#sites.functionAt(frame));
      const row = rowOf(growth, [place], exact);
      const other = rows.get(placeOf(place));
      rows.set(placeOf(place), other === undefined ? row : sumOf(other, row));
    }
    return [...rows.values()];
  }
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
