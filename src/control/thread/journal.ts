import { basename } from 'node:path';
import type { LeakSuspicion, MemoryReport, ProfileReport, Stall } from '../../observe/reports.ts';
import type { DaemonStatus, PlainEvent } from '../protocol.ts';
import type { StreamEvents } from '../shown.ts';

const MAX_LINES = 1_000;
/** Of all lines together, in characters: one may be as long as its author likes. */
const MAX_LOG_LENGTH = 8 * 1_024 * 1_024;
const MAX_EVENTS = 200;
const MAX_SNAPSHOTS = 100;

/** What readers of the stream are told, as it is written. */
export interface JournalEntry {
  readonly kind: keyof StreamEvents;
  /** JSON. */
  readonly data: string;
}

export const entry = <Kind extends keyof StreamEvents>(
  kind: Kind,
  value: StreamEvents[Kind],
): JournalEntry => ({ kind, data: JSON.stringify(value) });

/** What the thread knows of the daemon: its state, and the last of what happened. */
export class Journal {
  status: DaemonStatus = { phase: 'starting', services: [] };
  /** Whether all services have started, once. */
  started = false;
  memory: MemoryReport | undefined;
  leak: LeakSuspicion | undefined;
  profile: ProfileReport | undefined;
  readonly #snapshots = new Map<string, string>();
  readonly #lines: string[] = [];
  #logLength = 0;
  readonly #events: StreamEvents['event'][] = [];
  readonly #stalls = new Map<number, Stall>();
  #lastStallId = 0;
  readonly #readers = new Set<(entry: JournalEntry) => void>();

  /** Calls `reader` with what comes from now on. Returns the way to end that. */
  follow(reader: (entry: JournalEntry) => void): () => void {
    const own = (what: JournalEntry) => reader(what);
    this.#readers.add(own);
    return () => void this.#readers.delete(own);
  }

  /** Lines of JSON, the oldest first. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  /** The oldest first. */
  get events(): readonly StreamEvents['event'][] {
    return this.#events;
  }

  /** The paths of the heap snapshots that were taken, by the files' names. */
  get snapshots(): ReadonlyMap<string, string> {
    return this.#snapshots;
  }

  /** The oldest first. */
  get stalls(): readonly Stall[] {
    return [...this.#stalls.values()];
  }

  setStatus(status: DaemonStatus): void {
    this.status = status;
    this.started ||= status.phase === 'ready';
  }

  addEvent(event: PlainEvent): void {
    switch (event.type) {
      case 'memory-reported':
        this.memory = event.report;
        this.#tell('memory', this.memory);
        break;
      case 'leak-suspected':
        this.leak = event.suspicion;
        this.#tell('leak', this.leak);
        break;
      case 'profile-taken':
        this.profile = event.report;
        this.#tell('profile', { at: this.profile.at });
        break;
      case 'heap-snapshot-taken':
        this.#snapshots.set(basename(event.path), event.path);
        limit(this.#snapshots, MAX_SNAPSHOTS);
        this.#tell('snapshot', event);
        break;
      // The thread has seen it itself.
      case 'loop-stalled':
        break;
      default:
        keep(this.#events, event, MAX_EVENTS);
        this.#tell('event', event);
    }
  }

  addLines(lines: readonly string[]): void {
    for (const line of lines) {
      this.#lines.push(line);
      this.#logLength += line.length;
      while (this.#lines.length > MAX_LINES || this.#logLength > MAX_LOG_LENGTH) {
        this.#logLength -= this.#lines.shift()?.length ?? 0;
      }
      for (const reader of this.#readers) reader({ kind: 'log', data: line });
    }
  }

  /** The id of a stall that begins: who looks for stalls may come and go meanwhile. */
  newStallId(): number {
    this.#lastStallId += 1;
    return this.#lastStallId;
  }

  /** Adds a stall, or says more of one that is known; at most `count` are kept. */
  setStall(stall: Stall, count: number): void {
    this.#stalls.set(stall.id, stall);
    limit(this.#stalls, count);
    this.#tell('stall', stall);
  }

  #tell<Kind extends keyof StreamEvents>(kind: Kind, value: StreamEvents[Kind]): void {
    if (this.#readers.size === 0) return;
    const what = entry(kind, value);
    for (const reader of this.#readers) reader(what);
  }
}

function keep<Item>(items: Item[], item: Item, limit: number): void {
  items.push(item);
  if (items.length > limit) items.shift();
}

/** Removes the oldest entries that are too many. */
function limit<Key>(entries: Map<Key, unknown>, count: number): void {
  for (const key of entries.keys()) {
    if (entries.size <= count) break;
    entries.delete(key);
  }
}
