import { createRequire } from 'node:module';
import { join } from 'node:path';

/** Where this package's code is: the bundler moves modules, so it is found from the package's root. @internal */
export const packageFolder = join(
  createRequire(import.meta.url).resolve('bosun/package.json'),
  '..',
  import.meta.url.endsWith('.ts') ? 'src' : 'dist',
);

/** The file that a worker runs. @internal */
export function workerEntry(name: 'workers/thread' | 'workers/child' | 'control/thread/main'): string {
  return join(packageFolder, `${name}${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`);
}
