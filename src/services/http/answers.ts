import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { DeadlineError, toError } from '../../errors.ts';
import type { Outgoing } from './messages.ts';
import { requestId } from './request-id.ts';

/** The path of a request, without its query: what logs may show. */
export function pathOf({ url = '/' }: IncomingMessage): string {
  const query = url.indexOf('?');
  return query === -1 ? url : url.slice(0, query);
}

/** The body of an answer that the server gives on its own: nothing of the cause is in it. */
export const errorBody = (status: number, reqId: string) => ({
  statusCode: status,
  error: STATUS_CODES[status] ?? 'Error',
  requestId: reqId,
});

/**
 * The value of `Retry-After` (RFC 9110, 10.2.3) for an error that says "not now", which is answered 503: one with
 * `retryAfterMs`, or the end of a deadline. `undefined` for any other.
 */
export function retryAfterOf(error: unknown): string | undefined {
  const ms = error instanceof DeadlineError ? 0 : (error as { retryAfterMs?: unknown } | null)?.retryAfterMs;
  if (typeof ms !== 'number' || !Number.isFinite(ms)) return undefined;
  return String(Math.max(1, Math.ceil(ms / 1_000)));
}

/** What is logged of such an error: it comes with every request for as long as it lasts, so without a stack. */
export const notNow = (request: IncomingMessage, error: unknown) =>
  `${request.method} ${pathOf(request)} was answered 503: ${toError(error).message}`;

/** Answers instead of the application. The headers must not have been sent. */
export function answerError(response: Outgoing, status: number, retryAfter?: string): void {
  const reqId = requestId(response.req);
  const body = Buffer.from(JSON.stringify(errorBody(status, reqId)));
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': body.length,
    'x-request-id': reqId,
    ...(retryAfter === undefined ? {} : { 'retry-after': retryAfter }),
  });
  response.end(body);
}

/** An answer where there is no request to answer: it was malformed, too slow, or is an upgrade. */
export function endWith(socket: Duplex, status: number): void {
  const reason = STATUS_CODES[status] ?? 'Error';
  socket.end(`HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/** Answers and destroys a connection that nobody takes over. */
export function refuse(socket: Duplex, status: number): void {
  socket.on('error', () => {});
  socket.once('finish', () => socket.destroy());
  endWith(socket, status);
}

/** How what a client has sent is answered when it is no request. */
export function statusOfClientError({ code }: NodeJS.ErrnoException): number {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return 431;
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return 413;
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return 408;
    default:
      return 400;
  }
}
