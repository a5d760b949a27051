import { z } from 'zod';
import { OptionsError } from '../errors.ts';
import type { ListenOptions } from './listen.ts';

/** A port to listen on: an integer from 0, which takes any free port, to 65535. */
export const portNumber = () => z.int().min(0).max(65_535);

/**
 * A server listens on a host and port or on a Unix socket, never both. A host and port that are the `defaults`
 * do not count, so that parsed options can be parsed again.
 *
 * @throws {OptionsError} `ERR_OPTIONS`
 */
export function refusePathWithPort(
  owner: string,
  options: ListenOptions,
  defaults: ListenOptions = {},
): void {
  if (options.path === undefined) return;
  const problems = (['host', 'port'] as const)
    .filter((option) => options[option] !== undefined && options[option] !== defaults[option])
    .map((option) => ({
      path: [option],
      rule: 'cannot be combined with "path": a Unix socket has none',
      received: options[option],
    }));
  if (problems.length > 0) throw new OptionsError(owner, problems);
}
