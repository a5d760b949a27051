import type { HistogramSample, Labels, Metric, Sample } from '../metrics.ts';
import type { Family } from './collected.ts';

/** How many samples one service may have of one family. */
const MAX_SAMPLES = 1_000;
/** How many families there may be before a service adds one. */
const MAX_FAMILIES = 1_000;
/** How many lines all of them together may come to; a histogram's sample is written as one for each bound, and three. */
const MAX_LINES = 50_000;
/** How many sets of label names and bounds the samples of one family may have. */
const MAX_GROUPS = 16;
const MAX_LABELS = 32;
const MAX_BOUNDS = 100;
/** How long a label's value may be. */
const MAX_LABEL_LENGTH = 1_024;

/** What Bosun adds after the services have told theirs; and all that begins with `process_`. */
const reserved: ReadonlySet<string> = new Set([
  'bosun_build_info',
  'bosun_metrics_errors_total',
  'bosun_scrape_stale_seconds',
]);

/**
 * Why something was dropped: its name, labels or values cannot be shown; it clashes with another family, or another
 * service gives the same one a different type or help; there were too many.
 */
export type Fault = 'invalid' | 'conflict' | 'limit';

interface Group {
  readonly labelNames: readonly string[];
  readonly bounds: readonly number[] | undefined;
  readonly labels: string[];
  readonly values: number[];
}

interface Entry {
  readonly help: string;
  readonly type: Metric['type'];
  readonly groups: Group[];
  /** The group of the last sample: the next one is likely to be of it, too. */
  last: Group | undefined;
  /** Whose samples came last, and how many of them there are. */
  owner: string | undefined;
  owned: number;
}

/** Told of what is dropped: how many samples, or metrics, of that name. */
export type OnFault = (service: string, fault: Fault, metric: string, count: number) => void;

/** Families as they are collected, from metrics that may be wrong: what is wrong is dropped and told. */
export class FamilyTable {
  readonly #entries = new Map<string, Entry>();
  /** The names of the samples that the families write, by which two families may clash. */
  readonly #sampleNames = new Set<string>();
  readonly #onFault: OnFault;
  #lines = 0;

  constructor(onFault: OnFault) {
    this.#onFault = onFault;
  }

  /** Adds the metrics of a service, whose name becomes their first label; or of none, without that label. */
  add(metrics: readonly Metric[], service = ''): void {
    for (const metric of metrics) this.#addMetric(metric, service, true);
  }

  /** Adds metrics whose number the daemon's own make bounds: they neither are limited nor count. */
  addUnlimited(metrics: readonly Metric[]): void {
    for (const metric of metrics) this.#addMetric(metric, '', false);
  }

  get families(): Family[] {
    return [...this.#entries].map(([name, { help, type, groups }]) => ({
      name,
      help,
      type,
      groups: groups.map(({ labelNames, labels, bounds, values }) => ({
        labelNames,
        labels,
        ...(bounds === undefined ? {} : { bounds }),
        values: new Float64Array(values),
      })),
    }));
  }

  #addMetric(metric: Metric, service: string, limited: boolean): void {
    const { name, help, samples } = metric;
    const entry = this.#entry(metric, service);
    if (typeof entry === 'string') {
      this.#onFault(service, entry, String(name), 1);
      return;
    }
    if (entry.help !== help) this.#onFault(service, 'conflict', name, 1);
    if (entry.owner !== service) {
      entry.owner = service;
      entry.owned = 0;
    }
    for (let index = 0; index < samples.length; index++) {
      const sample = samples[index] as Sample | HistogramSample;
      if (limited && (entry.owned >= MAX_SAMPLES || this.#lines >= MAX_LINES)) {
        this.#onFault(service, 'limit', name, samples.length - index);
        return;
      }
      const fault = addSample(entry, sample, service);
      if (fault !== undefined) this.#onFault(service, fault, name, 1);
      else if (limited) {
        entry.owned += 1;
        this.#lines += 'bounds' in sample ? sample.bounds.length + 3 : 1;
      }
    }
  }

  #entry({ name, help, type, samples }: Metric, service: string): Entry | Fault {
    if (!Array.isArray(samples)) return 'invalid';
    const known = this.#entries.get(name);
    if (known !== undefined) return known.type === type ? known : 'conflict';
    if (!isMetricName(name) || typeof help !== 'string' || !types.includes(type)) return 'invalid';
    if (service !== '' && this.#entries.size >= MAX_FAMILIES) return 'limit';
    const sampleNames = sampleNamesOf(name, type);
    const isTaken = (sampleName: string) =>
      this.#sampleNames.has(sampleName) || (service !== '' && isReserved(sampleName));
    if (sampleNames.some(isTaken)) return 'conflict';
    for (const sampleName of sampleNames) this.#sampleNames.add(sampleName);
    const entry: Entry = { help, type, groups: [], last: undefined, owner: undefined, owned: 0 };
    this.#entries.set(name, entry);
    return entry;
  }
}

