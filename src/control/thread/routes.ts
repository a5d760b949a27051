import type { IncomingMessage } from 'node:http';
import { dashboardFile } from './dashboard.ts';
import { livez, readyz, startupz } from './probes.ts';
import { Refusal, type Reply } from './reply.ts';
import type { ControlPlane } from './server.ts';
import { statusOf } from './status.ts';

/** A request, as a route sees it. */
export interface Ask {
  readonly request: IncomingMessage;
  readonly url: URL;
  /** What stands in the place of `*`. */
  readonly parameter: string;
  /** Aborts when the client goes. */
  readonly signal: AbortSignal;
}

/** What is offered at one path. */
export interface Route {
  readonly method: 'GET' | 'POST';
  /** The path's parts; `*` stands for any one. */
  readonly path: readonly string[];
  /** @throws {Refusal} what cannot be served. */
  readonly handle: (plane: ControlPlane, ask: Ask) => Reply | Promise<Reply>;
}

const route = (method: Route['method'], path: string, handle: Route['handle']): Route => ({
  method,
  path: path.split('/').slice(1),
  handle,
});

export const routes: readonly Route[] = [
  route('GET', '/', () => dashboardFile('index.html')),
  route('GET', '/dashboard/*', (_plane, { parameter }) => dashboardFile(parameter)),
  route('GET', '/livez', livez),
  route('GET', '/readyz', readyz),
  route('GET', '/startupz', startupz),
  route('GET', '/api/status', async (plane) => ({ body: await statusOf(plane) })),
  route('GET', '/api/stream', ({ streams }, { signal }) => streams.open(signal)),
  route('POST', '/api/services/*/restart', restart),
  route('POST', '/api/reload', async ({ main }) => {
    await main.call('reload', undefined);
    return { status: 202, body: {} };
  }),
];

async function restart({ main, journal }: ControlPlane, { parameter, signal }: Ask): Promise<Reply> {
  if (!journal.status.services.some(({ name }) => name === parameter)) {
    throw new Refusal(404, 'ERR_UNKNOWN_SERVICE', `there is no service "${parameter}"`);
  }
  const begun = performance.now();
  await main.call('restart', parameter, { signal });
  return { body: { name: parameter, durationMs: Math.round(performance.now() - begun) } };
}
