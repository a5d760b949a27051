import { once } from 'node:events';
import { mkdtempDisposable } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Entrypoint, entrypoint, type Health, type Scope, Service, Supervisor } from 'bosun';
import { AdminService } from 'bosun/services/admin';
import { contractCases, FakeClock, settle } from 'bosun/testing';
import { describe, expect, test, vi } from 'vitest';
import { Watcher } from '../../src/control/watcher.ts';
import { hostOf } from '../../src/supervisor/run.ts';
import { ask } from '../support/ask.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

/** One with time enough for a slow machine. */
const admin = () => new AdminService({ port: 0, healthTimeoutMs: 10_000 });

const addressOf = (daemon: Entrypoint) =>
  daemon.services.find(({ name }) => name === 'admin')?.addresses[0] ?? '';

/** A service whose health, start and stop a test decides on. */
class Subject extends Service {
  said: () => Health | Promise<Health> = () => ({ ok: true });
  starting: () => Promise<unknown> = async () => {};
  stopping: () => Promise<unknown> = async () => {};
  scope: Scope | undefined;

  override async start(scope: Scope): Promise<void> {
    this.scope = scope;
    await this.starting();
  }

  override async stop(): Promise<void> {
    await this.stopping();
  }

  override health(): Health | Promise<Health> {
    return this.said();
  }
}

/** Resolves with the next line that says who did what. */
function audited(subject: Subject): Promise<string> {
  const host = hostOf(subject.scope as Scope);
  const { loggerFor } = host;
  return new Promise((resolve) => {
    vi.spyOn(host, 'loggerFor').mockImplementation((name) => {
      const log = loggerFor(name);
      vi.spyOn(log, 'info').mockImplementation((...given: unknown[]) => {
        if (/^(GET|POST) /.test(String(given[1]))) resolve(String(given[1]));
      });
      return log;
    });
  });
}

/** Resolves when a probe answers with a status. */
async function until(daemon: Entrypoint, probe: string, status: number): Promise<string> {
  for (;;) {
    const answer = await ask(addressOf(daemon), probe);
    if (answer.status === status) return answer.body;
  }
}

const eventOf = (daemon: Entrypoint, type: 'service-gave-up' | 'service-restarting' | 'entrypoint-running') =>
  new Promise<void>((resolve) => daemon.on(type, () => resolve()));

describe('the contract', () => {
  const subject = {
    make: () => admin(),
    badOptions: [
      { port: 65_536 },
      { host: '0.0.0.0' },
      { host: '::' },
      { token: 'short' },
      { token: 'with a space in it' },
      { hosts: ['http://a'] },
      { hosts: ['a:80'] },
      { maxConnections: 0 },
      { livenessLimitMs: 0 },
      { path: '/run/a', port: 1 },
    ],
  };
  for (const { name, run } of contractCases(subject)) test(name, run);
});

describe('options', () => {
  test.each(['127.0.0.1', '127.8.9.1', '::1', '::ffff:127.0.0.1', 'localhost'])(
    '%s needs no token',
    (host) => {
      expect(new AdminService({ host }).options.host).toBe(host);
    },
  );

  test.each([
    '0.0.0.0',
    '10.1.2.3',
    '::',
    '::ffff:10.0.0.1',
    'example.org',
    '127.1',
    'localhost.example.org',
  ])('%s is refused without a token, and taken with one', (host) => {
    expect(() => new AdminService({ host })).toThrow(
      expect.objectContaining({
        code: 'ERR_OPTIONS',
        message: expect.stringMatching(
          `option "host" must be a loopback address, or "token".*received "${host}"`,
        ),
      }),
    );
    expect(new AdminService({ host, token: '0123456789abcdef' }).options.host).toBe(host);
  });

  test('a short token is refused, and not shown', () => {
    expect(() => new AdminService({ token: 'hunter2' })).toThrow(
      /"token" must be at least 16 characters long$/,
    );
  });
});

