import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const script = fileURLToPath(new URL('../../examples/users/users.ts', import.meta.url));
const run = promisify(execFile);
const DELAY_MS = 40;

/** A directory of users in which the odd ids exist; each answer takes its time, `/slow` never comes. */
async function startDirectory() {
  const seen = { now: 0, most: 0, abandoned: 0 };
  const server = createServer((request, response) => {
    seen.most = Math.max(seen.most, ++seen.now);
    response.once('close', () => {
      seen.now--;
      if (!response.writableFinished) seen.abandoned++;
    });
    if (request.url === '/slow') return;
    const id = Number(/^\/users\/(\d+)$/.exec(request.url ?? '')?.[1]);
    const status = id === 0 ? 400 : id % 2 === 1 ? 200 : 404;
    // The bad one is found out at once; those above 10 take longer each.
    const delayMs = id === 0 ? 0 : DELAY_MS * Math.max(1, id - 10);
    setTimeout(() => response.writeHead(status).end(), delayMs);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

test('ten users are looked up at once, in order; what is cut off is aborted, what is shielded ends', async () => {
  await using directory = await startDirectory();
  const { stdout } = await run(process.execPath, ['--conditions=bosun-source', script, directory.url]);
  const said = new Map(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { what: string; [field: string]: unknown })
      .map((line) => [line.what, line]),
  );
  const existing = Array.from({ length: 10 }, (_, i) => i % 2 === 0);
  expect(said.get('sequential')).toMatchObject({ result: existing });
  expect(said.get('gather')).toMatchObject({ result: existing });
  expect(directory.seen.most).toBe(10);
  // About a tenth; a busy machine is given room.
  expect(said.get('gather')?.ms).toBeLessThan((said.get('sequential')?.ms as number) / 3);

  expect(said.get('wait for all')).toMatchObject({ statuses: ['fulfilled', 'rejected', 'fulfilled'] });
  expect(said.get('first exception')).toMatchObject({ error: 'user 0: the directory says 400' });
  expect(said.get('its siblings')).toMatchObject({ statuses: ['rejected', 'rejected', 'rejected'] });
  expect(said.get('as completed')).toMatchObject({ ids: [11, 12, 13] });
  expect(said.get('first of several')).toMatchObject({ key: 'user' });
  expect(said.get('time-out')?.error).toContain('50 ms');
  expect(said.get('deadline')).toMatchObject({ error: 'the deadline of 50 ms has passed' });
  expect(said.get('cancel')).toMatchObject({ error: 'nobody wants to know any more' });
  expect(said.get('shield')).toMatchObject({ caller: 'the deadline of 1 ms has passed', work: true });
  // /slow three times, the two siblings of the failure; the cancelled one may not have been sent.
  expect(directory.seen.abandoned).toBeGreaterThanOrEqual(3);
});
