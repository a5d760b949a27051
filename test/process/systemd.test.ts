import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Child } from '../support/child.ts';
import { missingTools, NotifySocket } from '../support/notify-socket.ts';

const start = (setup: object, ...flags: string[]) => new Child('admin.ts', [JSON.stringify(setup)], flags);

// On a machine of the tests' own it has to be there.
describe.skipIf(missingTools.length > 0 && process.env.CI !== 'true')(
  `systemd${missingTools.length > 0 ? ` (skipped without ${missingTools.join(', ')})` : ''}`,
  { timeout: 60_000 },
  () => {
    let folder: string;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'bosun-'));
    });
    afterAll(() => rm(folder, { recursive: true }));

    const path = () => join(folder, randomUUID());

    test('is told that the daemon is ready only when it is, and that it stops before any service does', async () => {
      const name = path();
      await using socket = await NotifySocket.at(name);
      await using child = start({ env: { NOTIFY_SOCKET: name }, gated: true });
      await child.line('waiting');
      await socket.received(/^STATUS=starting; [01] of 2 services running$/);
      expect(socket.messages.join()).not.toContain('READY=1');
      child.kill('SIGUSR1');
      expect(await socket.received(/READY=1/)).toBe('READY=1\nSTATUS=2 of 2 services running');
      child.kill('SIGTERM');
      expect(await socket.received(/STOPPING=1/)).toBe('STOPPING=1\nSTATUS=SIGTERM; 2 of 2 services running');
      const { code, stdout } = await child.exit;
      expect(code).toBe(0);
      expect(stdout).toContain('subject stops');
      expect(socket.messages.filter((message) => message.includes('READY=1'))).toHaveLength(1);
    });

    test('is never told that a daemon is ready whose start failed', async () => {
      const name = path();
      await using socket = await NotifySocket.at(name);
      await using child = start({ env: { NOTIFY_SOCKET: name }, gated: true });
      await child.line('waiting');
      child.kill('SIGTERM');
      await child.exit;
      await socket.received(/STOPPING=1/);
      expect(socket.messages.join()).not.toContain('READY=1');
    });

    test('is told when a reload begins and when it has ended, by its own clock', async () => {
      const name = `@bosun-${randomUUID()}`;
      await using socket = await NotifySocket.at(name);
      await using child = start({ env: { NOTIFY_SOCKET: name } });
      await socket.received(/READY=1/);
      const before = process.hrtime.bigint() / 1_000n;
      const from = socket.messages.length;
      child.kill('SIGHUP');
      const reloading = await socket.received(/RELOADING=1/, from);
      await socket.received(/READY=1/, from);
      const [, at] = /^RELOADING=1\nMONOTONIC_USEC=(\d+)\nSTATUS=reloading/.exec(reloading) ?? [];
      expect(BigInt(at ?? 0)).toBeGreaterThanOrEqual(before);
      expect(BigInt(at ?? 0)).toBeLessThanOrEqual(process.hrtime.bigint() / 1_000n);
      const states = socket.messages.slice(from).filter((message) => /RELOADING|READY/.test(message));
      expect(states.map((message) => message.slice(0, 5))).toEqual(['RELOA', 'READY']);
    });

    test('gets signs of life, but none while the main loop is blocked or a critical service is unwell', async () => {
      const name = path();
      await using socket = await NotifySocket.at(name);
      const env = { NOTIFY_SOCKET: name, WATCHDOG_USEC: '1000000' };
      await using child = start({ env, blockMs: 4_000 });
      await socket.received(/READY=1/);
      await socket.received(/WATCHDOG=1/, socket.messages.length);
      child.kill('SIGUSR2');
      const from = socket.messages.length;
      await socket.received(/^STATUS=not well: the main loop/, from);
      // As long as it is blocked: from the message on, which comes when it has been for half a second.
      const silent = socket.messages.length;
      // Only the first one after a pause says how it is.
      const next = await socket.received(/WATCHDOG=1/, silent);
      expect(next).toContain('STATUS=2 of 2 services running');
      child.kill('SIGUSR1');
      await child.line('unwell');
      await socket.received(/^STATUS=not well: subject: no disk$/);
      const unwell = socket.messages.length;
      child.kill('SIGUSR1');
      await child.line('\nwell');
      await socket.received(/WATCHDOG=1/, unwell);
      expect(socket.messages.slice(unwell)[0]).toMatch(/^WATCHDOG=1\nSTATUS=2 of 2/);
    });

    test('gets signs of life also when one that is not critical does not say how it is', async () => {
      const name = path();
      await using socket = await NotifySocket.at(name);
      await using _child = start({ env: { NOTIFY_SOCKET: name, WATCHDOG_USEC: '1000000' }, mute: true });
      await socket.received(/READY=1/);
      for (let pings = 0; pings < 3; pings++) await socket.received(/WATCHDOG=1/, socket.messages.length);
    });

    test('is told again how things are by another thread, when that which was to tell has ended', async () => {
      const name = path();
      await using socket = await NotifySocket.at(name);
      const preload = new URL('./fixtures/mortal-watcher.mjs', import.meta.url);
      await using child = start({ env: { NOTIFY_SOCKET: name } }, `--import=${preload}`);
      await socket.received(/READY=1/);
      const from = socket.messages.length;
      child.kill('SIGHUP');
      await socket.received(/READY=1/, from);
    });

    test('the watchdog of another process is not fed', async () => {
      const name = path();
      await using socket = await NotifySocket.at(name);
      const env = { NOTIFY_SOCKET: name, WATCHDOG_USEC: '100000', WATCHDOG_PID: '1' };
      await using child = start({ env });
      await socket.received(/READY=1/);
      child.kill('SIGTERM');
      await child.exit;
      expect(socket.messages.join()).not.toContain('WATCHDOG');
    });

    test('a port in use does not keep the daemon from being ready, nor the watchdog from being fed', async () => {
      const name = path();
      const { createServer } = await import('node:net');
      const other = createServer().listen(0, '127.0.0.1');
      await new Promise((resolve) => other.once('listening', resolve));
      const { port } = other.address() as { port: number };
      await using socket = await NotifySocket.at(name);
      const env = { NOTIFY_SOCKET: name, WATCHDOG_USEC: '500000' };
      await using child = start({ env, admin: { port } });
      await child.line(`port ${port} on 127.0.0.1 is in use`);
      await socket.received(/READY=1/);
      for (let pings = 0; pings < 3; pings++) await socket.received(/WATCHDOG=1/, socket.messages.length);
      other.close();
      child.kill('SIGTERM');
      expect((await child.exit).code).toBe(0);
    });

    test('children do not inherit the socket, and one that does not answer is logged once', async () => {
      const env = { NOTIFY_SOCKET: path(), WATCHDOG_USEC: '100000', WATCHDOG_PID: '' };
      await using child = start({ env });
      await child.line('environment: \n');
      await child.line('systemd cannot be told');
      child.kill('SIGHUP');
      await child.line('reloading');
      child.kill('SIGTERM');
      const { code, stdout } = await child.exit;
      expect(code).toBe(0);
      expect(stdout.match(/systemd cannot be told/g)).toHaveLength(1);
    });
  },
);

describe('without systemd', () => {
  test('nothing is said, and nothing is missed', async () => {
    await using child = start({ env: { NOTIFY_SOCKET: '' } });
    await child.line('ready in');
    child.kill('SIGTERM');
    const { code, stdout } = await child.exit;
    expect([code, stdout.includes('systemd')]).toEqual([0, false]);
  });
});
