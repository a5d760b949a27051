/** What the main thread tells of its metrics, in a form that is copied to another thread at little cost. */

/** The samples of a family that have the same label names (and bounds). */
export interface SampleGroup {
  readonly labelNames: readonly string[];
  /** Their values, sample after sample. */
  readonly labels: readonly string[];
  /** Of a histogram, ascending: how many observations were at most each. */
  readonly bounds?: readonly number[];
  /**
   * One value per sample. Of a histogram: the number of observations that fell below each bound and above the one
   * before, of those above all, and the sum of all.
   */
  readonly values: Float64Array;
}

/** All samples of one name. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly groups: readonly SampleGroup[];
}

/** The metrics of the main thread at one moment. */
export interface Collected {
  /** When they were collected: the clock's milliseconds since the epoch. */
  readonly at: number;
  readonly families: readonly Family[];
}
