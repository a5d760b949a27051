import { AsyncLocalStorage } from 'node:async_hooks';
import type pg from 'pg';
import type { Call } from '../../call.ts';
import type { Clock } from '../../clock.ts';
import { toError } from '../../errors.ts';
import { Connection, describeHolder, type Holder } from './connection.ts';
import { PoolExhaustedError, PostgresUnavailableError } from './errors.ts';
import { codeOf, DOWN_RETRY_AFTER_MS, describeFailure } from './failures.ts';
import { Leaks } from './leaks.ts';
import { search } from './recovery.ts';
import type { Counters, PostgresState } from './statistics.ts';
import { WaitingLine } from './waiting-line.ts';

/** What a pool is told. */
export interface PoolOptions {
  readonly config: pg.ClientConfig;
  /** `host:port/database` */
  readonly target: string;
  readonly size: number;
  readonly connectTimeoutMs: number;
  readonly acquireTimeoutMs: number;
  readonly leakWarningMs: number;
  readonly clock: Clock;
  readonly counters: Counters;
}

/** What a pool reports. */
export interface PoolEvents {
  /** A connection that nobody was using is gone. */
  lost(error: Error): void;
  /** No connection is left, and none is to be had: callers are refused until `recovered`. */
  down(error: Error): void;
  recovered(downMs: number): void;
  /** A client is held for longer than `leakWarningMs`. */
  leaked(heldBy: string, heldMs: number): void;
}

const SEARCH_PAUSE_MS = 100;
/** An attempt of the search lasts no longer: the next ones are under way by then. */
const SEARCH_CONNECT_MS = 5_000;

/**
 * The connections of a service, handed out in the order in which they were asked for. When none is left and no
 * new one can be had, everyone is refused at once, while one search, whatever the number of callers, looks for
 * the database.
 *
 * pg-pool is not underneath: its waiters cannot be taken back, a connection that is closing or being cleaned
 * does not count, and everything that fails makes connections of its own. (Of `circuitBreaker`, a database
 * needs neither the window nor the ratio: that no connection can be made is proof.)
 * @internal
 */
export class ConnectionPool {
  readonly #options: PoolOptions;
  readonly #events: PoolEvents;
  readonly #leaks: Leaks;
  /** Every connection whose socket is open. */
  readonly #open = new Set<Connection>();
  readonly #connecting = new Set<Connection>();
  readonly #idle: Connection[] = [];
  readonly #inUse = new Set<Connection>();
  readonly #waiters: WaitingLine<Connection>;
  readonly #closed = Promise.withResolvers<void>();
  /** Aborts what the pool does on its own. */
  readonly #ended = new AbortController();
  /** Connections belong to the service, not to the caller whose wish they were made for. */
  readonly #detached = AsyncLocalStorage.snapshot();
  #cleaning = 0;
  #searching = false;
  /** Since when connecting has failed, and why the last time. */
  #failing: { readonly since: number; readonly error: Error } | undefined;
  #down: { readonly error: Error; readonly since: number } | undefined;
  #onClosed: (() => Error) | undefined;

