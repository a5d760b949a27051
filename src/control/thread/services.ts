import { UnknownServiceError } from '../../errors.ts';
import { nearest } from '../../nearest.ts';
import type { Journal } from './journal.ts';
import { Refusal } from './reply.ts';

/** @throws {Refusal} with status 404 and the nearest name, when there is no such service. */
export function checkService({ status: { services } }: Journal, name: string): void {
  const names = services.map((service) => service.name);
  if (names.includes(name)) return;
  const { code, message } = new UnknownServiceError(name, nearest(name, names));
  throw new Refusal(404, code, message);
}
