import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Daemon, startDaemon } from '../support/daemon.ts';

const example = (name: string) => fileURLToPath(new URL(`../../examples/executors/${name}`, import.meta.url));
let daemon: Daemon;
let url: string;

beforeAll(async () => {
  daemon = await startDaemon(example('bosun.yaml'), { env: { PORT: '0' } });
  url = daemon.address('executors');
});

afterAll(() => daemon[Symbol.asyncDispose]());

test('two functions that block for a second run side by side, and the loop stays free meanwhile', async () => {
  // Starts the threads, which can take as long on a busy machine.
  await (await fetch(`${url}/both`)).text();
  let done = false;
  const both = fetch(`${url}/both`).then(async (response) => {
    done = true;
    return (await response.json()) as { thread: number; from: number; to: number }[];
  });
  let pings = 0;
  while (!done) {
    expect((await fetch(`${url}/ping`)).status).toBe(200);
    pings++;
  }
  const blocked = await both;
  expect(new Set(blocked.map(({ thread }) => thread)).size).toBe(2);
  for (const { from, to } of blocked) expect(to - from).toBeGreaterThanOrEqual(999);
  const [from, to] = [Math.max(...blocked.map((b) => b.from)), Math.min(...blocked.map((b) => b.to))];
  expect(from).toBeLessThan(to);
  expect(pings).toBeGreaterThan(20);
});

test('a generator on a worker streams a file, line by line', async () => {
  const source = await (await fetch(`${url}/source`)).text();
  expect(source).toBe(await readFile(example('executors.ts'), 'utf8'));
});

test('one that never ends goes no faster than it is read, and stops when its reader leaves', async () => {
  const controller = new AbortController();
  const response = await fetch(`${url}/count`, { signal: controller.signal });
  const body = response.body as ReadableStream<Uint8Array>;
  let text = '';
  for await (const chunk of body.pipeThrough(new TextDecoderStream()).values({ preventCancel: true })) {
    text += chunk;
    if (text.length > 6) break;
  }
  expect(text).toMatch(/^1\n2\n3\n/);
  controller.abort();
  const line = await daemon.logged(({ msg }) => msg === 'the count has stopped');
  expect(line.service).toBe('executors');
  // What the sockets' buffers hold, and no more.
  expect(line.n).toBeLessThan(5_000_000);
  // The thread is free again.
  expect((await fetch(`${url}/source`)).status).toBe(200);
});
