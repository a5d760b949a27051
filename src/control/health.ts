import { doneWithin } from '../abort.ts';
import { toError } from '../errors.ts';
import type { Service } from '../service.ts';
import type { Host } from '../supervisor/host.ts';
import { subtree } from '../supervisor/tree.ts';
import type { HealthInfo, HealthReport } from './protocol.ts';

/** Asks all running services how they are; one that does not say so within `limitMs` is not well. */
export async function askHealth({ root, clock, control }: Host, limitMs: number): Promise<HealthReport> {
  const running = new Set(
    control.services().flatMap(({ name, state }) => (state.status === 'running' ? [name] : [])),
  );
  const services = subtree(root).filter(({ name }) => running.has(name));
  const ask = async (service: Service): Promise<[string, HealthInfo]> => {
    let health: HealthInfo = { ok: false, detail: `health() gave no answer within ${limitMs} ms` };
    const asked = (async () => {
      try {
        const { ok, detail } = await service.health();
        health = detail === undefined ? { ok } : { ok, detail };
      } catch (thrown) {
        health = { ok: false, detail: `health() failed: ${toError(thrown).message}` };
      }
    })();
    await doneWithin(asked, limitMs, clock);
    return [service.name, health];
  };
  return Object.fromEntries(await Promise.all(services.map(ask)));
}
