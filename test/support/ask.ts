import { once } from 'node:events';
import {
  Agent,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request,
} from 'node:http';
import { text } from 'node:stream/consumers';

/** What was answered. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** From the connection on. */
  readonly durationMs: number;
}

/** One request on a connection of its own, with any header; `address` is `http://127.0.0.1:5000` or `unix:/run/a`. */
export async function ask(
  address: string,
  path: string,
  options: {
    readonly method?: string;
    readonly headers?: OutgoingHttpHeaders;
    readonly body?: string;
    readonly agent?: Agent;
  } = {},
): Promise<Answer> {
  const { method = 'GET', headers = {}, body, agent } = options;
  const target = address.startsWith('unix:')
    ? { socketPath: address.slice('unix:'.length) }
    : { host: new URL(address).hostname, port: new URL(address).port };
  const begun = performance.now();
  const own = agent ?? new Agent({ keepAlive: false });
  const sent = request({ ...target, path, method, headers, agent: own });
  sent.end(body);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const received = await text(response);
  return {
    status: response.statusCode as number,
    headers: response.headers,
    body: received,
    durationMs: performance.now() - begun,
  };
}
