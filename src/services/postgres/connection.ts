import pg from 'pg';
import type { Clock, Timer } from '../../clock.ts';
import { preview } from '../../errors.ts';
import { enableJson } from './json.ts';

/** Who holds a client: a label, or where in the code it was taken. */
export interface Holder {
  readonly label: string | undefined;
  /** Its `stack` is formatted by V8 only when it is read. */
  readonly trace: { readonly stack?: string } | undefined;
}

/** The holder of that label; without one, the code that called `taker`. */
export function holder(label: string | undefined, taker?: (...args: never[]) => unknown): Holder {
  if (label !== undefined) return { label, trace: undefined };
  const trace: { stack?: string } = {};
  Error.captureStackTrace(trace, taker);
  return { label, trace };
}

/** A holder, for people. */
export function describeHolder({ label, trace }: Holder): string {
  if (label !== undefined) return preview(label);
  return trace?.stack?.split('\n')[1]?.trim() ?? 'unknown code';
}

/** How long a connection gets to close by itself. */
const CLOSE_MS = 1_000;

/** One connection of the pool. It counts as open until its socket has closed. */
export class Connection {
  readonly client: pg.Client;
  readonly #clock: Clock;
  /** Who has it, and since when. */
  holder: Holder | undefined;
  heldSince = 0;
  /** Whether a warning has been logged that it is held too long. */
  leakTold = false;
  /** Whether its prepared statements fit the tables no more: it is not handed out again. */
  stale = false;
  /** Why it is of no use any more. */
  lost: Error | undefined;
  #closed = false;

  constructor(config: pg.ClientConfig, clock: Clock) {
    this.client = new pg.Client(config);
    enableJson(this.client);
    this.#clock = clock;
  }

  /**
   * Connects and logs in; the socket is closed when that fails, or has not succeeded within `timeoutMs`.
   * `onLost` is called once when an established connection is gone, `onClosed` once at the end.
   */
  async open(
    timeoutMs: number,
    { onLost, onClosed }: { readonly onLost: (error: Error) => void; readonly onClosed: () => void },
  ): Promise<void> {
    const { client } = this;
    let established = false;
    // The first error is the reason; those that follow from it say less.
    client.on('error', (error) => {
      const first = this.lost === undefined;
      this.lost ??= error;
      if (first && established) onLost(error);
    });
    client.once('end', () => {
      this.#closed = true;
      onClosed();
    });
    const late = () => void client.connection.stream.destroy(timeoutError(timeoutMs));
    using _timer: Timer = this.#clock.setTimer(late, timeoutMs);
    try {
      await client.connect();
      established = true;
    } catch (error) {
      this.destroy();
      throw error;
    }
  }

  /** Says goodbye and closes; what has not closed after a second is destroyed. */
  close(): void {
    if (this.#closed) return;
    this.lost ??= new Error('the connection was closed');
    const timer = this.#clock.setTimer(() => this.destroy(), CLOSE_MS);
    this.client.once('end', () => timer.cancel());
    this.client.end().catch(() => {});
  }

  destroy(): void {
    this.lost ??= new Error('the connection was destroyed');
    this.client.connection.stream.destroy();
  }
}

const timeoutError = (timeoutMs: number) =>
  Object.assign(new Error(`no connection within ${timeoutMs} ms`), { code: 'ETIMEDOUT' });
