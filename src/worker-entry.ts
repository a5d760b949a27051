import { createRequire } from 'node:module';
import { join } from 'node:path';

/** The file that a worker runs: the bundler moves this module, so it is found from the package's root. @internal */
export function workerEntry(name: 'workers/thread' | 'workers/child' | 'control/thread/main'): string {
  const manifest = createRequire(import.meta.url).resolve('bosun/package.json');
  const file = import.meta.url.endsWith('.ts') ? `src/${name}.ts` : `dist/${name}.js`;
  return join(manifest, '..', file);
}