describe('listening', () => {
  test('an address in use is named, does not end the daemon, and is tried again', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const clock = new FakeClock();
    const admin = new AdminService({ port, critical: true });
    await using daemon = await entrypoint([admin, new Subject()], { ...quiet, clock });
    const pauses: number[] = [];
    const untilItWaits = async () => {
      while (clock.untilNext === undefined) await settle();
      return clock.untilNext;
    };
    for (let attempt = 0; attempt < 8; attempt++) {
      expect(admin.addresses).toEqual([]);
      expect(admin.health()).toEqual({ ok: false, detail: `port ${port} on 127.0.0.1 is in use` });
      pauses.push(await untilItWaits());
      await clock.advance(pauses.at(-1) ?? 0);
    }
    expect(pauses).toEqual([1, 2, 4, 8, 16, 30, 30, 30].map((seconds) => 1_000 * seconds));
    await untilItWaits();
    other.close();
    await once(other, 'close');
    await clock.advance(30_000);
    while (admin.addresses.length === 0) await settle();
    expect(admin.health()).toEqual({ ok: true });
    const { body } = await ask(addressOf(daemon), '/api/status');
    expect(JSON.parse(body)).toMatchObject({
      services: [{ restarts: 0, addresses: [addressOf(daemon)] }, {}],
    });
    expect((await ask(addressOf(daemon), '/readyz')).status).toBe(200);
  });

  test('two of them serve side by side, each by its own rules, and end one by one', async () => {
    const token = 'a-token-of-the-tests';
    const guarded = new AdminService({ name: 'guarded', port: 0, token });
    await using daemon = await entrypoint([admin(), guarded, new Subject()], quiet);
    const [other = ''] = guarded.addresses;
    const headers = { authorization: `Bearer ${token}` };
    const both = async () => [
      (await ask(addressOf(daemon), '/api/status')).status,
      (await ask(other, '/api/status')).status,
      (await ask(other, '/api/status', { headers })).status,
    ];
    expect(await both()).toEqual([200, 401, 200]);
    const restarted = await ask(addressOf(daemon), '/api/services/guarded/restart', { method: 'POST' });
    expect(restarted.status).toBe(200);
    expect((await ask(addressOf(daemon), '/livez')).status).toBe(200);
    await daemon.restart('subject');
    const { body } = await ask(addressOf(daemon), '/api/logs?lines=0');
    expect(body).toBe('');
    await daemon.remove('guarded');
    await expect(ask(other, '/livez')).rejects.toThrow('ECONNREFUSED');
    expect((await ask(addressOf(daemon), '/readyz')).status).toBe(200);
  });

  test('what two of them tell of the daemon is told once', async () => {
    const second = new AdminService({ name: 'second', port: 0 });
    const subject = new Subject();
    await using daemon = await entrypoint([admin(), second, subject], quiet);
    await daemon.restart('subject');
    const sent = await new Promise<string>((resolve) => {
      const stream = request(`${addressOf(daemon)}/api/stream`, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
          if (!/service-running[^\n]*subject|subject[^\n]*service-running/.test(text)) return;
          stream.destroy();
          resolve(text);
        });
      });
      stream.on('error', () => {}).end();
    });
    const events = [...sent.matchAll(/^event: event\ndata: (.+)$/gm)].map(([, data]) =>
      JSON.parse(data ?? ''),
    );
    const stopped = events.filter(({ type, service }) => type === 'service-stopped' && service === 'subject');
    expect(stopped).toHaveLength(1);
  });
});

