import pg from 'pg';
import type { Clock } from '../../clock.ts';
import { preview } from '../../errors.ts';
import { enableJson } from './json.ts';

/** Who holds a client: a label, or where in the code it was taken. */
export interface Holder {
  readonly label: string | undefined;
  /** Its `stack` is formatted by V8 only when it is read. */
  readonly trace: { readonly stack?: string } | undefined;
}

/** What a pool reports. */
export interface PoolEvents {
  /** A connection is there. */
  connected(): void;
  /** A connection that nobody was using is gone. */
  lost(error: Error): void;
}

/** A pg pool that knows who holds its clients and can be closed by force. @internal */
export class ClientPool {
  readonly #pool: pg.Pool;
  readonly #clock: Clock;
  readonly #open = new Set<pg.Client>();
  readonly #holders = new Map<pg.PoolClient, Holder & { readonly since: number }>();
  readonly #waiters = new Set<() => void>();
  readonly #gone = Promise.withResolvers<void>();
  #closing = false;

  /** `connectTimeoutMs` bounds one attempt to connect; waiting for a free client is not bounded. */
  constructor(
    config: pg.ClientConfig,
    size: number,
    connectTimeoutMs: number,
    clock: Clock,
    events: PoolEvents,
  ) {
    this.#clock = clock;
    const opened = (client: pg.Client) => this.#opened(client);
    class Client extends pg.Client {
      constructor() {
        // Given to the pool, it would also bound the wait for a free client. It becomes a setTimeout.
        super({ ...config, connectionTimeoutMillis: Math.min(connectTimeoutMs, 2 ** 31 - 1) });
        enableJson(this);
        opened(this);
      }
    }
    this.#pool = new pg.Pool({ Client, max: size, idleTimeoutMillis: 0 });
    this.#pool.on('connect', () => events.connected());
    this.#pool.on('error', (error) => events.lost(error));
  }

  /** Whether a client could be had without waiting for another user to give one back. */
  get hasRoom(): boolean {
    return this.#pool.idleCount > 0 || this.#pool.totalCount < this.#pool.options.max;
  }

  /**
   * A client, as soon as one is free. Give it back with `release`.
   *
   * @throws `onClosed()` when the pool closes first; whatever connecting throws.
   */
  acquire(holder: Holder, onClosed: () => Error): Promise<pg.PoolClient> {
    if (this.#closing) return Promise.reject(onClosed());
    return new Promise((resolve, reject) => {
      const give = () => reject(onClosed());
      this.#waiters.add(give);
      this.#pool.connect((error, client) => {
        const waits = this.#waiters.delete(give);
        if (client === undefined) reject(error);
        else if (!waits) client.release(true);
        else {
          this.#holders.set(client, { ...holder, since: this.#clock.now() });
          resolve(client);
        }
      });
    });
  }

  /** Takes a client back; one that is not `fit` is closed, and another connection takes its place. */
  release(client: pg.PoolClient, fit: boolean): void {
    this.#holders.delete(client);
    client.release(!fit);
  }

  /** What keeps the pool from closing, for people. */
  get heldBy(): string[] {
    const now = this.#clock.now();
    const held = [...this.#holders.values()].map(
      (holder) => `a client held for ${Math.round(now - holder.since)} ms by ${describe(holder)}`,
    );
    const closing = this.#open.size - this.#holders.size;
    return this.#closing && closing > 0 ? [...held, `${closing} connections that are closing`] : held;
  }

  /**
   * Lets who waits for a client go, waits until all are given back and every connection is closed. When the
   * signal aborts, the connections are destroyed.
   */
  async close(signal: AbortSignal): Promise<void> {
    this.#closing = true;
    for (const give of this.#waiters) give();
    this.#waiters.clear();
    const destroy = () => {
      for (const client of this.#open) client.connection.stream.destroy();
    };
    if (signal.aborted) destroy();
    else signal.addEventListener('abort', destroy, { once: true });
    // It resolves when the clients are given back, which destroyed ones may never be.
    if (!this.#pool.ending) this.#pool.end().catch(() => {});
    if (this.#open.size > 0) await this.#gone.promise;
    signal.removeEventListener('abort', destroy);
  }

  #opened(client: pg.Client): void {
    this.#open.add(client);
    // The pool listens only while a client is idle; an error of one in use also fails its query.
    client.on('error', () => {});
    client.once('end', () => {
      this.#open.delete(client);
      if (this.#closing && this.#open.size === 0) this.#gone.resolve();
    });
  }
}

function describe({ label, trace }: Holder): string {
  if (label !== undefined) return preview(label);
  return trace?.stack?.split('\n')[1]?.trim() ?? 'unknown code';
}
