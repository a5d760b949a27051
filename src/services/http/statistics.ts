import { pathOf } from './answers.ts';
import type { Outgoing } from './messages.ts';
import type { RequestMetrics } from './request-metrics.ts';

/** What a server has done since its service was made; copies. */
export interface HttpStatistics {
  /** Connections open now, without upgraded ones. */
  readonly connections: number;
  /** Requests taken and not answered yet. */
  readonly inFlight: number;
  /** All requests that were taken. */
  readonly requests: number;
  /** Answers by the first digit of their status: `responses[2]` counts 200 to 299. */
  readonly responses: readonly number[];
  /** Requests whose client had gone before the answer was complete. */
  readonly aborted: number;
  /** Connections refused on account of `maxConnections`. */
  readonly dropped: number;
}

/** Counters that outlive a run. */
export interface Counters {
  readonly byRoute: RequestMetrics;
  requests: number;
  responses: number[];
  aborted: number;
  dropped: number;
}

/** How many requests `describeRequests` lists at most. */
const MAX_LISTED = 5;

/** `2 requests in flight: GET /report for 3 s, GET / for 0 s`, the oldest first. */
export function describeRequests(pending: readonly Outgoing[], now: number): string {
  const listed = pending
    .toSorted((a, b) => a.since - b.since)
    .slice(0, MAX_LISTED)
    .map(({ req, since }) => `${req.method} ${pathOf(req)} for ${Math.round((now - since) / 1_000)} s`);
  if (pending.length > MAX_LISTED) listed.push(`${pending.length - MAX_LISTED} more`);
  return `${pending.length} ${pending.length === 1 ? 'request' : 'requests'} in flight: ${listed.join(', ')}`;
}
