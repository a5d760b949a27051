import { runOf } from '../supervisor/run.ts';
import { NoWorkersError } from './errors.ts';
import { tasksOf } from './module.ts';
import type { ModuleOptions, Tasks } from './workers.ts';

/**
 * The functions that a module exports, to be called on the workers of the service whose code calls them: as
 * `scope.workers.module`, for where there is no scope.
 *
 * ```ts
 * const { resize } = threaded<typeof import('./images.ts')>(new URL('./images.ts', import.meta.url));
 * ```
 *
 * @throws {TypeError} when `url` is neither a `file:` URL nor an absolute path. Calls reject with
 * {NoWorkersError} `ERR_NO_WORKERS` outside of a service, and as those of `Workers.module`.
 */
export function threaded<Module extends object>(
  url: URL | string,
  { isolation = 'thread' }: ModuleOptions = {},
): Tasks<Module> {
  return tasksOf<Module>(url, async (what, args, options) => {
    const run = runOf();
    if (run === undefined) throw new NoWorkersError(what);
    return await run.host.workers.call(isolation, what, args, options);
  });
}
