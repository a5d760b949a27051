import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Answer, ask } from '../support/ask.ts';
import { Child } from '../support/child.ts';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { RawClient } from '../support/raw-client.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bosun-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function configFile(name: string, text: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, text);
  return file;
}

const check = (file: string) =>
  new Promise<{ code: unknown; output: string }>((resolve) => {
    const args = ['--conditions=bosun-source', `${root}src/cli/main.ts`, 'check', file];
    execFile(process.execPath, args, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, output: `${stdout}${stderr}` }),
    );
  });

describe('while the main loop is blocked', () => {
  test('the probes answer, soon, and say for how long', { timeout: 60_000 }, async () => {
    const setup = { admin: { livenessLimitMs: 1_000, healthTimeoutMs: 500 }, blockMs: 5_000 };
    await using child = new Child('admin.ts', [JSON.stringify(setup)]);
    const address = await child.match(/http:\/\/127\.0\.0\.1:\d+/);
    await child.line('ready in');
    expect((await ask(address, '/livez')).status).toBe(200);
    child.kill('SIGUSR2');
    const answers: Answer[] = [];
    const dead: Answer[] = [];
    while (dead.length < 20) {
      const answer = await ask(address, '/livez', { headers: { accept: 'application/json' } });
      answers.push(answer);
      if (answer.status === 503) dead.push(answer);
    }
    for (const { body } of dead) {
      const { ok, blockedMs, detail } = JSON.parse(body) as Record<string, unknown>;
      expect(ok).toBe(false);
      expect(blockedMs).toBeGreaterThan(1_000);
      expect(detail).toBe(`the main loop has been blocked for ${blockedMs} ms`);
    }
    const durations = answers.map(({ durationMs }) => durationMs).toSorted((a, b) => a - b);
    // 1 ms on a quiet machine.
    expect(durations[Math.floor(durations.length / 2)]).toBeLessThan(50);
    const ready = await ask(address, '/readyz');
    expect([ready.status, ready.body]).toEqual([
      503,
      expect.stringMatching(/^not ok: the main loop has been blocked for \d+ ms\n$/),
    ]);
    expect((await ask(address, '/startupz')).status).toBe(200);
    expect((await ask(address, '/api/status')).status).toBe(200);
    for (;;) if ((await ask(address, '/livez')).status === 200) break;
    for (;;) if ((await ask(address, '/readyz')).status === 200) break;
  });
});

describe('the folder that the daemon was started in', () => {
  test('names it, also when it is there no more', { timeout: 60_000 }, async () => {
    const cwd = await mkdtemp(join(folder, 'started-'));
    await using child = new Child('admin.ts', [JSON.stringify({ cwd })]);
    const address = await child.match(/http:\/\/127\.0\.0\.1:\d+/);
    await child.line('ready in');
    await rm(cwd, { recursive: true });
    const { status, body } = await ask(address, '/api/status');
    expect([status, JSON.parse(body).name]).toEqual([200, basename(cwd)]);
  });
});

