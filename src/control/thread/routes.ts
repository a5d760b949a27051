import { dashboardFile } from './dashboard.ts';
import { logs } from './logs.ts';
import { metrics } from './metrics.ts';
import {
  heapPlan,
  heapSnapshot,
  lastProfile,
  memory,
  reload,
  restart,
  takeHeapSnapshot,
  takeProfile,
} from './operations.ts';
import type { Ask, ControlPlane } from './plane.ts';
import { livez, readyz, startupz } from './probes.ts';
import type { Reply } from './reply.ts';
import { statusOf } from './status.ts';

/** What is offered at one path. */
export interface Route {
  readonly method: 'GET' | 'POST';
  /** The path's parts; `*` stands for any one. */
  readonly path: readonly string[];
  /** What it has begun goes on when the client, or the server, goes. */
  readonly goesOn?: boolean;
  /** Reading it is logged, as an action is. */
  readonly audited?: boolean;
  /** @throws {Refusal} what cannot be served. */
  readonly handle: (plane: ControlPlane, ask: Ask) => Reply | Promise<Reply>;
}

const route = (
  method: Route['method'],
  path: string,
  handle: Route['handle'],
  more: Pick<Route, 'goesOn' | 'audited'> = {},
): Route => ({ method, path: path.split('/').slice(1), handle, ...more });

export const routes: readonly Route[] = [
  route('GET', '/', () => dashboardFile('index.html')),
  route('GET', '/dashboard/*', (_plane, { parameter }) => dashboardFile(parameter)),
  route('GET', '/livez', livez),
  route('GET', '/readyz', readyz),
  route('GET', '/startupz', startupz),
  route('GET', '/metrics', metrics),
  route('GET', '/api/stalls', ({ journal }) => ({ body: journal.stalls.toReversed() })),
  route('GET', '/api/status', async (plane) => ({ body: await statusOf(plane) })),
  route('GET', '/api/stream', ({ streams }, { signal }) => streams.open(signal)),
  route('POST', '/api/services/*/restart', restart, { goesOn: true }),
  route('POST', '/api/reload', reload, { goesOn: true }),
  route('GET', '/api/logs', logs),
  route('GET', '/api/memory', memory),
  route('GET', '/api/profile', lastProfile),
  route('POST', '/api/profile', takeProfile),
  route('GET', '/api/heap-snapshot', heapPlan),
  route('POST', '/api/heap-snapshot', takeHeapSnapshot),
  route('GET', '/api/heap-snapshot/*', heapSnapshot, { audited: true }),
];
