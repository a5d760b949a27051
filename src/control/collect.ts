import { toError } from '../errors.ts';
import { counter, type Metric } from '../metrics.ts';
import type { Service } from '../service.ts';
import type { Host } from '../supervisor/host.ts';
import { subtree } from '../supervisor/tree.ts';
import type { Collected } from './collected.ts';
import { FamilyTable, type Fault } from './family-table.ts';
import { HeapMetrics } from './heap-metrics.ts';
import type { LoopMeter } from './loop-meter.ts';
import { policyMetrics } from './policy-metrics.ts';
import { supervisionMetrics } from './supervision-metrics.ts';
import { workerMetrics } from './worker-metrics.ts';

export type { Collected } from './collected.ts';

type Reason = Fault | 'threw';

/** Collects the metrics of the main thread. Watches the heap until it is closed. */
export class Collector {
  readonly #host: Host;
  readonly #loop: LoopMeter;
  readonly #heap = new HeapMetrics();
  /** What was dropped so far, by service and reason. */
  readonly #faults = new Map<string, { readonly service: string; readonly reason: Reason; count: number }>();

  #failed = false;

  constructor(host: Host, loop: LoopMeter) {
    this.#host = host;
    this.#loop = loop;
  }

  /**
   * All there is to tell. A service whose `metrics()` throws, or gives what cannot be shown, loses that; it is counted
   * each time and logged the first time.
   *
   * @throws what fails in Bosun itself; the first time it is logged, too, as nobody else shows it.
   */
  collect(): Collected {
    try {
      return this.#collect();
    } catch (thrown) {
      const { loggerFor, root } = this.#host;
      if (!this.#failed)
        loggerFor(root.name).error({ err: toError(thrown) }, 'no metrics could be collected');
      this.#failed = true;
      throw thrown;
    }
  }

  #collect(): Collected {
    const { clock, control, root, workers } = this.#host;
    const services = subtree(root).slice(1);
    this.#forgetAllBut(services);
    const table = new FamilyTable((service, fault, metric, count) =>
      this.#dropped(service, fault, metric, count),
    );
    const loop = this.#loop.metrics();
    table.addUnlimited(supervisionMetrics(control));
    table.add([...loop, ...this.#heap.metrics(), ...workerMetrics(workers), ...policyMetrics()]);
    // A stall detector has those of the loop, too.
    const known = new Set(loop.map(({ name }) => name));
    for (const service of services) {
      try {
        const metrics = service.metrics().filter(({ name }) => !known.has(name));
        table.add(metrics, service.name);
      } catch (thrown) {
        this.#dropped(service.name, 'threw', toError(thrown), 1);
      }
    }
    table.addUnlimited([this.#errors()]);
    return { at: clock.now(), families: table.families };
  }

  close(): void {
    this.#heap.close();
  }

  /** What a service has lost ends with it; its name may be another's one day. */
  #forgetAllBut(services: readonly Service[]): void {
    if (this.#faults.size === 0) return;
    const names = new Set(['', ...services.map(({ name }) => name)]);
    for (const [key, { service }] of this.#faults) if (!names.has(service)) this.#faults.delete(key);
  }

  #dropped(service: string, reason: Reason, what: string | Error, count: number): void {
    const key = `${service} ${reason}`;
    const fault = this.#faults.get(key);
    if (fault !== undefined) {
      fault.count += count;
      return;
    }
    this.#faults.set(key, { service, reason, count });
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
