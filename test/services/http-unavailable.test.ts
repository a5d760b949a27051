import { DeadlineError, entrypoint, type Scope } from 'bosun';
import { type Application, HttpService } from 'bosun/services/http';
import Fastify from 'fastify';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';

class Busy extends Error {
  readonly retryAfterMs: unknown;

  constructor(retryAfterMs: unknown) {
    super('not now');
    this.retryAfterMs = retryAfterMs;
  }
}

const errors: Readonly<Record<string, () => unknown>> = {
  '/short': () => new Busy(20),
  '/long': () => new Busy(1_500),
  '/deadline': () => new DeadlineError(100),
  '/unknown': () => new Busy(undefined),
  '/endless': () => new Busy(Number.POSITIVE_INFINITY),
  '/own': () => Object.assign(new Busy(1_500), { statusCode: 429 }),
  '/broken': () => new Error('broken'),
  '/null': () => null,
};

const fail = (path = '') => {
  throw errors[path]?.();
};

const kinds: Readonly<Record<string, () => Application>> = {
  fastify: () => {
    const app = Fastify();
    app.get('/*', async (request) => fail(request.url));
    return app;
  },
  fetch: () => ({ fetch: async (request) => fail(new URL(request.url).pathname) }),
  listener: () => (request) => fail(request.url),
  'asynchronous listener': () => async (request) => fail(request.url),
};

class Api extends HttpService {
  readonly lines: { readonly level: number; readonly msg: string }[] = [];
  readonly #create: () => Application;

  constructor(create: () => Application) {
    super({ port: 0 });
    this.#create = create;
  }

  override start(scope: Scope): Promise<void> {
    const write = (line: string) => void this.lines.push(JSON.parse(line));
    return super.start({ ...scope, log: pino({}, { write }) });
  }

  protected override createApplication() {
    return this.#create();
  }
}

describe.each(Object.keys(kinds))('an error in a %s application', (kind) => {
  it.each([
    ['/short', 503, '1'],
    ['/long', 503, '2'],
    ['/deadline', 503, '1'],
    ['/unknown', 500, null],
    ['/endless', 500, null],
    ['/broken', 500, null],
  ])('%s is answered %d, Retry-After %s', async (path, status, retryAfter) => {
    const api = new Api(kinds[kind] as () => Application);
    await using _daemon = await entrypoint([api], { log: { level: 'silent' }, ownsProcess: false });
    const response = await fetch(`${api.addresses[0]}${path}`);
    expect(response.status).toBe(status);
    expect(response.headers.get('retry-after')).toBe(retryAfter);
    expect(response.headers.get('x-request-id')).toBeTruthy();
    expect(await response.json()).toMatchObject({ statusCode: status });
    const worst = Math.max(...api.lines.map(({ level }) => level));
    expect(worst).toBe(status === 503 ? 40 : 50);
    if (status === 503) expect(api.lines.at(-1)?.msg).toMatch(`GET ${path} was answered 503: `);
  });
});

it('keeps the status that the error itself asks a Fastify app for', async () => {
  const api = new Api(kinds.fastify as () => Application);
  await using _daemon = await entrypoint([api], { log: { level: 'silent' }, ownsProcess: false });
  const response = await fetch(`${api.addresses[0]}/own`);
  expect(response.status).toBe(429);
});

it('answers 500 when nothing was thrown that could say anything', async () => {
  const api = new Api(kinds.listener as () => Application);
  await using _daemon = await entrypoint([api], { log: { level: 'silent' }, ownsProcess: false });
  expect((await fetch(`${api.addresses[0]}/null`)).status).toBe(500);
});