describe('who follows the log', () => {
  test('is told of the last lines of a shutdown, however short it is', { timeout: 60_000 }, async () => {
    await using child = new Child('admin.ts');
    const address = await child.match(/http:\/\/127\.0\.0\.1:\d+/);
    await child.line('ready in');
    await using client = await RawClient.to(address);
    await client.send('GET /api/logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await client.until('ready in');
    child.kill('SIGTERM');
    expect(await client.all()).toContain('stopping: SIGTERM');
    expect((await child.exit).code).toBe(0);
  });
});

describe('a thread that does not answer', () => {
  test('does not keep the daemon from its end', { timeout: 60_000 }, async () => {
    const preload = new URL('./fixtures/hung-watcher.mjs', import.meta.url);
    await using child = new Child('admin.ts', ['{}'], [`--import=${preload}`]);
    await child.line('ready in');
    child.kill('SIGTERM');
    expect((await child.exit).code).toBe(0);
  });
});

describe('the log', () => {
  let daemon: Daemon;

  beforeAll(async () => {
    const file = await configFile(
      'log.yaml',
      `services:\n  admin: { use: admin, port: 0, token: "\${ADMIN_TOKEN}" }\n  echo: { use: tcp-echo, port: 0 }\n`,
    );
    daemon = await startDaemon(file, { env: { ADMIN_TOKEN: 'a-token-of-the-tests' } });
  });
  afterAll(() => daemon[Symbol.asyncDispose]());

  test('says who did what, how it went, and how long it took', async () => {
    const headers = { authorization: 'Bearer a-token-of-the-tests', 'user-agent': 'tests/1' };
    const options = { method: 'POST', headers };
    const restarted = await ask(daemon.address('admin'), '/api/services/echo/restart', options);
    expect(restarted.status).toBe(200);
    expect(await daemon.logged(({ path }) => path === '/api/services/echo/restart')).toMatchObject({
      level: 30,
      service: 'admin',
      msg: expect.stringMatching(
        /^POST \/api\/services\/echo\/restart by 127\.0\.0\.1:\d+ \(tests\/1\): 200 in \d+ ms$/,
      ),
      remote: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      userAgent: 'tests/1',
      method: 'POST',
      status: 200,
      durationMs: expect.any(Number),
    });
    await ask(daemon.address('admin'), '/api/services/nobody/restart?x=1', options);
    expect(await daemon.logged(({ path }) => path === '/api/services/nobody/restart')).toMatchObject({
      level: 30,
      status: 404,
      error: 'there is no service named "nobody"',
    });
  });

  test('says who took a copy of the memory away, and whose request was too large', async () => {
    const headers = { authorization: 'Bearer a-token-of-the-tests' };
    const address = daemon.address('admin');
    const taken = await ask(address, '/api/heap-snapshot', { method: 'POST', headers });
    const { path } = JSON.parse(taken.body) as { readonly path: string };
    const download = `/api/heap-snapshot/${basename(path)}`;
    expect((await ask(address, download, { headers })).status).toBe(200);
    expect(await daemon.logged((line) => line.path === download)).toMatchObject({ level: 30, status: 200 });
    await rm(path);
    const body = 'x'.repeat(20_000);
    expect((await ask(address, '/api/reload', { method: 'POST', headers, body })).status).toBe(413);
    expect(await daemon.logged(({ status }) => status === 413)).toMatchObject({
      level: 40,
      msg: expect.stringMatching(/^refused POST \/api\/reload by 127\.0\.0\.1:\d+: 413, at most 16384 bytes/),
    });
  });

  test('says that somebody was refused, not each time, and never the token', async () => {
    const guess = { authorization: 'Bearer guessed-by-somebody' };
    for (let i = 0; i < 20; i++) {
      await ask(daemon.address('admin'), '/api/status', { headers: i % 2 === 0 ? guess : {} });
    }
    await using client = await RawClient.to(daemon.address('admin'));
    await client.send('GET /livez HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n');
    await client.all();
    const line = await daemon.logged(({ status }) => status === 401);
    expect(line).toMatchObject({ level: 40, service: 'admin', status: 401, path: '/api/status' });
    expect(line.msg).toMatch(/^refused GET \/api\/status by 127\.0\.0\.1:\d+: 401, the token is wrong$/);
    daemon.kill('SIGTERM');
    expect(await daemon.exited).toBe(0);
    expect(daemon.log.filter(({ msg }) => msg.startsWith('refused ')).length).toBeLessThan(5);
    expect(JSON.stringify(daemon.log)).not.toMatch(/guessed-by-somebody|a-token-of-the-tests/);
  });
});

describe('bosun check', () => {
  test.each([
    [
      '{ use: admin, host: 0.0.0.0 }',
      /a\.yaml:2:\d+: error: services\.admin\.host must be a loopback address/,
    ],
    ['{ use: admin, token: hunter2 }', /a\.yaml:2:\d+: error: services\.admin\.token must be at least 16/],
    ['{ use: admin, livenessLimit: 0s }', /services\.admin\.livenessLimit must be greater than 0/],
    ['{ use: admin, path: /run/a, port: 1 }', /services\.admin\.port cannot be combined with "path"/],
  ])('refuses %s, and says where', async (options, expected) => {
    const { code, output } = await check(await configFile('a.yaml', `services:\n  admin: ${options}\n`));
    expect([code, output]).toEqual([78, expect.stringMatching(expected)]);
    expect(output).not.toContain('hunter2');
  });

  test('takes an address for all with a token', async () => {
    const text = 'services:\n  admin: { use: admin, host: 0.0.0.0, token: 0123456789abcdef }\n';
    expect((await check(await configFile('b.yaml', text))).code).toBe(0);
  });
});

describe('/metrics', () => {
  test('are fresh, and while the main loop is blocked the last ones with their age', {
    timeout: 60_000,
  }, async () => {
    await using child = new Child('admin.ts', [JSON.stringify({ blockMs: 5_000 })]);
    const address = await child.match(/http:\/\/127\.0\.0\.1:\d+/);
    await child.line('ready in');
    const staleOf = ({ body }: Answer) => Number(/^bosun_scrape_stale_seconds (.+)$/m.exec(body)?.[1]);
    const fresh = await ask(address, '/metrics');
    expect([fresh.status, fresh.headers['content-type']]).toEqual([
      200,
      expect.stringMatching(/^text\/plain/),
    ]);
    expect(fresh.body).toMatch(/^bosun_service_restarts_total\{service="subject"\} 0$/m);
    expect(staleOf(fresh)).toBeLessThan(1);
    child.kill('SIGUSR2');
    for (;;) {
      const answer = await ask(address, '/metrics');
      expect(answer.body).toMatch(/^bosun_service_restarts_total\{service="subject"\} 0$/m);
      expect(answer.body).toMatch(/^process_cpu_seconds_total /m);
      if (staleOf(answer) > 1) break;
    }
    for (;;) if (staleOf(await ask(address, '/metrics')) < 1) break;
    const headers = { accept: 'application/openmetrics-text; version=1.0.0' };
    const open = await ask(address, '/metrics', { headers });
    expect(open.headers['content-type']).toMatch(/^application\/openmetrics-text/);
    expect(open.body).toMatch(/# EOF\n$/);
  });
});
