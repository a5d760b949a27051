import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { currentSignal } from '../../call.ts';
import { answerError } from './answers.ts';
import { ClientGoneError, ResponseError } from './errors.ts';
import type { Incoming, Outgoing } from './messages.ts';
import { requestId } from './request-id.ts';

/** A web-standard application, as Hono and others make it. */
export interface FetchApplication {
  fetch(request: Request): Response | Promise<Response>;
}

/** Answers a request through a web-standard application. Rejects when the application fails. */
export async function serveFetch(
  application: FetchApplication,
  incoming: Incoming,
  outgoing: Outgoing,
): Promise<void> {
  const request = toRequest(incoming, outgoing, currentSignal());
  if (request === undefined) {
    answerError(outgoing, 400);
    return;
  }
  const response: unknown = await application.fetch(request);
  if (!isResponse(response)) throw new ResponseError(response);
  await send(response, outgoing, incoming.method === 'HEAD');
}

/** `undefined` when a Request cannot have such a method, host or target. */
function toRequest(incoming: Incoming, outgoing: Outgoing, signal: AbortSignal): Request | undefined {
  const { method = 'GET', rawHeaders } = incoming;
  const hasBody = method !== 'GET' && method !== 'HEAD' && mayHaveBody(incoming);
  try {
    const headers = new Headers();
    for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
      headers.append(rawHeaders[i] as string, rawHeaders[i + 1] as string);
    }
    headers.set('x-request-id', requestId(incoming));
    return new Request(urlOf(incoming), {
      method,
      headers,
      signal,
      ...(hasBody ? { body: bodyOf(incoming, outgoing), duplex: 'half' } : {}),
    });
  } catch {
    return undefined;
  }
}

function urlOf({ url = '/', headers, socket }: Incoming): string {
  // A proxy's absolute target, or a path; OPTIONS * has no counterpart in a URL.
  if (/^https?:\/\//i.test(url)) return url;
  const scheme = 'encrypted' in socket ? 'https' : 'http';
  return `${scheme}://${headers.host ?? 'localhost'}${url.startsWith('/') ? url : '/'}`;
}

const mayHaveBody = ({ headers }: Incoming) =>
  headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;

/** A request's body as a stream that reads from the socket only as fast as it is read. */
function bodyOf(incoming: Incoming, outgoing: Outgoing): ReadableStream<Uint8Array> {
  let controller: ReadableStreamDefaultController<Uint8Array>;
  const stop = () => {
    incoming.off('data', onData).off('end', onEnd).off('error', onError);
    outgoing.off('close', onAnswered);
  };
  const onData = (chunk: Buffer) => {
    incoming.pause();
    controller.enqueue(chunk);
  };
  const onEnd = () => {
    stop();
    controller.close();
  };
  const onError = (error: Error) => {
    stop();
    controller.error(error);
  };
  // What the application has not read when it has answered would block the connection.
  const onAnswered = () => {
    onError(new DOMException('the response has been sent', 'AbortError'));
    incoming.resume();
  };
  return new ReadableStream<Uint8Array>(
    {
      start(given) {
        controller = given;
        incoming.once('end', onEnd).once('error', onError);
        outgoing.once('close', onAnswered);
      },
      pull() {
        if (incoming.listenerCount('data') === 0) incoming.on('data', onData);
        incoming.resume();
      },
      cancel() {
        stop();
        incoming.resume();
      },
    },
    { highWaterMark: 0 },
  );
}

/** A Response of any realm or package: undici's own is not the global one. */
function isResponse(value: unknown): value is Response {
  return (
    typeof value === 'object' &&
    value !== null &&
    'status' in value &&
    typeof value.status === 'number' &&
    'headers' in value &&
    typeof (value.headers as Headers | undefined)?.forEach === 'function' &&
    'body' in value
  );
}

async function send(response: Response, outgoing: ServerResponse, head: boolean): Promise<void> {
  const headers: string[] = [];
  for (const [name, value] of response.headers) headers.push(name, value);
  outgoing.writeHead(response.status, headers);
  const { body } = response;
  if (body === null || head) {
    outgoing.end();
    await body?.cancel();
    return;
  }
  const reader: ReadableStreamDefaultReader<Uint8Array> = body.getReader();
  const onClose = () => void reader.cancel(new ClientGoneError()).catch(() => {});
  outgoing.once('close', onClose);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || outgoing.destroyed) break;
      if (!outgoing.write(value)) await drained(outgoing);
    }
  } finally {
    outgoing.off('close', onClose);
  }
  outgoing.end();
}

/** Resolves when more can be written, or the connection has closed. */
async function drained(outgoing: ServerResponse): Promise<void> {
  const settled = new AbortController();
  await Promise.race([
    once(outgoing, 'drain', { signal: settled.signal }),
    once(outgoing, 'close', { signal: settled.signal }),
  ]).finally(() => settled.abort());
}
