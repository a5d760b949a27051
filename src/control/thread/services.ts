import { UnknownServiceError } from '../../errors.ts';
import { nearest } from '../../nearest.ts';
import type { Journal } from './journal.ts';
import { Refusal } from './reply.ts';

/** The names of a service, and of the supervisors above it. */
export function holdersOf({ status: { services } }: Journal, name: string): ReadonlySet<string> {
  const above = new Map(services.map((service) => [service.name, service.supervisor]));
  const holders = new Set<string>();
  for (let at: string | undefined = name; at !== undefined; at = above.get(at)) holders.add(at);
  return holders;
}

/** @throws {Refusal} with status 404 and the nearest name, when there is no such service. */
export function checkService({ status: { services } }: Journal, name: string): void {
  const names = services.map((service) => service.name);
  if (names.includes(name)) return;
  const { code, message } = new UnknownServiceError(name, nearest(name, names));
  throw new Refusal(404, code, message);
}
