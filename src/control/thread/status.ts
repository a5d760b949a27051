import type { ControlPlane } from './server.ts';

/** The daemon as the dashboard and the command line show it. */
export function statusOf({ journal, heartbeat }: ControlPlane) {
  const now = Date.now();
  const { phase, services } = journal.status;
  return {
    pid: process.pid,
    node: process.version,
    phase,
    uptimeMs: Math.round(process.uptime() * 1_000),
    blockedMs: Math.round(heartbeat.blockedMs),
    services: services.map(({ since, ...service }) => ({
      ...service,
      sinceMs: since === undefined ? null : Math.max(0, Math.round(now - since)),
      lastError: service.lastError ?? null,
      supervisor: service.supervisor ?? null,
    })),
  };
}
