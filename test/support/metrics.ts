import { type Scope, Service } from 'bosun';
import { Collector } from '../../src/control/collect.ts';
import { Heartbeat } from '../../src/control/heartbeat.ts';
import { LoopMeter } from '../../src/control/loop-meter.ts';
import { type ExpositionFormat, expose } from '../../src/control/thread/exposition.ts';
import type { Host } from '../../src/supervisor/host.ts';
import { hostOf } from '../../src/supervisor/run.ts';

/** One sample as it was written. */
export interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The text of one scrape, read again. */
export class Scrape {
  readonly contentType: string;
  readonly body: string;
  readonly series: readonly Series[];

  constructor(contentType: string, body: string) {
    this.contentType = contentType;
    this.body = body;
    this.series = body
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map(parse);
  }

  /** The sum of the samples of a name that have these labels, among others; `undefined`: there is none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const found = this.of(name).filter((series) =>
      Object.entries(labels).every(([label, value]) => series.labels[label] === value),
    );
    return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0);
  }

  of(name: string): Series[] {
    return this.series.filter((series) => series.name === name);
  }
}

function parse(line: string): Series {
  const [, name, , inner = '', value] = /^([\w:]+)(\{(.*)\})? (\S+)$/s.exec(line) ?? [];
  if (name === undefined || value === undefined) throw new Error(`not a sample: ${line}`);
  const labels: Record<string, string> = {};
  for (const [, label, text] of inner.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"(?:,|$)/gs)) {
    labels[label as string] = (text as string).replace(/\\(.)/g, (_, char) => (char === 'n' ? '\n' : char));
  }
  return { name, labels, value: value === '+Inf' ? Number.POSITIVE_INFINITY : Number(value) };
}

/** A service that collects the metrics of its daemon, and writes them as the watcher thread does. */
export class Observer extends Service {
  #collector: Collector | undefined;
  #host: Host | undefined;

  override start(scope: Scope): void {
    this.#host = hostOf(scope);
    const heartbeat = new Heartbeat();
    const collector = new Collector(hostOf(scope), new LoopMeter(heartbeat));
    this.#collector = collector;
    scope.defer(() => {
      collector.close();
      heartbeat[Symbol.dispose]();
    });
  }

  get host(): Host {
    if (this.#host === undefined) throw new Error('the observer has not started');
    return this.#host;
  }

  get collector(): Collector {
    if (this.#collector === undefined) throw new Error('the observer has not started');
    return this.#collector;
  }

  async scrape(format: ExpositionFormat = 'prometheus'): Promise<Scrape> {
    // As it is copied to the thread.
    const { contentType, body } = await expose(structuredClone(this.collector.collect()), format);
    return new Scrape(contentType, body);
  }
}
