import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type Clock, systemClock } from '../../clock.ts';
import type { ServerOptions } from '../protocol.ts';
import { Refusal } from './reply.ts';

/** Between two answers to wrong tokens: ten guesses in a second, however many connections they come by. */
const GUESS_PAUSE_MS = 100;
/** As many wrong tokens wait for their answer at most: each holds a request, and its connection. */
const MAX_GUESSES = 50;

const probes: readonly string[] = ['livez', 'readyz', 'startupz'];

/** What may be had without the token: answers to probes, and the files of the dashboard, which say nothing. */
const isOpen = ([first = '', ...rest]: readonly string[]) =>
  rest.length === 0 ? first === '' || probes.includes(first) : first === 'dashboard';

/** Says who may ask what. */
export class Guard {
  readonly #token: Buffer | undefined;
  /** `undefined`: any, as on a Unix socket, which no browser reaches. */
  readonly #hosts: ReadonlySet<string> | undefined;
  readonly #clock: Clock;
  #nextGuessAt = 0;

  constructor(
    { token, host, hosts, path }: Pick<ServerOptions, 'token' | 'host' | 'hosts' | 'path'>,
    clock: Clock = systemClock,
  ) {
    this.#clock = clock;
    this.#token = token === undefined ? undefined : digest(token);
    this.#hosts =
      path === undefined
        ? new Set(['localhost', '127.0.0.1', '[::1]', ...[host, ...hosts].map(canonical)])
        : undefined;
  }

  /**
   * Whether the client may be told all, or only what everybody may know.
   *
   * @throws {Refusal} 401, 403, 421, 429
   */
  async admit(request: IncomingMessage, path: readonly string[], signal: AbortSignal): Promise<boolean> {
    this.#checkHost(request);
    checkOrigin(request);
    if (this.#token === undefined) return true;
    const given = /^Bearer +([\x21-\x7e]+) *$/i.exec(request.headers.authorization ?? '')?.[1];
    if (given !== undefined && timingSafeEqual(digest(given), this.#token)) return true;
    if (given !== undefined) {
      await this.#slowDown(signal);
      throw unauthorized('the token is wrong', 'Bearer realm="bosun", error="invalid_token"');
    }
    if (isOpen(path)) return false;
    throw unauthorized('a token is needed: "Authorization: Bearer ..."', 'Bearer realm="bosun"');
  }

  /** Against DNS rebinding: a name that leads here, but is not ours, was made to by somebody else. */
  #checkHost({ headers: { host }, socket, httpVersion }: IncomingMessage): void {
    if (this.#hosts === undefined) return;
    // HTTP/1.0, as some load balancers probe: no browser does.
    if (host === undefined && httpVersion === '1.0') return;
    const name = canonical(withoutPort(host ?? ''));
    if (name !== '' && (this.#hosts.has(name) || name === canonical(socket.localAddress ?? ''))) return;
    throw new Refusal(
      421,
      'ERR_HOST',
      'the Host is not one of this control plane: add it to the option "hosts"',
    );
  }

  /** @throws {Refusal} 429 `ERR_TOO_MANY_GUESSES` */
  async #slowDown(signal: AbortSignal): Promise<void> {
    const now = this.#clock.now();
    const begin = Math.max(now, this.#nextGuessAt);
    if (begin + GUESS_PAUSE_MS > now + MAX_GUESSES * GUESS_PAUSE_MS) {
      const headers = { 'retry-after': String(Math.ceil((begin - now) / 1_000)), connection: 'close' };
      throw new Refusal(429, 'ERR_TOO_MANY_GUESSES', 'the token is wrong, as many before it were', headers);
    }
    // Who goes before he is answered has guessed all the same.
    this.#nextGuessAt = begin + GUESS_PAUSE_MS;
    await this.#clock.sleep(this.#nextGuessAt - now, { signal }).catch(() => {});
  }
}

/**
 * A page of another site may send requests here, but not have them answered: browsers say where they come from
 * (https://www.w3.org/TR/fetch-metadata). A link from another site may lead to the dashboard.
 *
 * @throws {Refusal} 403 `ERR_ORIGIN`
 */
function checkOrigin({ headers, method }: IncomingMessage): void {
  const { origin, host } = headers;
  const site = headers['sec-fetch-site'];
  const followsLink =
    method === 'GET' && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document';
  const sameOrigin =
    origin === undefined ||
    (/^https?:\/\//i.test(origin) &&
      origin.replace(/^https?:\/\//i, '').toLowerCase() === host?.toLowerCase());
  if (sameOrigin && (site === undefined || site === 'same-origin' || site === 'none' || followsLink)) return;
  throw new Refusal(403, 'ERR_ORIGIN', 'pages of other sites are not answered');
}

const unauthorized = (message: string, challenge: string) =>
  new Refusal(401, 'ERR_UNAUTHORIZED', message, { 'www-authenticate': challenge });

/** Of one length, so that comparing two tells nothing of theirs. */
const digest = (token: string) => createHash('sha256').update(token).digest();

const withoutPort = (host: string) => host.replace(/:\d*$/, '');

/** A host as a URL has it: in lower case, IPv6 in brackets and short; '' when it is none. */
function canonical(host: string): string {
  const name =
    host.includes(':') && !host.startsWith('[') ? `[${host.replace(/^::ffff:(?=\d+\.)/i, '')}]` : host;
  const plain = name.replace(/^\[(\d+\.\d+\.\d+\.\d+)\]$/, '$1');
  if (!/^(\[[\da-f:.]+\]|[\w.-]+)$/i.test(plain) || !URL.canParse(`http://${plain}`)) return '';
  return new URL(`http://${plain}`).hostname.replace(/\.$/, '');
}