describe('restarting', () => {
  test('is not for its own API, which could not answer; by the entrypoint it is there again', async () => {
    await using daemon = await entrypoint([admin()], quiet);
    const answer = await ask(addressOf(daemon), '/api/services/admin/restart', { method: 'POST' });
    expect(answer.status).toBe(409);
    await daemon.restart('admin');
    expect((await ask(addressOf(daemon), '/livez')).status).toBe(200);
  });

  test('nor are the supervisors above it', async () => {
    const inner = new Supervisor({ name: 'inner', services: [admin()] });
    const outer = new Supervisor({ name: 'outer', services: [inner, new Subject()] });
    await using daemon = await entrypoint([outer], quiet);
    const restart = (name: string) =>
      ask(addressOf(daemon), `/api/services/${name}/restart`, { method: 'POST' });
    for (const name of ['inner', 'outer']) {
      const { status, body } = await restart(name);
      expect([status, JSON.parse(body).error]).toEqual([409, 'ERR_OWN_RESTART']);
    }
    expect((await restart('subject')).status).toBe(200);
    const { services } = JSON.parse((await ask(addressOf(daemon), '/api/status')).body);
    const serving = services.filter(({ servesControl }: { servesControl: boolean }) => servesControl);
    expect(serving.map(({ name }: { name: string }) => name)).toEqual(['outer', 'inner', 'admin']);
  });

  test('goes on when the client goes, and the log says how it ended', async () => {
    const subject = new Subject();
    await using daemon = await entrypoint([admin(), subject], quiet);
    const logged = audited(subject);
    const begun = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    subject.starting = () => {
      begun.resolve();
      return gate.promise;
    };
    const client = request(`${addressOf(daemon)}/api/services/subject/restart`, { method: 'POST' });
    client.on('error', () => {}).end();
    await begun.promise;
    client.destroy();
    // It is gone there, too, when a later one has been answered.
    await ask(addressOf(daemon), '/livez');
    gate.resolve();
    expect(await logged).toMatch(
      /^POST \/api\/services\/subject\/restart by 127\.0\.0\.1:\d+: 200 in \d+ ms$/,
    );
  });

  test('a reload that takes out what serves it is answered, and so is one that changes it', async () => {
    const subject = new Subject();
    const hooks = {
      reload: async (daemon: Entrypoint) => {
        await daemon.restart('admin');
      },
    };
    await using daemon = await entrypoint([admin(), subject], { ...quiet, hooks });
    const logged = audited(subject);
    const before = addressOf(daemon);
    const answer = await ask(before, '/api/reload', { method: 'POST' });
    expect([answer.status, JSON.parse(answer.body)]).toEqual([202, { detached: true }]);
    expect(await logged).toMatch(/^POST \/api\/reload by .*: 202 in \d+ ms$/);
    while (addressOf(daemon) === '' || addressOf(daemon) === before) await settle();
    expect((await ask(addressOf(daemon), '/livez')).status).toBe(200);
  });

  test('what ends with the control plane is refused when that is closed', async () => {
    await using daemon = await entrypoint([admin()], quiet);
    const address = addressOf(daemon);
    const profile = ask(address, '/api/profile?seconds=300', { method: 'POST' });
    const taken = () => ask(address, '/api/profile?seconds=1&format=report', { method: 'POST' });
    while ((await taken()).status !== 409);
    const restarting = daemon.restart('admin');
    const { status, body } = await profile;
    expect([status, JSON.parse(body).error]).toEqual([503, 'ERR_CLOSING']);
    await restarting;
  });

  test('a start that is aborted leaves nothing listening, also when the thread goes on', async () => {
    // A port that is free again may be another's by now.
    await using folder = await mkdtempDisposable(join(tmpdir(), 'bosun-admin-'));
    const path = join(folder.path, 'aborted.sock');
    const watcher = new Watcher(() => {});
    const start = new AbortController();
    const { options: own, name: server } = new AdminService({ path });
    const options = { ...own, server, path, token: undefined, snapshotDir: undefined };
    const listening = watcher.rpc.call('listen', options, { signal: start.signal });
    start.abort(new Error('enough'));
    await expect(listening).rejects.toThrow('enough');
    await watcher.rpc.call('unlisten', server);
    await expect(ask(`unix:${path}`, '/livez')).rejects.toThrow('ENOENT');
    await watcher.close();
  });
});

