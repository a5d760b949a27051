import { createRequire } from 'node:module';
import { hostname } from 'node:os';
import { basename } from 'node:path';
import type { Samples } from './samples.ts';
import type { ServerParts } from './server.ts';

const { version } = createRequire(import.meta.url)('bosun/package.json') as { readonly version: string };

/** The daemon as the dashboard and the command line show it. */
export async function statusOf({ journal, heartbeat, samples }: ServerParts & { readonly samples: Samples }) {
  const [figures, health] = await Promise.all([samples.process(), samples.health()]);
  const now = Date.now();
  const { phase, services } = journal.status;
  const has = (type: string) => services.some((service) => service.type === type);
  return {
    /** The folder that it was started in. */
    name: basename(process.cwd()) || hostname(),
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
        health: health[service.name] ?? null,
      };
    }),
    features: {
      memory: has('MemoryTracerService') || journal.memory !== undefined,
      profiler: has('ProfilerService') || journal.profile !== undefined,
      stalls: has('StallDetectorService') || journal.stalls.length > 0,
    },
  };
}

/** What `GET /api/status` gives. */
export type Status = Awaited<ReturnType<typeof statusOf>>;
