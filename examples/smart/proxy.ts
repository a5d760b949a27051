import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { durationMs } from 'bosun';
import { HttpService } from 'bosun/services/http';
import { z } from 'zod';
import { SmartClient } from './smart-client.ts';

/** Those of one connection, not of the message: RFC 9110, 7.6.1. The length is that of the body at hand. */
const OF_CONNECTION = new Set([
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

const passedOn = (headers: IncomingHttpHeaders): IncomingHttpHeaders =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !OF_CONNECTION.has(name)));

/** Passes every request on to an upstream that may be busy, and spares its clients the retries. */
export class SmartProxy extends HttpService.extend({
  upstream: z.url({ protocol: /^https?$/ }),
  retryForMs: durationMs().default(3_000),
}) {
  protected override createApplication() {
    const { upstream, retryForMs } = this.options;
    const client = new SmartClient(retryForMs);
    return async (request: IncomingMessage, response: ServerResponse) => {
      const body = await buffer(request);
      const answer = await client.request(new URL(request.url ?? '/', upstream), {
        method: request.method ?? 'GET',
        headers: passedOn(request.headers),
        ...(body.length > 0 && { body }),
      });
      response.writeHead(answer.status, {
        ...passedOn(answer.headers),
        'content-length': answer.body.length,
      });
      response.end(answer.body);
    };
  }
}
