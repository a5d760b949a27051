import { createRequire } from 'node:module';
import { join } from 'node:path';

const isSource = import.meta.url.endsWith('.ts');

/** A file of this package: the bundler moves modules, so it is found from the package's root. @internal */
export function packageFile(path: string): string {
  const manifest = createRequire(import.meta.url).resolve('bosun/package.json');
  return join(manifest, '..', isSource ? 'src' : 'dist', path);
}

/** The file that a worker runs. @internal */
export function workerEntry(
  name: 'workers/thread' | 'workers/child' | 'control/thread/main' | 'observe/source-map-thread',
): string {
  return packageFile(`${name}${isSource ? '.ts' : '.js'}`);
}
