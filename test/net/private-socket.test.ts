import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { listenPrivately } from '../../src/net/private-socket.ts';

const isPrivate = (socket: string) => existsSync(socket) && (statSync(socket).mode & 0o777) === 0o600;

test('given up when the socket has been made, it leaves nothing behind', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'bosun-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const server = createServer();
  const giveUp = new AbortController();
  const path = join(folder, 'a.sock');
  const listening = listenPrivately(server, path, giveUp.signal);
  listening.catch(() => {});
  const made = () => readdirSync(folder).some((name) => isPrivate(join(folder, name, 's')));
  while (!made()) await setImmediate();
  giveUp.abort(new Error('enough'));
  await expect(listening).rejects.toThrow('enough');
  expect(server.listening).toBe(false);
  expect(await readdir(folder)).toEqual([]);
});
