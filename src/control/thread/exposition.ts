import { setImmediate as turn } from 'node:timers/promises';
import { type Metric as PromMetric, Registry } from 'prom-client';
import type { Metric } from '../../metrics.ts';
import type { Collected, Family, SampleGroup } from '../collected.ts';
import { FamilyTable, sameItems, sampleNamesOf } from '../family-table.ts';
import { processMetrics } from './process-metrics.ts';

/** Prometheus's text format 0.0.4, or OpenMetrics 1.0. */
export type ExpositionFormat = 'prometheus' | 'openmetrics';

/** What a scrape is answered with. */
export interface Exposition {
  readonly contentType: string;
  readonly body: string;
}

/** So many lines take a millisecond or so; then others have their turn. */
const LINES_PER_TURN = 250;

/** One line, as prom-client formats it. */
interface Line {
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Of a histogram's lines; prom-client formats an object of these once. */
  readonly sharedLabels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A family, and what was written of it. */
interface Written {
  readonly family: Family;
  readonly text: string;
}

/** By name, what the last scrape has written: most families do not change from one to the next. */
const lastWritten: Record<ExpositionFormat, ReadonlyMap<string, Written>> = {
  prometheus: new Map(),
  openmetrics: new Map(),
};

/**
 * The metrics as text: those that were collected, those of the process as they are now, and `own`, what the thread
 * itself has measured. Of two samples with the same name and labels the first one stands, and of two families
 * that clash. Where much is to be written, others have their turn between two families: the probes that the thread
 * answers.
 */
export async function expose(
  { families }: Collected,
  format: ExpositionFormat,
  own: readonly Metric[] = [],
): Promise<Exposition> {
  const openMetrics = format === 'openmetrics';
  const registry = new Registry();
  if (openMetrics) registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never);
  const table = new FamilyTable(() => {});
  table.add([...processMetrics(), ...own]);
  const taken = new Set<string>();
  const last = lastWritten[format];
  const all = new Map<string, Written>();
  let linesInTurn = 0;
  for (const family of [...table.families, ...families]) {
    const names = sampleNamesOf(family.name, family.type);
    if (names.some((name) => taken.has(name))) continue;
    let written = last.get(family.name);
    if (written === undefined || !isSame(written.family, family)) {
      const lines = linesOf(family, openMetrics);
      if (lines.length === 0) continue;
      const metric = metricOf(family, lines, openMetrics);
      registry.registerMetric(metric as unknown as PromMetric);
      written = { family, text: await registry.getSingleMetricAsString(metric.name) };
      linesInTurn += lines.length;
    }
    all.set(family.name, written);
    for (const name of names) taken.add(name);
    if (linesInTurn < LINES_PER_TURN) continue;
    linesInTurn = 0;
    await turn();
  }
  lastWritten[format] = all;
  const texts = [...all.values()].map(({ text }) => text);
  const body = openMetrics ? `${texts.join('\n')}\n# EOF\n` : `${texts.join('\n\n')}\n`;
  return { contentType: registry.contentType, body };
}

/** Whether two families of one name are written alike. */
const isSame = (a: Family, b: Family): boolean =>
  a.type === b.type &&
  a.help === b.help &&
  a.groups.length === b.groups.length &&
  a.groups.every((group, i) => isSameGroup(group, b.groups[i] as SampleGroup));

const isSameGroup = (a: SampleGroup, b: SampleGroup): boolean =>
  sameItems(a.values, b.values) &&
  sameItems(a.labels, b.labels) &&
  sameItems(a.labelNames, b.labelNames) &&
  sameItems(a.bounds, b.bounds);

/**
 * All that a registry needs of a metric; prom-client's types want its own classes and an enum that it does not have.
 * For OpenMetrics it adds `_total` to the samples of a counter, and takes quotation marks in a help as they are.
 */
function metricOf({ name, help, type }: Family, lines: readonly Line[], openMetrics: boolean) {
  return {
    name: openMetrics && type === 'counter' ? name.replace(/_total$/, '') : name,
    help: openMetrics ? help.replaceAll('"', "'") : help,
    type,
    values: lines,
    get() {
      return this;
    },
  };
}

function linesOf({ name, type, groups }: Family, openMetrics: boolean): Line[] {
  const seen = new Set<string>();
  const lines: Line[] = [];
  for (const group of groups) {
    const { bounds, values } = group;
    const parts = type === 'histogram' ? partsOf(name, bounds ?? [], openMetrics) : undefined;
    for (const { key, labels, at } of seriesOf(group)) {
      if (seen.has(key)) continue;
      seen.add(key);
      if (parts === undefined) lines.push({ labels, value: values[at] as number });
      else addHistogram(lines, parts, labels, values, at);
    }
  }
  return lines;
}

interface Series {
  /** The same for the same labels, whatever their order; a label without a value is none. */
  readonly key: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Where its values begin. */
  readonly at: number;
}

function* seriesOf({ labelNames, labels, bounds, values }: SampleGroup): Generator<Series> {
  const width = bounds === undefined ? 1 : bounds.length + 2;
  const sorted = labelNames.toSorted();
  let next = 0;
  for (let at = 0; at < values.length; at += width) {
    const own: Record<string, string> = {};
    for (const name of labelNames) own[name] = labels[next++] as string;
    let key = '';
    for (const name of sorted) if (own[name] !== '') key += `${name}\0${own[name]}\0`;
    yield { key, labels: own, at };
  }
}

/** What the lines of all series of a histogram have in common: they are many. */
type Part = Required<Pick<Line, 'metricName' | 'labels'>>;

function partsOf(name: string, bounds: readonly number[], openMetrics: boolean): Part[] {
  const buckets = [...bounds.map((bound) => showBound(bound, openMetrics)), '+Inf'];
  return [
    ...buckets.map((le) => ({ metricName: `${name}_bucket`, labels: { le } })),
    { metricName: `${name}_sum`, labels: {} },
    { metricName: `${name}_count`, labels: {} },
  ];
}

function addHistogram(
  lines: Line[],
  parts: readonly Part[],
  sharedLabels: Series['labels'],
  values: Float64Array,
  at: number,
): void {
  const sumIndex = parts.length - 2;
  let count = 0;
  for (const [i, { metricName, labels }] of parts.entries()) {
    if (i < sumIndex) count += values[at + i] as number;
    lines.push({
      metricName,
      labels,
      sharedLabels,
      value: i === sumIndex ? (values[at + i] as number) : count,
    });
  }
}

/** OpenMetrics has `1.0` where Prometheus has `1`. */
const showBound = (bound: number, openMetrics: boolean) =>
  openMetrics && Number.isInteger(bound) ? `${bound}.0` : String(bound);