/** Returns what is wrong with the sample; then it is not added. */
function addSample(entry: Entry, sample: Sample | HistogramSample, service: string): Fault | undefined {
  const { labels } = sample;
  const bounds = 'bounds' in sample ? sample.bounds : undefined;
  if (bounds !== undefined && bounds.length > MAX_BOUNDS) return 'limit';
  if (!areValues(entry.type, sample)) return 'invalid';
  const fault = labelFault(labels);
  if (fault !== undefined) return fault;
  const group = groupOf(entry, labels, bounds, service);
  if (typeof group === 'string') return group;
  if (service !== '') group.labels.push(service);
  for (const name in labels) group.labels.push(labels[name] as string);
  if ('bounds' in sample) group.values.push(...sample.counts, sample.sum);
  else group.values.push(sample.value);
  return undefined;
}

function areValues(type: Metric['type'], sample: Sample | HistogramSample): boolean {
  if (!('bounds' in sample)) return type !== 'histogram' && typeof sample.value === 'number';
  const { bounds, counts, sum } = sample;
  return (
    type === 'histogram' &&
    counts.length === bounds.length + 1 &&
    counts.every((count) => typeof count === 'number') &&
    typeof sum === 'number'
  );
}

function labelFault(labels: Labels | undefined): Fault | undefined {
  let count = 0;
  for (const name in labels) {
    if (++count > MAX_LABELS) return 'limit';
    const value = labels[name];
    if (typeof value !== 'string' || value.length > MAX_LABEL_LENGTH) return 'invalid';
  }
  return undefined;
}

/** A fault when no group can have such labels or bounds, or there are too many groups. */
function groupOf(
  entry: Entry,
  labels: Labels | undefined,
  bounds: readonly number[] | undefined,
  service: string,
): Group | Fault {
  const fitting = (group: Group) => fits(group, labels, bounds, service);
  // The next sample is most often like the last one.
  if (entry.last !== undefined && fitting(entry.last)) return entry.last;
  let group = entry.groups.find(fitting);
  if (group === undefined) {
    const labelNames = service === '' ? [] : ['service'];
    for (const name in labels) {
      if (!isLabelName(name) || labelNames.includes(name)) return 'invalid';
      labelNames.push(name);
    }
    if (bounds !== undefined && !areBounds(bounds)) return 'invalid';
    if (entry.groups.length >= MAX_GROUPS) return 'limit';
    group = { labelNames, bounds, labels: [], values: [] };
    entry.groups.push(group);
  }
  entry.last = group;
  return group;
}

/** Whether a sample has the label names, in their order, and the bounds of a group. */
function fits(
  { labelNames, bounds }: Group,
  labels: Labels | undefined,
  sampleBounds: readonly number[] | undefined,
  service: string,
): boolean {
  let index = 0;
  if (service !== '' && labelNames[index++] !== 'service') return false;
  for (const name in labels) if (labelNames[index++] !== name) return false;
  return index === labelNames.length && sameItems(bounds, sampleBounds);
}

/** Whether both have equal items, or there is neither. */
export function sameItems<Item>(a: ArrayLike<Item> | undefined, b: ArrayLike<Item> | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || a.length !== b?.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

const areBounds = (bounds: readonly number[]) =>
  bounds.every((bound, i) => Number.isFinite(bound) && bound > (bounds[i - 1] ?? Number.NEGATIVE_INFINITY));

const types: readonly unknown[] = ['counter', 'gauge', 'histogram'] satisfies Metric['type'][];

/** prom-client keeps metrics by name in a plain object: what that inherits, it takes for one. */
const isMetricName = (name: unknown) =>
  typeof name === 'string' && /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name) && !(name in Object.prototype);

const isReserved = (sampleName: string) => sampleName.startsWith('process_') || reserved.has(sampleName);

/** `le` and `quantile` are the format's own, and so is what begins with `__`. */
const isLabelName = (name: string) =>
  /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) && name !== 'le' && name !== 'quantile';

/** What a family writes, in either format: OpenMetrics has `x_total` as a sample of `x`. */
export function sampleNamesOf(name: string, type: Metric['type']): string[] {
  if (type === 'histogram') return [name, `${name}_bucket`, `${name}_count`, `${name}_sum`];
  if (type === 'gauge') return [name];
  const base = name.replace(/_total$/, '');
  return [base, `${base}_total`];
}
