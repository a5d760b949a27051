/**
 * How long an error asks its caller to wait, in ms from `now` on; 0 when it does not say. It says so in
 * `retryAfterMs`, or, in seconds or as a date (RFC 9110, 10.2.3), in `retryAfter` or in the `retry-after` of its
 * `headers`, as the errors of undici have them.
 */
export function retryAfterOf(error: unknown, now: number): number {
  if (typeof error !== 'object' || error === null) return 0;
  const { retryAfterMs, retryAfter, headers } = error as Readonly<Record<string, unknown>>;
  if (isDelay(retryAfterMs)) return retryAfterMs;
  const asked = retryAfter ?? headerOf(headers);
  if (isDelay(asked)) return asked * 1_000;
  if (typeof asked !== 'string') return 0;
  if (/^\s*\d+\s*$/.test(asked)) return Number(asked) * 1_000;
  const at = Date.parse(asked);
  return Number.isNaN(at) ? 0 : Math.max(0, at - now);
}

const isDelay = (value: unknown): value is number => typeof value === 'number' && value >= 0;

const headerOf = (headers: unknown): unknown =>
  headers instanceof Headers
    ? headers.get('retry-after')
    : (headers as Readonly<Record<string, unknown>> | null | undefined)?.['retry-after'];
