import type { IncomingMessage } from 'node:http';
import type { AuditEntry, MainMethods } from '../protocol.ts';
import type { Rpc } from '../rpc.ts';

/** How often refused requests are logged; those between are counted. */
const REFUSED_EVERY_MS = 10_000;
const MAX_TEXT = 200;

/** Has the main thread log who did what. */
export class Audit {
  readonly #main: Rpc<MainMethods>;
  #quietUntil = Number.NEGATIVE_INFINITY;
  #unsaid = 0;

  constructor(main: Rpc<MainMethods>) {
    this.#main = main;
  }

  /** An action was done, or has failed. */
  done(request: IncomingMessage, status: number, durationMs: number, error?: string): void {
    this.#main.tell('audit', { ...entryOf(request), status, durationMs: Math.round(durationMs), error });
  }

  /** Somebody was not let in. */
  refused(request: IncomingMessage, status: number, error: string): void {
    const now = performance.now();
    if (now < this.#quietUntil) {
      this.#unsaid += 1;
      return;
    }
    this.#quietUntil = now + REFUSED_EVERY_MS;
    this.#main.tell('refused', { ...entryOf(request), status, error, unsaid: this.#unsaid });
    this.#unsaid = 0;
  }
}

function entryOf({ socket, headers, method = '', url = '' }: IncomingMessage): Omit<AuditEntry, 'status'> {
  const { remoteAddress, remotePort } = socket;
  return {
    remote: remoteAddress === undefined ? 'a Unix socket' : `${remoteAddress}:${remotePort}`,
    userAgent: headers['user-agent']?.slice(0, MAX_TEXT),
    method,
    path: url.replace(/\?.*/s, '').slice(0, MAX_TEXT),
  };
}
