import { transform } from 'esbuild';
import { defineConfig, type Plugin } from 'vitest/config';

/** Neither Node nor Vitest's own transform runs decorators: esbuild writes them out, in the files that have any. */
const decorators: Plugin = {
  name: 'decorators',
  enforce: 'pre',
  async transform(code, id) {
    const [path = ''] = id.split('?');
    if (!path.endsWith('.ts') || path.includes('/node_modules/') || !/^\s*@\w/m.test(code)) return;
    const { code: written, map } = await transform(code, {
      loader: 'ts',
      target: 'es2022',
      sourcefile: path,
      sourcemap: true,
    });
    return { code: written, map };
  },
};

export default defineConfig({
  plugins: [decorators],
  ssr: { resolve: { conditions: ['bosun-source', 'node'] } },
  test: {
    include: ['test/**/*.test.ts'],
    // More than a poll may take, which then says what it has seen.
    testTimeout: 30_000,
    expect: { poll: { timeout: 20_000 } },
    hookTimeout: 60_000,
    maxWorkers: 2,
    // Worker threads and processes inherit it.
    execArgv: ['--conditions=bosun-source'],
  },
});
