import { doneWithin } from '../abort.ts';
import { toError } from '../errors.ts';
import type { Service } from '../service.ts';
import type { Host } from '../supervisor/host.ts';
import { subtree } from '../supervisor/tree.ts';
import type { HealthInfo, HealthReport } from './protocol.ts';

/** What has been asked and not been answered yet: a service that hangs is asked once, however often one wonders. */
const pending = new WeakMap<Service, Promise<HealthInfo>>();

/** Asks all running services how they are; one that does not say so within `limitMs` is not well. */
export async function askHealth({ root, clock, control }: Host, limitMs: number): Promise<HealthReport> {
  const running = new Set(
    control.services().flatMap(({ name, state }) => (state.status === 'running' ? [name] : [])),
  );
  const services = subtree(root).filter(({ name }) => running.has(name));
  const ask = async (service: Service): Promise<[string, HealthInfo]> => {
    let health: HealthInfo = { ok: false, detail: `health() gave no answer within ${limitMs} ms` };
    const answer = healthOf(service).then((given) => {
      health = given;
    });
    await doneWithin(answer, limitMs, clock);
    return [service.name, health];
  };
  return Object.fromEntries(await Promise.all(services.map(ask)));
}

function healthOf(service: Service): Promise<HealthInfo> {
  const known = pending.get(service);
  if (known !== undefined) return known;
  const asked = (async () => {
    try {
      const { ok, detail } = await service.health();
      return detail === undefined ? { ok } : { ok, detail };
    } catch (thrown) {
      return { ok: false, detail: `health() failed: ${toError(thrown).message}` };
    } finally {
      pending.delete(service);
    }
  })();
  pending.set(service, asked);
  return asked;
}
