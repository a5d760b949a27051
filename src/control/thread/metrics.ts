import { gauge } from '../../metrics.ts';
import type { Collected } from '../collected.ts';
import type { HeartbeatReader } from '../heartbeat.ts';
import type { MainMethods } from '../protocol.ts';
import { NoAnswerError, RemoteError, type Rpc } from '../rpc.ts';
import type { Reply } from './reply.ts';
import type { Ask } from './routes.ts';
import type { ControlPlane } from './server.ts';

/** How long the main loop may take before a scrape is answered with what it said last. */
const LIMIT_MS = 1_000;

/** What the main thread has told. */
export interface Collection {
  readonly collected: Collected;
  /** By this thread's `performance`. */
  readonly at: number;
}

const none: Collection = { collected: { at: 0, families: [] }, at: 0 };

/** For Prometheus: fresh, or, while the main loop is blocked, what there was last, and how old that is. */
export async function metrics({ samples }: ControlPlane, { request: { headers } }: Ask): Promise<Reply> {
  const { expose } = await import('./exposition.ts');
  const { collected, at } = await samples.metrics();
  const stale = collected === none.collected ? Number.NaN : Math.max(0, performance.now() - at) / 1_000;
  const format = headers.accept?.includes('application/openmetrics-text') ? 'openmetrics' : 'prometheus';
  const { contentType, body } = await expose(collected, format, [
    gauge(
      'bosun_scrape_stale_seconds',
      "How old the main thread's metrics are; NaN: it has never told any.",
      stale,
    ),
  ]);
  return { headers: { 'content-type': contentType }, body };
}

/** What there is now, or, when the main loop is blocked, `last`. */
export async function collect(
  main: Rpc<MainMethods>,
  heartbeat: HeartbeatReader,
  last = none,
): Promise<Collection> {
  if (heartbeat.blockedMs <= LIMIT_MS) {
    try {
      const collected = await main.call('collect', undefined, { timeoutMs: LIMIT_MS });
      return { collected, at: performance.now() };
    } catch (thrown) {
      // It is blocked, or has failed and logged why: what it said last tells more than an error.
      if (!(thrown instanceof NoAnswerError || thrown instanceof RemoteError)) throw thrown;
    }
  }
  return last;
}
