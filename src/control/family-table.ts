import type { HistogramSample, Labels, Metric, Sample } from '../metrics.ts';
import type { Family } from './collected.ts';

/** How many samples one service may have of one family. */
export const MAX_SAMPLES = 1_000;
/** How long a label's value may be. */
const MAX_LABEL_LENGTH = 1_024;

/**
 * Why samples were dropped: their name, labels or values cannot be shown; another service gives the family a different
 * type or help; they were more than `MAX_SAMPLES`.
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

/** What is wrong with a sample or family: never leaves the table. */
class Refusal {
  readonly fault: Fault;
  constructor(fault: Fault) {
    this.fault = fault;
  }
}

const invalid = new Refusal('invalid');
const conflict = new Refusal('conflict');

/** Families as they are collected, from metrics that may be wrong: what is wrong is dropped and told. */
export class FamilyTable {
  readonly #entries = new Map<string, Entry>();
  /** The names of the samples that the families write, by which two families may clash. */
  readonly #sampleNames = new Map<string, string>();
  readonly #onFault: (service: string, fault: Fault, metric: string) => void;

  constructor(onFault: (service: string, fault: Fault, metric: string) => void) {
    this.#onFault = onFault;
  }

  /** Adds the metrics of a service, whose name becomes their first label; of none, without that label. */
  add(metrics: readonly Metric[], service?: string): void {
    for (const metric of metrics) this.#addMetric(metric, service);
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
        values: Float64Array.from(values),
      })),
    }));
  }

  #addMetric(metric: Metric, service: string | undefined): void {
    const entry = this.#entry(metric);
    if (entry instanceof Refusal) {
      this.#onFault(service ?? '', entry.fault, String(metric.name));
      return;
    }
    if (entry.help !== metric.help) this.#onFault(service ?? '', 'conflict', metric.name);
    if (entry.owner !== service) {
      entry.owner = service;
      entry.owned = 0;
    }
    for (const sample of metric.samples) {
      const fault =
        entry.owned >= MAX_SAMPLES ? 'limit' : addSample(entry, sample, service) ? undefined : 'invalid';
      if (fault === undefined) entry.owned += 1;
      else this.#onFault(service ?? '', fault, metric.name);
    }
  }

  #entry({ name, help, type }: Metric): Entry | Refusal {
    const known = this.#entries.get(name);
    if (known !== undefined) return known.type === type ? known : conflict;
    if (!isMetricName(name) || typeof help !== 'string' || !isType(type)) return invalid;
    const sampleNames = sampleNamesOf(name, type);
    if (sampleNames.some((sampleName) => this.#sampleNames.has(sampleName))) return conflict;
    for (const sampleName of sampleNames) this.#sampleNames.set(sampleName, name);
    const entry: Entry = { help, type, groups: [], last: undefined, owner: undefined, owned: 0 };
    this.#entries.set(name, entry);
    return entry;
  }
}

/** Returns whether the sample is as it should be. */
function addSample(entry: Entry, sample: Sample | HistogramSample, service: string | undefined): boolean {
  const { labels } = sample;
  const bounds = 'bounds' in sample ? sample.bounds : undefined;
  if (!isValue(entry.type, sample)) return false;
  let group = entry.last;
  if (group === undefined || !fits(group, labels, bounds, service)) {
    group = entry.groups.find((other) => fits(other, labels, bounds, service)) ?? newGroup(sample, service);
    if (group === undefined) return false;
    if (group.values.length === 0) entry.groups.push(group);
    entry.last = group;
  }
  for (const name in labels) {
    const value = labels[name];
    if (typeof value !== 'string' || value.length > MAX_LABEL_LENGTH) return false;
  }
  if (service !== undefined) group.labels.push(service);
  for (const name in labels) group.labels.push(labels[name] as string);
  if ('bounds' in sample) {
    for (const count of sample.counts) group.values.push(count);
    group.values.push(sample.sum);
  } else {
    group.values.push(sample.value);
  }
  return true;
}

function isValue(type: Metric['type'], sample: Sample | HistogramSample): boolean {
  if (type !== 'histogram') return 'value' in sample && typeof sample.value === 'number';
  return (
    'bounds' in sample &&
    sample.counts.length === sample.bounds.length + 1 &&
    sample.counts.every((count) => typeof count === 'number') &&
    typeof sample.sum === 'number'
  );
}

/** Whether a sample has the label names, in their order, and the bounds of a group. */
function fits(
  { labelNames, bounds }: Group,
  labels: Labels | undefined,
  sampleBounds: readonly number[] | undefined,
  service: string | undefined,
): boolean {
  let index = 0;
  if (service !== undefined && labelNames[index++] !== 'service') return false;
  for (const name in labels) if (labelNames[index++] !== name) return false;
  return index === labelNames.length && sameNumbers(bounds, sampleBounds);
}

function newGroup(sample: Sample | HistogramSample, service: string | undefined): Group | undefined {
  const bounds = 'bounds' in sample ? sample.bounds : undefined;
  const own = Object.keys(sample.labels ?? {});
  if (bounds?.some((bound, i) => !(bound > (bounds[i - 1] ?? Number.NEGATIVE_INFINITY))) === true)
    return undefined;
  if (!own.every((name) => isLabelName(name) && (service === undefined || name !== 'service')))
    return undefined;
  const labelNames = service === undefined ? own : ['service', ...own];
  return { labelNames, bounds, labels: [], values: [] };
}

function sameNumbers(a: readonly number[] | undefined, b: readonly number[] | undefined): boolean {
  if (a === b) return true;
  return a?.length === b?.length && a?.every((number, i) => number === b?.[i]) === true;
}

const isMetricName = (name: unknown) => typeof name === 'string' && /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name);

/** `le` and `quantile` are the format's own, and so is what begins with `__`. */
const isLabelName = (name: string) =>
  /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) && name !== 'le' && name !== 'quantile';

const isType = (type: unknown) => type === 'counter' || type === 'gauge' || type === 'histogram';

/** What a family writes, in either format: OpenMetrics has `x_total` as a sample of `x`. */
function sampleNamesOf(name: string, type: Metric['type']): string[] {
  if (type === 'histogram') return [name, `${name}_bucket`, `${name}_count`, `${name}_sum`];
  if (type === 'gauge') return [name];
  const base = name.replace(/_total$/, '');
  return [base, `${base}_total`];
}
