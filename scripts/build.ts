import { execFileSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { chmod, cp, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/**
 * Builds `src/` into a fresh `dist/`: types by tsc, code by esbuild. An entry point and what only it needs are
 * one file, what several share is a chunk: a process that loads few files starts faster.
 */
const root = fileURLToPath(new URL('..', import.meta.url));
await rm(`${root}dist`, { recursive: true, force: true });
execFileSync('tsc', ['-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' });
await build({
  absWorkingDir: root,
  entryPoints: [
    'src/index.ts',
    'src/policy/index.ts',
    'src/testing/index.ts',
    'src/cli/main.ts',
    'src/workers/thread.ts',
    'src/workers/child.ts',
    'src/control/thread/main.ts',
    'src/observe/source-map-thread.ts',
    ...globSync('src/services/*.ts', { cwd: root }),
  ],
  outdir: 'dist',
  outbase: 'src',
  chunkNames: 'chunks/[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  packages: 'external',
  // A service's default name is its class's.
  keepNames: true,
  sourcemap: true,
});
// The dashboard is served as it is.
for (const file of globSync('src/control/dashboard/*.{html,css,js}', { cwd: root })) {
  await cp(`${root}${file}`, `${root}dist${file.slice('src'.length)}`);
}
await chmod(`${root}dist/cli/main.js`, 0o755);
