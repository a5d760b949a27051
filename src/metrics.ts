/** The labels of a sample: few, and each with few values: never an id, a path or a message. */
export type Labels = Readonly<Record<string, string>>;

/** One value. */
export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
}

/** How many observations were at most each bound. */
export interface HistogramSample {
  readonly labels?: Labels;
  /** Ascending upper bounds. */
  readonly bounds: readonly number[];
  /** How many observations fell into each: above the bound before it. One more than `bounds`, for those above all. */
  readonly counts: readonly number[];
  /** Of all observations. */
  readonly sum: number;
}

/**
 * What is measured under one name, as Prometheus has it: base units (seconds, bytes) in the name, `_total` at the
 * end of a counter's (https://prometheus.io/docs/practices/naming).
 */
export type Metric =
  | {
      readonly name: string;
      readonly help: string;
      /** A counter only grows while the service lives, also over its restarts. */
      readonly type: 'counter' | 'gauge';
      readonly samples: readonly Sample[];
    }
  | {
      readonly name: string;
      readonly help: string;
      readonly type: 'histogram';
      readonly samples: readonly HistogramSample[];
    };

/** A counter: `counter('app_orders_total', 'Orders taken.', this.#orders)`; with labels, of several samples. */
export const counter = (name: string, help: string, of: number | readonly Sample[]): Metric => ({
  name,
  help,
  type: 'counter',
  samples: typeof of === 'number' ? [{ value: of }] : of,
});

/** A gauge, as `counter`. */
export const gauge = (name: string, help: string, of: number | readonly Sample[]): Metric => ({
  name,
  help,
  type: 'gauge',
  samples: typeof of === 'number' ? [{ value: of }] : of,
});

/** Samples of what has ended, by how, in the label `outcome`. @internal */
export const outcomes = (labels: Labels, done: number, errors: number, cancelled: number): Sample[] => [
  { labels: { ...labels, outcome: 'done' }, value: done },
  { labels: { ...labels, outcome: 'error' }, value: errors },
  { labels: { ...labels, outcome: 'cancelled' }, value: cancelled },
];

/** A histogram, of samples that `Histogram` gives. */
export const histogram = (name: string, help: string, of: readonly HistogramSample[]): Metric => ({
  name,
  help,
  type: 'histogram',
  samples: of,
});

/** Upper bounds for durations of requests, in seconds: prom-client's default ones. */
export const DURATION_BOUNDS: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Counts observations by size. */
export class Histogram {
  readonly bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  /** `bounds` ascend. */
  constructor(bounds: readonly number[] = DURATION_BOUNDS) {
    this.bounds = bounds;
    this.#counts = new Array(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    const { bounds } = this;
    let index = 0;
    while (index < bounds.length && value > (bounds[index] as number)) index++;
    this.#counts[index] = (this.#counts[index] as number) + 1;
    this.#sum += value;
  }

  sample(labels?: Labels): HistogramSample {
    const { bounds } = this;
    const rest = { bounds, counts: [...this.#counts], sum: this.#sum };
    return labels === undefined ? rest : { labels, ...rest };
  }
}
