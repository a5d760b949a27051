import { type Clock, systemClock, type Timer } from '../../clock.ts';
import type { Status } from '../shown.ts';
import { entry, type Journal, type JournalEntry } from './journal.ts';
import { Outbox } from './outbox.ts';
import { Refusal, type Reply } from './reply.ts';

const MAX_READERS = 32;
/** For so many statuses in a row, one a second, much may wait for a reader. */
const MAX_STATUSES_BEHIND = 5;
/** What may wait for one reader, in characters, whatever it is. */
const MAX_BEHIND = 16 * 1_024 * 1_024;
/** How much of the log one who comes is sent. */
const MAX_BACKLOG = 256 * 1024;
const STATUS_MS = 1_000;

/**
 * Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): the daemon's state every
 * second, which also is the heart-beat, and what happens in between. One that does not keep up misses lines of the
 * log; one that does not read is cut off: it comes again, and is told where things stand.
 */
export class Streams {
  readonly #journal: Journal;
  readonly #statusNow: () => Promise<Status>;
  readonly #clock: Clock;
  readonly #readers = new Set<Reader>();
  #timer: Timer | undefined;

  constructor(journal: Journal, status: () => Promise<Status>, clock: Clock = systemClock) {
    this.#journal = journal;
    this.#statusNow = status;
    this.#clock = clock;
  }

  /** @throws {Refusal} 503 `ERR_TOO_MANY_READERS` */
  async open(signal: AbortSignal): Promise<Reply> {
    if (this.#readers.size >= MAX_READERS) {
      throw new Refusal(503, 'ERR_TOO_MANY_READERS', `there are ${MAX_READERS} readers already`);
    }
    const body = new Reader();
    this.#readers.add(body);
    body.once('close', () => this.#leave(body));
    signal.addEventListener('abort', () => body.destroy());
    await this.#welcome(body);
    return {
      headers: { 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' },
      body,
    };
  }

  async #welcome(body: Reader): Promise<void> {
    const journal = this.#journal;
    const status = await this.#status();
    const behind: JournalEntry[] = [
      status,
      ...journal.events.map((event) => entry('event', event)),
      ...journal.stalls.map((stall) => entry('stall', stall)),
      ...(journal.memory === undefined ? [] : [entry('memory', journal.memory)]),
      ...(journal.leak === undefined ? [] : [entry('leak', journal.leak)]),
      ...(journal.profile === undefined ? [] : [entry('profile', { at: journal.profile.at })]),
      ...lastLines(journal.lines).map((data): JournalEntry => ({ kind: 'log', data })),
    ];
    if (body.destroyed) return;
    body.push(behind.map(written).join(''));
    const unfollow = journal.follow((what) => body.tell(what));
    body.once('close', unfollow);
    this.#timer ??= this.#nextStatus();
  }

  #nextStatus(): Timer {
    return this.#clock.setTimer(() => void this.#tellStatus(), STATUS_MS);
  }

  async #tellStatus(): Promise<void> {
    this.#timer = this.#nextStatus();
    const status = await this.#status();
    for (const body of this.#readers) body.tellStatus(status);
  }

  async #status(): Promise<JournalEntry> {
    return entry('status', await this.#statusNow());
  }

  #leave(body: Reader): void {
    this.#readers.delete(body);
    if (this.#readers.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}

class Reader extends Outbox {
  #statusesBehind = 0;

  constructor() {
    super((data) => written({ kind: 'log', data }));
  }

  tell(what: JournalEntry): void {
    if (this.destroyed) return;
    if (this.readableLength > MAX_BEHIND) this.destroy();
    else if (what.kind === 'log') this.line(what.data);
    else this.push(written(what));
  }

  tellStatus(status: JournalEntry): void {
    this.#statusesBehind = this.full ? this.#statusesBehind + 1 : 0;
    if (this.#statusesBehind > MAX_STATUSES_BEHIND) this.destroy();
    else this.tell(status);
  }

  override _read(): void {
    this.#statusesBehind = 0;
    super._read();
  }
}

/** JSON has no line breaks of its own; a line of the log may end with one. */
const written = ({ kind, data }: JournalEntry) => `event: ${kind}\ndata: ${data.trimEnd()}\n\n`;

function lastLines(lines: readonly string[]): readonly string[] {
  let size = 0;
  let first = lines.length;
  while (first > 0 && size < MAX_BACKLOG) size += (lines[--first] as string).length;
  return lines.slice(first);
}
