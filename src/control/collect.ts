import { toError } from '../errors.ts';
import { counter, type Metric } from '../metrics.ts';
import type { Host } from '../supervisor/host.ts';
import { subtree } from '../supervisor/tree.ts';
import type { Collected } from './collected.ts';
import { FamilyTable, type Fault } from './family-table.ts';
import { HeapMetrics } from './heap-metrics.ts';
import type { LoopMeter } from './loop-meter.ts';
import { policyMetrics } from './policy-metrics.ts';
import { SupervisionMetrics } from './supervision-metrics.ts';
import { workerMetrics } from './worker-metrics.ts';

export type { Collected } from './collected.ts';

type Reason = Fault | 'threw';

/** Collects the metrics of the main thread. Watches the heap until it is closed. */
export class Collector {
  readonly #host: Host;
  readonly #loop: LoopMeter;
  readonly #heap = new HeapMetrics();
  readonly #supervision: SupervisionMetrics;
  /** What was dropped so far, by service and reason. */
  readonly #faults = new Map<string, { readonly service: string; readonly reason: Reason; count: number }>();

  constructor(host: Host, loop: LoopMeter) {
    this.#host = host;
    this.#loop = loop;
    this.#supervision = SupervisionMetrics.of(host.control);
  }

  /**
   * All there is to tell. A service whose `metrics()` throws, or gives what cannot be shown, loses that; it is counted
   * each time and logged the first time. Never throws.
   */
  collect(): Collected {
    const { clock, control, root, workers } = this.#host;
    const table = new FamilyTable((service, fault, metric) => this.#dropped(service, fault, metric));
    const loop = this.#loop.metrics();
    table.add(loop);
    table.add(this.#heap.metrics());
    table.add(this.#supervision.metrics());
    table.add(workerMetrics(workers));
    table.add(policyMetrics());
    for (const info of control.services()) table.add(this.#supervision.metricsOf(info), info.name);
    // A stall detector has those of the loop, too.
    const known = new Set(loop.map(({ name }) => name));
    for (const service of subtree(root).slice(1)) {
      try {
        const metrics = service.metrics().filter(({ name }) => !known.has(name));
        table.add(metrics, service.name);
      } catch (thrown) {
        this.#dropped(service.name, 'threw', toError(thrown));
      }
    }
    table.add([this.#errors()]);
    return { at: clock.now(), families: table.families };
  }

  close(): void {
    this.#heap.close();
  }

  #dropped(service: string, reason: Reason, what: string | Error): void {
    const key = `${service} ${reason}`;
    const fault = this.#faults.get(key);
    if (fault !== undefined) {
      fault.count += 1;
      return;
    }
    this.#faults.set(key, { service, reason, count: 1 });
    const log = this.#host.loggerFor(service);
    if (what instanceof Error) log.error({ err: what }, 'metrics() threw');
    else log.warn({ metric: what, reason }, `metrics were dropped: ${what} (${reason})`);
  }

  #errors(): Metric {
    return counter(
      'bosun_metrics_errors_total',
      'Samples that were dropped, and calls of metrics() that threw.',
      [...this.#faults.values()].map(({ service, reason, count }) => ({
        labels: { service, reason },
        value: count,
      })),
    );
  }
}
