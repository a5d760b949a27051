import { toError } from '../../errors.ts';
import type { HealthReport } from '../protocol.ts';
import type { Reply } from './reply.ts';
import type { ControlPlane } from './server.ts';

/** Whether the main loop turns: when it does not, only a restart of the process helps. */
export function livez({ heartbeat, options: { livenessLimitMs } }: ControlPlane): Reply {
  const blockedMs = Math.round(heartbeat.blockedMs);
  const ok = blockedMs <= livenessLimitMs;
  const detail = ok ? undefined : `the main loop has been blocked for ${blockedMs} ms`;
  return { status: ok ? 200 : 503, body: { ok, blockedMs, detail } };
}

/** Whether all services have started. */
export function startupz({ journal }: ControlPlane): Reply {
  const { phase, services } = journal.status;
  const ok = phase !== 'starting';
  return {
    status: ok ? 200 : 503,
    body: { ok, phase, services: services.map(({ name, state }) => ({ name, state })) },
  };
}

/** Whether requests are to come here: all services run, and are well. */
export async function readyz(plane: ControlPlane): Promise<Reply> {
  const { journal, heartbeat } = plane;
  const { phase } = journal.status;
  const health = phase === 'ready' ? await healthOf(plane) : {};
  const services = journal.status.services.map(({ name, state, critical, lastError }) => {
    const own = typeof health === 'string' ? undefined : health[name];
    const ok = state === 'running' && own?.ok !== false;
    return {
      name,
      state,
      ok: ok || (!critical && state !== 'running'),
      detail: own?.detail ?? lastError?.message,
    };
  });
  const detail = typeof health === 'string' ? health : undefined;
  const ok = phase === 'ready' && detail === undefined && services.every((service) => service.ok);
  const blockedMs = Math.round(heartbeat.blockedMs);
  return { status: ok ? 200 : 503, body: { ok, phase, blockedMs, detail, services } };
}

/** What the services say; or why they could not be asked. */
async function healthOf({
  main,
  options: { healthTimeoutMs },
}: ControlPlane): Promise<HealthReport | string> {
  try {
    return await main.call('health', undefined, { timeoutMs: healthTimeoutMs });
  } catch (thrown) {
    return `the main loop does not answer: ${toError(thrown).message}`;
  }
}
