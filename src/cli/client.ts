import type { IncomingMessage } from 'node:http';
import type { Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { BosunError, toError } from '../errors.ts';
import { escapeControls } from '../logging/controls.ts';
import { type Address, formatAddress } from '../net/listen.ts';

// An import of its names loads all of them, a fetch client among others: a third of the start.
const { request } = process.getBuiltinModule('node:http');

/** No daemon could be reached: nobody answers, or nobody could say where to look. */
export class NoDaemonError extends BosunError {
  readonly code = 'ERR_NO_DAEMON';
}

/** The daemon has answered with an error. */
export class AnswerError extends BosunError {
  /** The API's: `ERR_UNKNOWN_SERVICE`. */
  readonly code: string;
  readonly status: number;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Where a daemon's control plane is, and how it was found. */
export interface Target {
  readonly address: Address;
  /** For people: `--admin`, `bosun.yaml`. */
  readonly from: string;
  readonly token?: string | undefined;
}

/** How a request is sent, and what its answer has to be. */
export interface RequestOptions {
  /** The media type of the answer; one of another type is not a daemon's. Default: any. */
  readonly type?: string;
  /** How long the answer may take to begin. Default: no limit. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Tells a daemon's answer from anybody else's. */
export type IsWhole<Value> = (answer: Partial<Value>) => boolean;

const JSON_TYPE = 'application/json';
const LINES_TYPE = 'application/x-ndjson';

/** What shows the daemon's state is answered also while the daemon itself is busy. */
const READ_TIMEOUT_MS = 10_000;

/** A client of the control plane. */
export class Client {
  readonly #target: Target;

  constructor(target: Target) {
    this.#target = target;
  }

  /**
   * @param isWhole whether the answer has what is read of it.
   * @throws {NoDaemonError} `ERR_NO_DAEMON`, also when something else than a daemon answers.
   * @throws {AnswerError}
   */
  async get<Value>(path: string, isWhole: IsWhole<Value>, signal?: AbortSignal): Promise<Value> {
    const options = { type: JSON_TYPE, timeoutMs: READ_TIMEOUT_MS, ...(signal && { signal }) };
    return await this.#json(await this.open('GET', path, options), isWhole);
  }

  /** As `get`; the answer may take as long as what is asked for. */
  async post<Value>(path: string, isWhole: IsWhole<Value>): Promise<Value> {
    return await this.#json(await this.open('POST', path, { type: JSON_TYPE }), isWhole);
  }

  /** The lines of an answer, as they come. */
  async *lines(path: string): AsyncGenerator<string> {
    const answer = await this.open('GET', path, { type: LINES_TYPE, timeoutMs: READ_TIMEOUT_MS });
    try {
      let begun = '';
      for await (const chunk of answer.setEncoding('utf8')) {
        const lines = `${begun}${chunk}`.split('\n');
        begun = lines.pop() ?? '';
        yield* lines;
      }
      if (begun !== '') yield begun;
    } catch (thrown) {
      throw answer.complete ? thrown : this.#gone();
    } finally {
      answer.destroy();
    }
  }

  /** Writes an answer's body; `onBytes` is told how much has come. Gives the number of bytes. */
  async save(answer: IncomingMessage, file: Writable, onBytes: (bytes: number) => void): Promise<number> {
    let bytes = 0;
    answer.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      onBytes(bytes);
    });
    try {
      await pipeline(answer, file);
    } catch (thrown) {
      // What went wrong with one of them is told of both; only the file is written to.
      throw (thrown as NodeJS.ErrnoException).syscall === 'write' ? thrown : this.#gone();
    }
    return bytes;
  }

  /**
   * The answer, its body unread.
   *
   * @throws {NoDaemonError} `ERR_NO_DAEMON`
   * @throws {AnswerError}
   */
  async open(method: 'GET' | 'POST', path: string, options: RequestOptions = {}): Promise<IncomingMessage> {
    const answer = await this.#send(method, path, options);
    answer.on('error', () => {});
    const status = answer.statusCode ?? 0;
    if (status >= 200 && status < 300) {
      const type = answer.headers['content-type'] ?? 'of no type';
      if (options.type === undefined || type.split(';', 1)[0] === options.type) return answer;
      answer.destroy();
      throw this.#stranger(`the answer is ${escapeControls(type)}`);
    }
    throw await this.#failure(status, await text(answer).catch(() => ''));
  }

  async #json<Value>(answer: IncomingMessage, isWhole: IsWhole<Value>): Promise<Value> {
    const body = await text(answer).catch(() => {
      throw this.#gone();
    });
    const value = parsed(body);
    if (typeof value === 'object' && value !== null && isWhole(value)) return value as Value;
    throw this.#stranger('the answer is not what a daemon says');
  }

  #send(method: string, path: string, { timeoutMs, signal }: RequestOptions): Promise<IncomingMessage> {
    const { address, token } = this.#target;
    const where = address.path === undefined ? address : { socketPath: address.path };
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    return new Promise((resolve, reject) => {
      const sent = request({ ...where, method, path, headers, signal, agent: false });
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => sent.destroy(new Error(`no answer within ${timeoutMs / 1_000} s`)), timeoutMs);
      sent.once('error', (error) => {
        clearTimeout(timer);
        reject(this.#unreachable(error));
      });
      sent.once('response', (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      sent.end();
    });
  }

  get #where(): string {
    const { address, from } = this.#target;
    return `${formatAddress(address, 'http')} (from ${from})`;
  }

  #unreachable(cause: Error): NoDaemonError {
    const message = `no daemon answers at ${this.#where}: ${whyUnreachable(cause)}`;
    return new NoDaemonError(message, { cause });
  }

  #stranger(why: string): NoDaemonError {
    return new NoDaemonError(`no Bosun daemon answers at ${this.#where}: ${why}`);
  }

  #gone(): NoDaemonError {
    return new NoDaemonError(`the daemon at ${this.#where} has closed the connection`);
  }

  #failure(status: number, body: string): AnswerError | NoDaemonError {
    const answer = parsed(body) as Readonly<Record<string, unknown>> | null | undefined;
    const { error: code, message } = answer ?? {};
    if (typeof code !== 'string' || typeof message !== 'string') {
      return this.#stranger(`the answer was ${status}`);
    }
    const said = escapeControls(message);
    switch (status) {
      case 401: {
        const why = this.#target.token === undefined ? 'it wants a token' : 'the token is not the right one';
        return new AnswerError(
          status,
          code,
          `the daemon at ${this.#where} does not let us in: ${why} (--token-file <file>, or BOSUN_ADMIN_TOKEN)`,
        );
      }
      case 421:
        return new AnswerError(status, code, `the daemon at ${this.#where} refuses this name: ${said}`);
      default:
        return new AnswerError(status, code, said);
    }
  }
}

function whyUnreachable(cause: Error): string {
  switch ((cause as NodeJS.ErrnoException).code) {
    case 'ECONNREFUSED':
      return 'nobody listens there (is the daemon running?)';
    case 'ENOENT':
      return 'there is no such socket (is the daemon running?)';
    case 'EACCES':
    case 'EPERM':
      return "no permission (are you the daemon's user?)";
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'the host name cannot be resolved';
    case 'ECONNRESET':
      return 'the connection was closed before the answer';
    default:
      return toError(cause).message;
  }
}

/** What a JSON text says; `undefined` when it is none. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
