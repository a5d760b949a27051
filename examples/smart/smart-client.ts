import type { IncomingHttpHeaders } from 'node:http';
import { currentSignal } from 'bosun';
import { backoff, type Policy, TimeoutError } from 'bosun/policy';
import { request } from 'undici';

/** What an upstream has answered, whole. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface Outgoing {
  readonly method: string;
  readonly headers?: IncomingHttpHeaders;
  readonly body?: Buffer;
}

/** The upstream has answered that it may be able to later; `headers` may say when. */
class NotNow extends Error {
  readonly answer: Answer;
  readonly headers: IncomingHttpHeaders;

  constructor(answer: Answer) {
    super(`the upstream answered ${answer.status}`);
    this.answer = answer;
    this.headers = answer.headers;
  }
}

const NOT_NOW = new Set([429, 502, 503, 504]);
/** Sending these twice does no harm: RFC 9110, 9.2.2. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);
const NETWORK = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET', 'UND_ERR_CONNECT_TIMEOUT']);

const mayPass = (error: unknown) =>
  error instanceof NotNow || NETWORK.has(String((error as { code?: unknown }).code));

/**
 * Asks an upstream, and asks again while it says "not now" or cannot be reached, for `limitMs` at most. Whatever
 * else it answers, 401 and 403 included, is its answer; and when the time is over, so is what it said last.
 */
export class SmartClient {
  readonly #untilAnswered: Policy;

  constructor(limitMs: number) {
    this.#untilAnswered = backoff({
      attemptTimeoutMs: limitMs / 3,
      deadlineMs: limitMs,
      pauseMs: 50,
      maxPauseMs: 1_000,
      retryOn: mayPass,
    });
  }

  async request(url: string | URL, outgoing: Outgoing): Promise<Answer> {
    const ask = () => askOnce(url, outgoing);
    try {
      return await (IDEMPOTENT.has(outgoing.method) ? this.#untilAnswered.run(ask) : ask());
    } catch (error) {
      if (error instanceof NotNow) return error.answer;
      if (error instanceof TimeoutError) return gatewayAnswer(504, 'the upstream does not answer');
      if (mayPass(error)) return gatewayAnswer(502, 'the upstream cannot be reached');
      throw error;
    }
  }
}

async function askOnce(url: string | URL, { method, headers = {}, body }: Outgoing): Promise<Answer> {
  const response = await request(url, { method, headers, body: body ?? null, signal: currentSignal() });
  const answer = {
    status: response.statusCode,
    headers: response.headers,
    body: Buffer.from(await response.body.arrayBuffer()),
  };
  if (NOT_NOW.has(answer.status)) throw new NotNow(answer);
  return answer;
}

function gatewayAnswer(status: number, message: string): Answer {
  const body = Buffer.from(JSON.stringify({ error: message }));
  return { status, headers: { 'content-type': 'application/json' }, body };
}