  constructor(options: PoolOptions, events: PoolEvents) {
    this.#options = options;
    this.#events = events;
    const { clock, leakWarningMs, acquireTimeoutMs, size } = options;
    this.#waiters = new WaitingLine(acquireTimeoutMs, clock, (waiting) => {
      const { heldBy } = this;
      const retryAfterMs = DOWN_RETRY_AFTER_MS;
      return new PoolExhaustedError(acquireTimeoutMs, { poolSize: size, waiting, heldBy, retryAfterMs });
    });
    this.#leaks = new Leaks(this.#inUse, leakWarningMs, clock, (connection, heldMs) => {
      options.counters.leaks += 1;
      events.leaked(describeHolder(connection.holder as Holder), heldMs);
    });
  }

  /** Whether a client could be had without waiting for another user to give one back. */
  get hasRoom(): boolean {
    return this.#idle.length > 0 || (this.#failing === undefined && this.#open.size < this.#options.size);
  }

  get state(): PostgresState {
    if (this.#down !== undefined) return 'down';
    return this.#failing === undefined ? 'up' : 'degraded';
  }

  /** Why the database cannot be reached, or no connection be added. */
  get failure(): Error | undefined {
    return this.#down?.error ?? this.#failing?.error;
  }

  get gauges() {
    return {
      state: this.state,
      size: this.#open.size,
      idle: this.#idle.length,
      inUse: this.#inUse.size,
      cleaning: this.#cleaning,
      connecting: this.#connecting.size,
      waiting: this.#waiters.length,
    };
  }

  /** Opens a connection beside those that are there. @throws whatever connecting throws. */
  async open(): Promise<void> {
    this.#add(await this.#connect(this.#options.connectTimeoutMs));
  }

  /**
   * A connection, as soon as one is free. Give it back with `release`.
   *
   * @throws {PoolExhaustedError} `ERR_POSTGRES_POOL_EXHAUSTED`; {PostgresUnavailableError}
   * `ERR_POSTGRES_UNAVAILABLE`; the reason of the call; {PostgresNotRunningError} when the pool closes first.
   */
  acquire(by: Holder, call: Call): Promise<Connection> {
    const { clock } = this.#options;
    if (this.#onClosed !== undefined) return Promise.reject(this.#onClosed());
    if (call.aborted) return Promise.reject(call.reason);
    const now = clock.now();
    const connection = this.#idle.pop();
    if (connection !== undefined) {
      this.#take(connection, by, now, now);
      return Promise.resolve(connection);
    }
    if (this.#down !== undefined) return Promise.reject(this.#unavailable(this.#down.error));
    const taken = this.#waiters.join(by, call, now);
    this.#grow();
    return taken;
  }

  /** Takes a connection back; one that is not `fit` is closed, and another may take its place. */
  release(connection: Connection, fit: boolean | Promise<boolean>): void {
    if (typeof fit === 'boolean') {
      this.#return(connection, fit);
      return;
    }
    this.#cleaning += 1;
    void fit.then((clean) => {
      this.#cleaning -= 1;
      this.#return(connection, clean);
    });
  }

  /** There is reason to think that the server does not answer: refuses everyone until it does. */
  suspect(error: Error): void {
    if (this.#onClosed !== undefined || this.#down !== undefined) return;
    this.#goDown(error);
    this.#search(0);
  }

  /** Replaces the connections: what they have prepared is stale, on one like on the others. */
  renew(): void {
    for (const connection of this.#open) {
      if (!this.#connecting.has(connection)) connection.stale = true;
    }
    this.#discardIdle();
  }

  /** What keeps the pool from closing, for people. */
  get heldBy(): string[] {
    const now = this.#options.clock.now();
    const held = [...this.#inUse].map(
      ({ holder, heldSince }) =>
        `a client held for ${Math.round(now - heldSince)} ms by ${describeHolder(holder as Holder)}`,
    );
    const closing = this.#open.size - this.#inUse.size;
    return this.#onClosed !== undefined && closing > 0
      ? [...held, `${closing} connections that are closing`]
      : held;
  }

  /**
   * Refuses who waits for a connection with `onClosed()`, waits until all are given back and every connection is
   * closed. When the signal aborts, the connections are destroyed.
   */
  async close(signal: AbortSignal, onClosed: () => Error): Promise<void> {
    this.#onClosed ??= onClosed;
    this.#ended.abort();
    this.#leaks.close();
    this.#waiters.close(this.#onClosed);
    for (const connection of this.#connecting) connection.destroy();
    for (const connection of this.#idle.splice(0)) connection.close();
    const destroy = () => {
      for (const connection of this.#open) connection.destroy();
    };
    if (signal.aborted) destroy();
    else signal.addEventListener('abort', destroy, { once: true });
    if (this.#open.size > 0) await this.#closed.promise;
    signal.removeEventListener('abort', destroy);
  }

  async #connect(timeoutMs: number): Promise<Connection> {
    const { config, clock } = this.#options;
    const connection = new Connection(config, clock);
    this.#open.add(connection);
    this.#connecting.add(connection);
    try {
      await connection.open(timeoutMs, {
        onLost: (error) => this.#lost(connection, error),
        onClosed: () => this.#gone(connection),
      });
      return connection;
    } finally {
      this.#connecting.delete(connection);
    }
  }

  /** Makes connections for those that wait, unless a search is on for one. */
  #grow(): void {
    if (this.#onClosed !== undefined || this.#searching) return;
    const { size, connectTimeoutMs } = this.#options;
    while (this.#open.size < size && this.#connecting.size < this.#waiters.length) {
      void this.#detached(async () => {
        if (!(await this.#attempt(connectTimeoutMs))) this.#search(SEARCH_PAUSE_MS);
      });
    }
  }

  /** Whether it has made a connection. */
  async #attempt(timeoutMs: number): Promise<boolean> {
    try {
      this.#add(await this.#connect(timeoutMs));
      return true;
    } catch (thrown) {
      if (this.#onClosed !== undefined) return false;
      const now = this.#options.clock.now();
      const failing = { since: this.#failing?.since ?? now, error: toError(thrown) };
      this.#failing = failing;
      // Refusals at one moment may be a server that is just being restarted.
      const certain = now - failing.since >= SEARCH_PAUSE_MS || codeOf(failing.error) === 'ETIMEDOUT';
      if (certain && this.#live === 0) this.#goDown(failing.error);
      return false;
    }
  }

  #add(connection: Connection): void {
    const established = this.#open.size - this.#connecting.size;
    if (this.#onClosed !== undefined || connection.lost !== undefined || established > this.#options.size) {
      connection.close();
      return;
    }
    const down = this.#down;
    this.#down = undefined;
    this.#failing = undefined;
    if (down !== undefined) this.#events.recovered(this.#options.clock.now() - down.since);
    this.#hand(connection);
  }

  /** Looks for the database, on behalf of everyone. */
  #search(pauseMs: number): void {
    if (this.#searching || this.#onClosed !== undefined) return;
    this.#searching = true;
    const timeoutMs = Math.min(this.#options.connectTimeoutMs, SEARCH_CONNECT_MS);
    const { signal } = this.#ended;
    void this.#detached(search, () => this.#attempt(timeoutMs), {
      clock: this.#options.clock,
      signal,
      pauseMs,
    }).then(() => {
      this.#searching = false;
      this.#grow();
    });
  }

  /** Connections that are there and can be used, or are in use. */
  get #live(): number {
    let live = 0;
    for (const connection of this.#open) {
      if (connection.lost === undefined && !this.#connecting.has(connection)) live += 1;
    }
    return live;
  }

  #goDown(error: Error): void {
    const known = this.#down;
    this.#down = { error, since: known?.since ?? this.#options.clock.now() };
    if (known === undefined) this.#events.down(error);
    // A server that does not answer would not answer on these, either.
    this.#discardIdle();
    this.#waiters.refuse(() => this.#unavailable(error));
  }

  #unavailable(cause: Error): PostgresUnavailableError {
    const { target } = this.#options;
    return new PostgresUnavailableError(target, describeFailure(cause), {
      cause,
      retryAfterMs: DOWN_RETRY_AFTER_MS,
    });
  }

  #lost(connection: Connection, error: Error): void {
    const at = this.#idle.indexOf(connection);
    if (at === -1) return;
    this.#idle.splice(at, 1);
    this.#options.counters.discarded += 1;
    if (this.#onClosed === undefined) this.#events.lost(error);
  }

  #gone(connection: Connection): void {
    const established = !this.#connecting.has(connection);
    this.#open.delete(connection);
    if (this.#onClosed !== undefined) {
      if (this.#open.size === 0) this.#closed.resolve();
      return;
    }
    this.#grow();
    // So that it is known before the next caller comes whether there is a database.
    if (established && this.#open.size === 0) this.#search(0);
  }

  #take(connection: Connection, by: Holder, since: number, now: number): void {
    const { counters } = this.#options;
    counters.acquires += 1;
    counters.acquireMs += now - since;
    connection.holder = by;
    connection.heldSince = now;
    this.#inUse.add(connection);
    this.#leaks.watch();
  }

  #return(connection: Connection, fit: boolean): void {
    this.#inUse.delete(connection);
    connection.holder = undefined;
    connection.leakTold = false;
    if (this.#onClosed !== undefined) connection.close();
    else if (!fit || connection.stale || connection.lost !== undefined || this.#down !== undefined) {
      this.#discard(connection);
    } else this.#hand(connection);
  }

  /** Gives a connection to who has waited longest. */
  #hand(connection: Connection): void {
    const waiter = this.#waiters.shift();
    if (waiter === undefined) {
      this.#idle.push(connection);
      return;
    }
    this.#take(connection, waiter.by, waiter.since, this.#options.clock.now());
    waiter.resolve(connection);
  }

  #discardIdle(): void {
    for (const connection of this.#idle.splice(0)) this.#discard(connection);
  }

  #discard(connection: Connection): void {
    this.#options.counters.discarded += 1;
    connection.close();
  }
}
