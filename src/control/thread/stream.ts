import { Readable } from 'node:stream';
import type { Journal, JournalEntry } from './journal.ts';
import { Refusal, type Reply } from './reply.ts';
import type { Status } from './status.ts';

const MAX_READERS = 32;
/** What one reader may be behind, in characters. */
const MAX_BEHIND = 1024 * 1024;
/** How much of the log one who comes is sent. */
const MAX_BACKLOG = 256 * 1024;
const STATUS_MS = 1_000;

/**
 * Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): the daemon's state every
 * second, which also is the heart-beat, and what happens in between. One that does not keep up is cut off: it
 * comes again, and is told where things stand.
 */
export class Streams {
  readonly #journal: Journal;
  readonly #statusNow: () => Promise<Status>;
  readonly #readers = new Set<Readable>();
  #timer: NodeJS.Timeout | undefined;

  constructor(journal: Journal, status: () => Promise<Status>) {
    this.#journal = journal;
    this.#statusNow = status;
  }

  /** @throws {Refusal} 503 `ERR_TOO_MANY_READERS` */
  async open(signal: AbortSignal): Promise<Reply> {
    if (this.#readers.size >= MAX_READERS) {
      throw new Refusal(503, 'ERR_TOO_MANY_READERS', `there are ${MAX_READERS} readers already`);
    }
    const body = new Readable({ read() {}, encoding: 'utf8' });
    this.#readers.add(body);
    body.once('close', () => this.#leave(body));
    signal.addEventListener('abort', () => body.destroy());
    await this.#welcome(body);
    return {
      headers: { 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' },
      body,
    };
  }

  async #welcome(body: Readable): Promise<void> {
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
    const unfollow = journal.follow((what) => send(body, what));
    body.once('close', unfollow);
    this.#timer ??= setInterval(() => void this.#tellStatus(), STATUS_MS);
  }

  async #tellStatus(): Promise<void> {
    const status = await this.#status();
    for (const body of this.#readers) send(body, status);
  }

  async #status(): Promise<JournalEntry> {
    return entry('status', await this.#statusNow());
  }

  #leave(body: Readable): void {
    this.#readers.delete(body);
    if (this.#readers.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

function send(body: Readable, what: JournalEntry): void {
  if (body.destroyed) return;
  if (body.readableLength > MAX_BEHIND) body.destroy();
  else body.push(written(what));
}

const entry = (kind: JournalEntry['kind'], value: unknown): JournalEntry => ({
  kind,
  data: JSON.stringify(value),
});

/** JSON has no line breaks of its own; a line of the log may end with one. */
const written = ({ kind, data }: JournalEntry) => `event: ${kind}\ndata: ${data.trimEnd()}\n\n`;

function lastLines(lines: readonly string[]): readonly string[] {
  let size = 0;
  let first = lines.length;
  while (first > 0 && size < MAX_BACKLOG) size += (lines[--first] as string).length;
  return lines.slice(first);
}
