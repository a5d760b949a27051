import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';

const isSource = import.meta.url.endsWith('.ts');

// Node strips types with a WebAssembly module. V8 13.6 compiles a wrapper for an import that such a module has called
// 1 000 times, and shares the wrappers among the threads of a process; when one is given up while another thread takes
// it, V8 may end the process (CHECK in ThreadIsolation::UnregisterWasmAllocation, called by
// Runtime_TierUpWasmToJSWrapper; nodejs/node#64500 is alike). So none is compiled.
if (isSource) setFlagsFromString('--wasm-wrapper-tiering-budget=1000000000');

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
