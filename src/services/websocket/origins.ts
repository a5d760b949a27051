import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { z } from 'zod';

/** Which pages may connect; see `WebSocketService`. */
export const originsOption = () =>
  z.union([
    z.enum(['same-origin', 'any']),
    z.array(z.string().refine(isOrigin, 'must be an origin, such as https://app.example.com, or null')),
  ]);

type Origins = z.output<ReturnType<typeof originsOption>>;

/**
 * Whether a request for a WebSocket comes from a page that may make it. Browsers let any page connect
 * anywhere, with the user's cookies, and leave the check to the server (RFC 6455, section 10.2). Who sends no
 * `Origin` is no browser, and could send any.
 */
export function isAllowedOrigin({ headers, socket }: IncomingMessage, allowed: Origins): boolean {
  const { origin, host } = headers;
  if (origin === undefined || allowed === 'any') return true;
  if (allowed !== 'same-origin') return allowed.includes(origin);
  const page = URL.parse(origin);
  if (page === null || host === undefined) return false;
  // A proxy may have taken the TLS off; what still has it must not be reached from a page that has not.
  if ((socket as Partial<TLSSocket>).encrypted === true && page.protocol !== 'https:') return false;
  return page.host === URL.parse(`${page.protocol}//${host}`)?.host;
}

function isOrigin(value: string): boolean {
  return value === 'null' || (URL.canParse(value) && new URL(value).origin === value);
}
