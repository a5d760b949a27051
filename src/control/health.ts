import { doneWithin } from '../abort.ts';
import { toError } from '../errors.ts';
import type { Service } from '../service.ts';
import type { Host } from '../supervisor/host.ts';
import { subtree } from '../supervisor/tree.ts';
import { clip } from './clip.ts';
import type { HealthInfo, HealthReport } from './protocol.ts';

interface Question {
  readonly answer: Promise<HealthInfo>;
  /** Since when the service had been running; another run is asked anew. */
  readonly runningSince: number;
  readonly askedAt: number;
}

/** What has not been answered yet: a service that hangs is not asked again each time that somebody wonders. */
const pending = new WeakMap<Service, Question>();
/** After so many times the limit it is asked again: what the first question waits for may never come. */
const PATIENCE = 10;

/**
 * Asks running services how they are, those for which `wanted` says so; one that does not answer within `limitMs` is
 * not well.
 */
export async function askHealth(
  { root, clock, control }: Host,
  limitMs: number,
  wanted: (name: string) => boolean = () => true,
): Promise<HealthReport> {
  const running = new Map(
    control
      .services()
      .flatMap(({ name, state }) => (state.status === 'running' ? [[name, state.since] as const] : [])),
  );
  const ask = async (service: Service): Promise<[string, HealthInfo][]> => {
    const runningSince = running.get(service.name);
    if (runningSince === undefined || !wanted(service.name)) return [];
    const known = pending.get(service);
    const stands = known?.runningSince === runningSince && clock.now() - known.askedAt < PATIENCE * limitMs;
    const answer = stands ? known.answer : healthOf(service);
    if (!stands) {
      const question = { answer, runningSince, askedAt: clock.now() };
      pending.set(service, question);
      void answer.then(() => {
        if (pending.get(service) === question) pending.delete(service);
      });
    }
    let health: HealthInfo = { ok: false, detail: `health() gave no answer within ${limitMs} ms` };
    const answered = answer.then((given) => {
      health = given;
    });
    await doneWithin(answered, limitMs, clock);
    return [[service.name, health]];
  };
  return Object.fromEntries((await Promise.all(subtree(root).map(ask))).flat());
}

async function healthOf(service: Service): Promise<HealthInfo> {
  try {
    const { ok, detail } = await service.health();
    return detail === undefined ? { ok } : { ok, detail: clip(detail) };
  } catch (thrown) {
    return { ok: false, detail: clip(`health() failed: ${toError(thrown).message}`) };
  }
}
