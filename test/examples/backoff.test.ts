import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterEach, beforeEach, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);

/** A storage whose every path fails in its own way; it counts the calls. */
const calls = new Map<string, number>();
const storage = createServer((request, response) => {
  const path = request.url ?? '';
  const count = (calls.get(path) ?? 0) + 1;
  calls.set(path, count);
  if (path === '/never' || (path === '/slow' && count <= 2)) return;
  if (path === '/reset') request.socket.destroy();
  else if (path === '/broken') response.writeHead(500).end();
  else if (path === '/failing' && count <= 2) response.writeHead(503).end();
  else response.end(`answer ${count}`);
});

beforeEach(async () => {
  calls.clear();
  storage.listen(0, '127.0.0.1');
  await once(storage, 'listening');
});

afterEach(async () => {
  storage.closeAllConnections();
  storage.close();
  await once(storage, 'close');
});

async function outcomesOf(script: string): Promise<Record<string, string>> {
  const url = `http://127.0.0.1:${(storage.address() as AddressInfo).port}`;
  const { stdout } = await run(process.execPath, ['--conditions=bosun-source', script, url], { cwd: root });
  const lines = stdout.trim().split('\n');
  return Object.fromEntries(
    lines.map((line) => {
      const { name, outcome } = JSON.parse(line) as { name: string; outcome: string };
      return [name, outcome];
    }),
  );
}

const expected = {
  slow: 'answer 3',
  failing: 'answer 3',
  broken: 'Error the storage says 500',
  reset: expect.stringMatching(/ECONNRESET|UND_ERR_SOCKET/),
};

test('wrapped functions are tried again after time-outs, listed errors, three times, or not at all', async () => {
  expect(await outcomesOf(join(root, 'examples/backoff/wrapped.ts'))).toEqual(expected);
  expect(Object.fromEntries(calls)).toEqual({ '/slow': 3, '/failing': 3, '/broken': 3, '/reset': 1 });
});

test('so are decorated methods; a time limit ends a call that hangs', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'bosun-decorated-'));
  try {
    const outfile = join(folder, 'decorated.mjs');
    await build({
      entryPoints: [join(root, 'examples/backoff/decorated.ts')],
      outfile,
      bundle: true,
      conditions: ['bosun-source'],
      platform: 'node',
      format: 'esm',
      target: 'es2022',
      banner: {
        js: "import { createRequire as requireFor } from 'node:module'; const require = requireFor('/');",
      },
    });
    const outcomes = await outcomesOf(outfile);
    expect(outcomes).toEqual({ ...expected, never: 'TimeoutError ERR_TIMEOUT' });
  } finally {
    await rm(folder, { recursive: true });
  }
  expect(calls.get('/slow')).toBe(3);
});
