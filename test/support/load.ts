import { setTimeout as pause } from 'node:timers/promises';
import { Agent, request } from 'undici';

/** One answer, or what came instead of it. */
export interface Answer {
  readonly operation: string;
  /** What `POST /product` was sent. */
  readonly name: string | undefined;
  /** When the request was sent and how long it took, in ms of `performance.now()`. */
  readonly at: number;
  readonly durationMs: number;
  /** 0 when there was none: `error` says why. */
  readonly status: number;
  readonly error: string | undefined;
  readonly retryAfter: string | undefined;
  readonly body: string;
}

/** What is asked, in turn. */
export interface Operation {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: object;
  readonly name?: string;
}

/** Clients that ask one thing after the other, with a short rest in between, until they are stopped. */
export class Load {
  readonly answers: Answer[] = [];
  readonly #origin: string;
  readonly #next: () => Operation;
  /** The client's own bound: nothing may hang that long. */
  readonly #boundMs: number;
  readonly #agent: Agent;
  readonly #clients: Promise<void>[];
  readonly #stop = new AbortController();
  readonly #watchers = new Set<() => void>();

  constructor(origin: string, clients: number, boundMs: number, next: () => Operation) {
    this.#origin = origin;
    this.#next = next;
    this.#boundMs = boundMs;
    this.#agent = new Agent({ connections: clients });
    this.#clients = Array.from({ length: clients }, () => this.#client());
  }

  /** Resolves when the answers since now fulfil the condition; rejects when that takes longer than `limitMs`. */
  async until(condition: (answers: readonly Answer[]) => boolean, limitMs = 8_000): Promise<void> {
    const from = this.answers.length;
    await new Promise<void>((resolve, reject) => {
      const watch = () => {
        const since = this.answers.slice(from);
        if (condition(since)) end(resolve);
      };
      const end = (settle: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(watch);
        settle();
      };
      const timer = setTimeout(() => {
        const last = this.answers.slice(from).slice(-3);
        end(() => reject(new Error(`not within ${limitMs} ms; the last answers: ${JSON.stringify(last)}`)));
      }, limitMs);
      this.#watchers.add(watch);
    });
  }

  /** Lets the requests under way end. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#clients);
    if (!this.#agent.closed) await this.#agent.close();
  }

  async #client(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.answers.push(await this.#ask(this.#next()));
      for (const watch of [...this.#watchers]) watch();
      await pause(5);
    }
  }

  async #ask({ method, path, body, name }: Operation): Promise<Answer> {
    const at = performance.now();
    const operation = `${method} ${path}`;
    const since = () => ({ operation, name, at, durationMs: performance.now() - at });
    try {
      const response = await request(this.#origin + path, {
        method,
        dispatcher: this.#agent,
        signal: AbortSignal.timeout(this.#boundMs),
        ...(body === undefined
          ? {}
          : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      });
      const text = await response.body.text();
      const retryAfter = response.headers['retry-after'] as string | undefined;
      return { ...since(), status: response.statusCode, error: undefined, retryAfter, body: text };
    } catch (error) {
      return { ...since(), status: 0, error: String(error), retryAfter: undefined, body: '' };
    }
  }
}
