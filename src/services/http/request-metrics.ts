import { Histogram, histogram, type Metric } from '../../metrics.ts';

/** What is shown of a request's method: any other is `other`. */
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'other'] as const;
const indexes: ReadonlyMap<string | undefined, number> = new Map(methods.map((method, i) => [method, i]));
const OTHER_METHOD = methods.indexOf('other');

/** The first digit of a status; 0 for one that is none. */
const STATUS_CLASSES = 6;

/** How many combinations of route, method and class of status are told apart; all routes beyond are `other`. */
const MAX_SERIES = 1_000 - methods.length * STATUS_CLASSES;

/**
 * How long requests took, by route, method and class of status. The route is the pattern that the application has for
 * it, never the path; without one it is `unknown`.
 */
export class RequestMetrics {
  readonly #routes = new Map<string, (Histogram | undefined)[]>();
  readonly #others: (Histogram | undefined)[] = [];
  #series = 0;

  record(route: string | undefined, method: string | undefined, status: number, durationMs: number): void {
    const statusClass = Math.trunc(status / 100);
    const index =
      (indexes.get(method) ?? OTHER_METHOD) * STATUS_CLASSES +
      (statusClass < STATUS_CLASSES ? statusClass : 0);
    const durations = this.#routes.get(route ?? 'unknown')?.[index] ?? this.#add(route ?? 'unknown', index);
    durations.observe(durationMs / 1_000);
  }

  metrics(): Metric[] {
    const samples = [...this.#routes, ['other', this.#others] as const].flatMap(([route, byIndex]) =>
      byIndex.flatMap((durations, index) => {
        if (durations === undefined) return [];
        const method = methods[Math.trunc(index / STATUS_CLASSES)] as string;
        return durations.sample({ method, route, status: `${index % STATUS_CLASSES}xx` });
      }),
    );
    return [
      histogram(
        'bosun_http_request_duration_seconds',
        'From the header of a request to the end of its answer; its count is that of the requests answered.',
        samples,
      ),
    ];
  }

  #add(route: string, index: number): Histogram {
    const full = this.#series >= MAX_SERIES;
    const byIndex = full ? this.#others : (this.#routes.get(route) ?? []);
    const known = byIndex[index];
    if (known !== undefined) return known;
    const durations = new Histogram();
    byIndex[index] = durations;
    if (!full) {
      this.#series += 1;
      this.#routes.set(route, byIndex);
    }
    return durations;
  }
}
