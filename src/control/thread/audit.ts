import type { IncomingMessage } from 'node:http';
import { type Clock, systemClock, type Timer } from '../../clock.ts';
import type { AuditEntry, MainMethods } from '../protocol.ts';
import type { Rpc } from '../rpc.ts';

/** How often refused requests of one status are logged; those between are counted. */
const REFUSED_EVERY_MS = 10_000;
const MAX_TEXT = 200;

/** What was refused with one status since that was logged. */
interface Quiet {
  readonly timer: Timer;
  unsaid: number;
  last: AuditEntry | undefined;
}

/** Has the main thread log who did what. */
export class Audit implements Disposable {
  readonly #main: Rpc<MainMethods>;
  readonly #server: string;
  readonly #clock: Clock;
  /** By status. */
  readonly #quiet = new Map<number, Quiet>();

  /** `server`: for whom. */
  constructor(main: Rpc<MainMethods>, server: string, clock: Clock = systemClock) {
    this.#main = main;
    this.#server = server;
    this.#clock = clock;
  }

  /** An action begins; call what is given when it is done, or has failed. */
  begin(request: IncomingMessage): (status: number, error?: string) => void {
    const begun = this.#clock.now();
    // Of a client that has gone nothing is known any more.
    const entry = this.#entry(request);
    return (status, error) => {
      const durationMs = Math.round(this.#clock.now() - begun);
      this.#main.tell('audit', { ...entry, status, durationMs, error });
    };
  }

  /** Somebody was not let in. */
  refused(request: IncomingMessage, status: number, error: string): void {
    const entry = { ...this.#entry(request), status, error };
    const quiet = this.#quiet.get(status);
    if (quiet === undefined) {
      this.#tell(entry);
      return;
    }
    quiet.unsaid += 1;
    quiet.last = entry;
  }

  /** Nothing that was refused stays unsaid. */
  [Symbol.dispose](): void {
    for (const status of this.#quiet.keys()) this.#tellUnsaid(status);
    for (const { timer } of this.#quiet.values()) timer.cancel();
  }

  #tell(entry: AuditEntry): void {
    const { status } = entry;
    this.#main.tell('refused', entry);
    const timer = this.#clock.setTimer(() => this.#tellUnsaid(status), REFUSED_EVERY_MS).unref();
    this.#quiet.set(status, { timer, unsaid: 0, last: undefined });
  }

  #tellUnsaid(status: number): void {
    const { timer, unsaid = 0, last } = this.#quiet.get(status) ?? {};
    timer?.cancel();
    this.#quiet.delete(status);
    if (last !== undefined) this.#tell({ ...last, unsaid: unsaid - 1 });
  }

  #entry({ socket, headers, method = '', url = '' }: IncomingMessage): Omit<AuditEntry, 'status'> {
    const { remoteAddress, remotePort } = socket;
    return {
      server: this.#server,
      remote: remoteAddress === undefined ? 'a Unix socket' : `${remoteAddress}:${remotePort}`,
      userAgent: headers['user-agent']?.slice(0, MAX_TEXT),
      method,
      path: url.replace(/\?.*/s, '').slice(0, MAX_TEXT),
    };
  }
}