describe('/livez', () => {
  test('answers in words, in detail and as JSON', async () => {
    await using daemon = await entrypoint([admin()], quiet);
    const plain = await ask(addressOf(daemon), '/livez');
    expect([plain.status, plain.body, plain.headers['content-type']]).toEqual([
      200,
      'ok\n',
      'text/plain; charset=utf-8',
    ]);
    const json = await ask(addressOf(daemon), '/livez', { headers: { accept: 'application/json' } });
    expect(JSON.parse(json.body)).toEqual({ ok: true, blockedMs: expect.any(Number) });
  });
});

describe('/startupz', () => {
  test('says no until all services have started, and yes from then on', async () => {
    const gate = Promise.withResolvers<void>();
    const slow = new Subject({ name: 'slow' });
    slow.starting = () => gate.promise;
    await using daemon = new Entrypoint([admin(), slow], quiet);
    const adminRuns = new Promise<void>((resolve) =>
      daemon.on('service-running', ({ service }) => service === 'admin' && resolve()),
    );
    const started = daemon.start();
    await adminRuns;
    const early = await ask(addressOf(daemon), '/startupz?verbose');
    expect([early.status, early.body]).toEqual([
      503,
      expect.stringMatching(/^not ok: the daemon is starting\n(.*\n)*\[-\] slow starting\n/),
    ]);
    expect((await ask(addressOf(daemon), '/readyz')).status).toBe(503);
    expect((await ask(addressOf(daemon), '/livez')).status).toBe(200);
    gate.resolve();
    await started;
    expect(await until(daemon, '/startupz', 200)).toBe('ok\n');
    expect(await until(daemon, '/readyz', 200)).toBe('ok\n');
  });
});

describe('/api/status', () => {
  test('shows how the services are, also when one of them does not say', async () => {
    const subject = new Subject();
    const hung = new Subject({ name: 'hung' });
    hung.said = () => new Promise(() => {});
    await using daemon = await entrypoint([admin(), subject, hung], quiet);
    const { body } = await ask(addressOf(daemon), '/api/status');
    const { services } = JSON.parse(body) as { services: { name: string; health: unknown }[] };
    expect(Object.fromEntries(services.map(({ name, health }) => [name, health]))).toEqual({
      admin: { ok: true },
      subject: { ok: true },
      hung: { ok: false, detail: 'health() gave no answer within 400 ms' },
    });
  });
});

