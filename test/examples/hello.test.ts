import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { startDaemon } from '../support/daemon.ts';

const config = fileURLToPath(new URL('../../examples/hello/bosun.yaml', import.meta.url));

test('a web-standard application and a bare listener say hello', async () => {
  await using daemon = await startDaemon(config, { env: { FETCH_PORT: '0', LISTENER_PORT: '0' } });
  const said = async (service: string) => (await fetch(daemon.address(service))).text();
  expect(await said('fetch')).toBe('ASGI hello!');
  expect(await said('listener')).toBe('WSGI hello!');
  daemon.kill('SIGTERM');
  expect(await daemon.exited).toBe(0);
});
