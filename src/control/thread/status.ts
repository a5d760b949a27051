import { createRequire } from 'node:module';
import { hostname } from 'node:os';
import { basename } from 'node:path';
import type { Status } from '../shown.ts';
import type { ControlPlane } from './plane.ts';
import { holdersOf } from './services.ts';

const { version } = createRequire(import.meta.url)('bosun/package.json') as { readonly version: string };

const name = basename(folder()) || hostname();

/** The working directory, if it is there. */
function folder(): string {
  try {
    return process.cwd();
  } catch {
    return '';
  }
}

/** The daemon as the dashboard and the command line show it. */
export async function statusOf(plane: Omit<ControlPlane, 'streams'>): Promise<Status> {
  const { journal, heartbeat, samples, health, options } = plane;
  const [figures, said] = await Promise.all([samples.process(), health.shown()]);
  const now = Date.now();
  const { phase, services } = journal.status;
  const serving = holdersOf(journal, options.server);
  const has = (type: string) => services.some((service) => service.type === type);
  return {
    name,
    host: hostname(),
    pid: process.pid,
    node: process.version,
    version,
    phase,
    uptimeMs: Math.round(process.uptime() * 1_000),
    blockedMs: Math.round(heartbeat.blockedMs),
    process: figures,
    services: services.map(({ since, ...service }) => {
      const sinceMs = since === undefined ? null : Math.max(0, Math.round(now - since));
      return {
        ...service,
        sinceMs,
        uptimeMs: service.state === 'running' ? sinceMs : null,
        lastError: service.lastError ?? null,
        supervisor: service.supervisor ?? null,
        health: said[service.name] ?? null,
        servesControl: serving.has(service.name),
      };
    }),
    features: {
      memory: has('MemoryTracerService') || journal.memory !== undefined,
      profiler: has('ProfilerService') || journal.profile !== undefined,
      stalls: has('StallDetectorService') || journal.stalls.length > 0,
    },
  };
}
