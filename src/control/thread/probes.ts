import { essential } from '../essential.ts';
import type { ServiceStatus } from '../protocol.ts';
import type { Ask, ControlPlane } from './plane.ts';
import type { Reply } from './reply.ts';

/** What a probe has found. */
interface Finding {
  readonly ok: boolean;
  /** What is wrong. */
  readonly detail: string | undefined;
  readonly [more: string]: unknown;
  readonly services?: readonly ServiceFinding[];
}

interface ServiceFinding {
  readonly name: string;
  readonly state: ServiceStatus['state'];
  readonly ok: boolean;
  readonly detail: string | undefined;
}

/** Whether the main loop turns: when it does not, only a restart of the process helps. */
export function livez({ heartbeat, options: { livenessLimitMs } }: ControlPlane, ask: Ask): Reply {
  const blockedMs = Math.round(heartbeat.blockedMs);
  const ok = blockedMs <= livenessLimitMs;
  const detail = ok ? undefined : `the main loop has been blocked for ${blockedMs} ms`;
  return probeReply(ask, { ok, blockedMs, detail });
}

/** Whether all services have started, once. */
export function startupz({ journal }: ControlPlane, ask: Ask): Reply {
  const { phase } = journal.status;
  const services = journal.status.services.map(({ name, state, lastError }) => ({
    name,
    state,
    ok: state !== 'created' && state !== 'starting' && state !== 'failed',
    detail: lastError?.message,
  }));
  const ok = journal.started;
  return probeReply(ask, { ok, detail: ok ? undefined : `the daemon is ${phase}`, phase, services });
}

/**
 * Whether requests are to come here: no shutdown has begun, and all services run and are well. One that is not
 * critical, or whose supervisor is not, does not count: the daemon does without. One that has finished is done.
 */
export async function readyz(plane: ControlPlane, ask: Ask): Promise<Reply> {
  const { journal, heartbeat } = plane;
  const health = journal.status.phase === 'ready' ? await plane.health.now() : {};
  // Only now: a shutdown may have begun meanwhile.
  const { phase } = journal.status;
  const needed = essential(journal.status.services);
  const services = journal.status.services.map((service): ServiceFinding => {
    const { name, state, lastError } = service;
    const own = typeof health === 'string' ? undefined : health[name];
    const ok = (state === 'running' && own?.ok !== false) || state === 'stopped' || !needed.has(service);
    return { name, state, ok, detail: own?.detail ?? (state === 'running' ? undefined : lastError?.message) };
  });
  const unwell = services.filter((service) => !service.ok).map(({ name }) => name);
  const detail =
    phase !== 'ready'
      ? `the daemon is ${phase}`
      : typeof health === 'string'
        ? health
        : unwell.length > 0
          ? `not well: ${unwell.join(', ')}`
          : undefined;
  const blockedMs = Math.round(heartbeat.blockedMs);
  return probeReply(ask, { ok: detail === undefined, detail, phase, blockedMs, services });
}

/** A word for probes and people, more with `?verbose`, and all as JSON; to strangers only the word. */
function probeReply({ request, url, trusted }: Ask, finding: Finding): Reply {
  const { ok, detail, services = [] } = finding;
  const status = ok ? 200 : 503;
  const word = ok ? 'ok' : 'not ok';
  if (!trusted) return { status, body: `${word}\n` };
  if (/\bjson\b/.test(request.headers.accept ?? '')) return { status, body: finding };
  const lines = [detail === undefined ? word : `${word}: ${detail}`];
  if (url.searchParams.has('verbose')) lines.push(...services.map(lineOf));
  return { status, body: `${lines.join('\n')}\n` };
}

const lineOf = ({ name, state, ok, detail }: ServiceFinding) =>
  `${ok ? '[+]' : '[-]'} ${name} ${state}${detail === undefined ? '' : `: ${detail}`}`;
