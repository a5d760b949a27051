import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDaemon } from './support/daemon.ts';
import { owned } from './support/owned.ts';
import { startPostgres } from './support/postgres.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const text = await readFile(join(root, 'README.md'), 'utf8');

/** The snippets that begin with their file's name, as a comment. */
const files = new Map(
  [...text.matchAll(/^```(?:ts|yaml)\n(?:\/\/|#) (\S+)\n(.*?)^```$/gms)].map(([, name, body]) => [
    name as string,
    body as string,
  ]),
);
let folder: string;

beforeAll(async () => {
  // Inside the package, so that `bosun` is this one.
  folder = await mkdtemp(join(root, 'test/.readme-'));
  for (const [name, body] of files) await writeFile(join(folder, name), body);
});

afterAll(() => rm(folder, { recursive: true }));

test('every TypeScript and YAML snippet is one of those that are run here', () => {
  expect(text.match(/^```(ts|yaml)$/gm)).toHaveLength(files.size);
  expect([...files.keys()]).toEqual([
    'bosun.yaml',
    'products.ts',
    'heartbeat.ts',
    'watched.yaml',
    'calls.ts',
    'embedded.ts',
  ]);
});

test('the daemon on the first screen serves', async () => {
  await using postgres = await startPostgres();
  await using daemon = await startDaemon(join(folder, 'bosun.yaml'), {
    env: { DATABASE_URL: postgres.url, PORT: '0', ECHO_PORT: '0', ADMIN_PORT: '0' },
  });
  const response = await fetch(`${daemon.address('products')}/version`);
  expect(await response.json()).toEqual({ version: expect.stringContaining('PostgreSQL') });
  daemon.kill('SIGTERM');
  expect(await daemon.exited).toBe(0);
});

test('heartbeat.ts runs until it is told to stop', async () => {
  const child = snippet('heartbeat.ts');
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.includes('ready in')) child.kill('SIGTERM');
  }
  expect(await child.exited).toBe(0);
});

test('the daemon that is watched shows itself', async () => {
  await using daemon = await startDaemon(join(folder, 'watched.yaml'), { env: { ADMIN_PORT: '0' } });
  const response = await fetch(`${daemon.address('admin')}/api/status`);
  expect(await response.json()).toMatchObject({
    phase: 'ready',
    features: { memory: true, profiler: true, stalls: true },
  });
  daemon.kill('SIGTERM');
  expect(await daemon.exited).toBe(0);
});

test('calls.ts answers from the database, and stops when it is told to', async () => {
  await using postgres = await startPostgres();
  const child = snippet('calls.ts', { DATABASE_URL: postgres.url });
  for await (const line of createInterface({ input: child.stdout })) {
    const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(line) ?? [];
    if (!line.includes('ready in') || url === undefined) continue;
    const response = await fetch(`${url}/tables`);
    expect(await response.json()).toContainEqual({ tablename: 'pg_class' });
    child.kill('SIGTERM');
  }
  expect(await child.exited).toBe(0);
});

test('embedded.ts echoes, and ends by itself', async () => {
  const child = snippet('embedded.ts');
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) lines.push(line);
  expect(lines).toEqual(['hello']);
  expect(await child.exited).toBe(0);
});

function snippet(name: string, env: Readonly<Record<string, string>> = {}) {
  const child = owned(
    spawn(process.execPath, ['--conditions=bosun-source', join(folder, name)], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  const exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
  return Object.assign(child, { exited });
}
