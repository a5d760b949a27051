import { type Entrypoint, entrypoint, type Scope, Service } from 'bosun';
import { PostgresService } from 'bosun/services/postgres';
import { Catalogue } from '../../examples/catalogue/catalogue.ts';
import { Summary } from '../../examples/catalogue/summary.ts';
import { Heartbeat } from '../../src/control/heartbeat.ts';
import { LoopMeter } from '../../src/control/loop-meter.ts';
import { acquireWatcher } from '../../src/control/watcher.ts';
import { hostOf } from '../../src/supervisor/run.ts';

/**
 * The API of the reference daemon, to which the parent process adds what watches it, and takes it away again: two
 * processes of the same code differ by more than what is to be measured.
 */
const database = new PostgresService({ url: process.env.DATABASE_URL ?? '' });
const summary = new Summary({ database, intervalMs: 10_000 });
const api = new Catalogue({ host: '127.0.0.1', port: 0, deadlineMs: 5_000, database, summary });
const daemon: Entrypoint = await entrypoint([database, summary, api], { log: { level: 'warn' } });

/** Keeps the watcher thread running between the times in which something needs it. */
class Warm extends Service {
  override start(scope: Scope): void {
    const lease = acquireWatcher(hostOf(scope), (error) => scope.fail(error));
    scope.defer(() => lease.release());
  }
}

/** The thread that is kept has its heartbeat all the time: with this one, one more than without is counted. */
class Beat extends Service {
  override start(scope: Scope): void {
    const heartbeat = new Heartbeat();
    scope.defer(() => heartbeat[Symbol.dispose]());
    new LoopMeter(heartbeat);
  }
}
await daemon.add(new Warm());

const watchers: Readonly<Record<string, () => Promise<Service[]>>> = {
  async nothing() {
    return [];
  },
  async 'memory tracer'() {
    const { MemoryTracerService } = await import('bosun/services/memory-tracer');
    return [new MemoryTracerService()];
  },
  async profiler() {
    const { ProfilerService } = await import('bosun/services/profiler');
    return [new ProfilerService()];
  },
  async 'memory tracer, 16 times the samples'() {
    const { MemoryTracerService } = await import('bosun/services/memory-tracer');
    return [new MemoryTracerService({ samplingBytes: 64 * 1_024 })];
  },
  async 'memory tracer, 60 times the reports'() {
    const { MemoryTracerService } = await import('bosun/services/memory-tracer');
    return [new MemoryTracerService({ intervalMs: 1_000 })];
  },
  async 'profiler, 3 times the samples'() {
    const { ProfilerService } = await import('bosun/services/profiler');
    return [new ProfilerService({ hertz: 500 })];
  },
  async 'stall detector and control plane'() {
    const { AdminService } = await import('bosun/services/admin');
    const { StallDetectorService } = await import('bosun/services/stall-detector');
    return [new AdminService({ port: 0 }), new StallDetectorService(), new Beat()];
  },
  async all() {
    const groups = ['memory tracer', 'profiler', 'stall detector and control plane'];
    return (await Promise.all(groups.map((name) => watchers[name]?.() ?? []))).flat();
  },
};

let current: Service[] = [];

/** What the API has answered so far, and the processor time of the whole process. */
export interface Counts {
  readonly requests: number;
  readonly cpuMicros: number;
}

function counts(): Counts {
  const { user, system } = process.cpuUsage();
  return { requests: api.statistics.requests, cpuMicros: user + system };
}

/** Tells the parent what was counted; or, when it is done, where the control plane is. */
process.on('message', async (name: string) => {
  if (name === 'count') {
    process.send?.(counts());
    return;
  }
  for (const service of current) await daemon.remove(service.name);
  current = (await watchers[name]?.()) ?? [];
  for (const service of current) await daemon.add(service);
  const admin = daemon.services.find((service) => service.name === 'admin');
  process.send?.({ watched: name, admin: admin?.addresses[0] });
});
// It ends with its signal, not with its parent's pipe.
process.channel?.unref();
console.log(`LISTENING ${new URL(api.addresses[0] as string).port}`);