describe('/readyz', () => {
  test('follows health(), and says what is wrong', async () => {
    const subject = new Subject();
    await using daemon = await entrypoint([admin(), subject], quiet);
    expect((await ask(addressOf(daemon), '/readyz')).status).toBe(200);
    subject.said = () => ({ ok: false, detail: 'no disk' });
    const unwell = await ask(addressOf(daemon), '/readyz?verbose');
    expect([unwell.status, unwell.body]).toEqual([
      503,
      'not ok: not well: subject\n[+] admin running\n[-] subject running: no disk\n',
    ]);
    subject.said = () => ({ ok: true });
    expect((await ask(addressOf(daemon), '/readyz')).status).toBe(200);
  });

  test('is no when a service throws in health()', async () => {
    const subject = new Subject();
    await using daemon = await entrypoint([admin(), subject], quiet);
    subject.said = () => Promise.reject(new Error('broken'));
    expect((await ask(addressOf(daemon), '/readyz')).status).toBe(503);
    subject.said = () => {
      throw new Error('broken');
    };
    expect((await ask(addressOf(daemon), '/readyz')).status).toBe(503);
  });

  test('asks a service anew that hung and has been restarted', async () => {
    const subject = new Subject();
    const options = { port: 0, healthTimeoutMs: 20 };
    await using daemon = await entrypoint([new AdminService(options), subject], quiet);
    subject.said = () => new Promise(() => {});
    expect((await ask(addressOf(daemon), '/readyz')).status).toBe(503);
    await daemon.restart('subject');
    subject.said = () => ({ ok: true });
    expect(await until(daemon, '/readyz', 200)).toBe('ok\n');
  });

  test('is no while a critical service is being restarted, and yes when it runs again', async () => {
    const subject = new Subject();
    await using daemon = await entrypoint([admin(), subject], quiet);
    const gate = Promise.withResolvers<void>();
    subject.starting = () => gate.promise;
    const restarting = daemon.restart('subject');
    expect(await until(daemon, '/readyz?verbose', 503)).toMatch(/\[-\] subject st/);
    gate.resolve();
    await restarting;
    await until(daemon, '/readyz', 200);
  });

  test('does not mind that a service that is not critical has failed for good, nor one that has finished', async () => {
    const spare = new Subject({ name: 'spare', critical: false, restart: 'never' });
    const done = new Subject({ name: 'done' });
    await using daemon = await entrypoint([admin(), spare, done], quiet);
    const gaveUp = eventOf(daemon, 'service-gave-up');
    const finished = new Promise<void>((resolve) =>
      daemon.on('service-stopped', ({ service }) => service === 'done' && resolve()),
    );
    spare.scope?.fail(new Error('it broke'));
    done.scope?.finish();
    await Promise.all([gaveUp, finished]);
    for (;;) {
      const { status, body } = await ask(addressOf(daemon), '/readyz?verbose');
      expect(status).toBe(200);
      if (body.includes('[+] spare failed: it broke') && body.includes('[+] done stopped')) break;
    }
  });

  test('counts the services of a supervisor, unless that is not critical', async () => {
    const inner = new Subject({ name: 'inner' });
    const spare = new Subject({ name: 'spare' });
    const services = [
      admin(),
      new Supervisor({ name: 'needed', services: [inner] }),
      new Supervisor({ name: 'extra', critical: false, services: [spare] }),
    ];
    await using daemon = await entrypoint(services, quiet);
    spare.said = () => ({ ok: false });
    expect((await ask(addressOf(daemon), '/readyz')).status).toBe(200);
    inner.said = () => ({ ok: false });
    expect((await ask(addressOf(daemon), '/readyz')).body).toBe('not ok: not well: inner\n');
  });

  test('says no before any service begins to stop, and the control plane is there until all have', async () => {
    const first = new Subject({ name: 'first' });
    const last = new Subject({ name: 'last', after: ['first'] });
    await using daemon = await entrypoint([admin(), first, last], quiet);
    const address = addressOf(daemon);
    const seen: string[] = [];
    const look = (name: string) => async () => {
      const ready = await ask(address, '/readyz');
      const live = await ask(address, '/livez');
      seen.push(`${name}: ${ready.status} ${ready.body.trim()}, ${live.status}`);
    };
    first.stopping = look('first');
    last.stopping = look('last');
    await daemon.stop();
    expect(seen).toEqual([
      'last: 503 not ok: the daemon is stopping, 200',
      'first: 503 not ok: the daemon is stopping, 200',
    ]);
    await expect(ask(address, '/livez')).rejects.toThrow(/ECONNREFUSED/);
  });

  test('says no during the delay before the shutdown, while services still run', async () => {
    const subject = new Subject();
    const clock = new FakeClock();
    const options = { ...quiet, clock, shutdown: { delayMs: 5_000 } };
    await using daemon = await entrypoint([admin(), subject], options);
    const stopped: boolean[] = [];
    subject.stopping = async () => void stopped.push(true);
    const stop = daemon.stop();
    const body = await until(daemon, '/readyz?verbose', 503);
    expect(body).toContain('the daemon is stopping');
    expect(stopped).toEqual([]);
    await clock.advance(5_000);
    await stop;
    expect(stopped).toEqual([true]);
  });

  test('says no when the shutdown begins while the services are being asked', async () => {
    const subject = new Subject();
    const clock = new FakeClock();
    const options = { ...quiet, clock, shutdown: { delayMs: 5_000 } };
    await using daemon = await entrypoint([admin(), subject], options);
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<Health>();
    subject.said = () => {
      asked.resolve();
      return answer.promise;
    };
    const probe = ask(addressOf(daemon), '/readyz');
    await asked.promise;
    const stop = daemon.stop();
    answer.resolve({ ok: true });
    expect((await probe).body).toBe('not ok: the daemon is stopping\n');
    await clock.advance(5_000);
    await stop;
  });
});
