import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { BosunError } from '../../errors.ts';

/** What is answered; an object is sent as JSON. */
export interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: object | string | Uint8Array | Readable;
}

/** A request that is not served. */
export class Refusal extends BosunError {
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, code: string, message: string, headers: Refusal['headers'] = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

/**
 * Nothing that is answered may be kept by a cache, shown in a frame, embedded by another site, or taken for another
 * type; and unless a page says otherwise, it may load nothing.
 */
const always = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
};

export function sendReply(response: ServerResponse, { status = 200, headers = {}, body }: Reply): void {
  const plain = typeof body === 'string' || body instanceof Uint8Array;
  if (!plain && 'pipe' in body) {
    response.writeHead(status, { ...always, ...headers });
    body.once('error', () => response.destroy());
    response.once('close', () => body.destroy());
    if (response.req.method !== 'HEAD') {
      body.pipe(response);
      return;
    }
    // It would go on being filled.
    body.destroy();
    response.end();
    return;
  }
  const bytes = Buffer.from(plain ? body : `${JSON.stringify(body)}\n`);
  const type = plain ? 'text/plain; charset=utf-8' : 'application/json; charset=utf-8';
  response.writeHead(status, {
    ...always,
    'content-type': type,
    'content-length': bytes.length,
    ...headers,
  });
  response.end(bytes);
}
