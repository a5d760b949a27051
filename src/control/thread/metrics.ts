import { gauge } from '../../metrics.ts';
import type { Ask, ControlPlane } from './plane.ts';
import type { Reply } from './reply.ts';

let loading: Promise<typeof import('./exposition.ts')> | undefined;

/** What a scrape is written with: it is large, and loaded once. */
export function loadExposition() {
  loading ??= import('./exposition.ts');
  return loading;
}

/** For Prometheus: fresh, or, while the main loop is blocked, what there was last, and how old that is. */
export async function metrics({ samples }: ControlPlane, { request: { headers } }: Ask): Promise<Reply> {
  const { expose } = await loadExposition();
  const { collected, at } = await samples.metrics();
  const stale = Math.max(0, performance.now() - at) / 1_000;
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
