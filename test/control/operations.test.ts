import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { entrypoint, Service } from 'bosun';
import { AdminService } from 'bosun/services/admin';
import { describe, expect, it, onTestFinished, vi } from 'vitest';

vi.setConfig({ testTimeout: 60_000 });

class Fine extends Service {
  override start(): void {}
}

/** Starts once; later not, with another error each time. */
class Once extends Service {
  #starts = 0;

  override start(): void {
    this.#starts += 1;
    if (this.#starts > 1) throw new Error(`no start ${this.#starts}`);
  }
}

/** A daemon with an admin service; it is stopped at the end of the test. */
async function running(services: readonly Service[] = [], options: { readonly snapshotDir?: string } = {}) {
  const admin = new AdminService({ name: 'admin', port: 0, ...options });
  const daemon = await entrypoint([admin, ...services], { log: { level: 'silent' }, ownsProcess: false });
  onTestFinished(() => daemon.stop());
  const [url = ''] = admin.addresses;
  return {
    daemon,
    url,
    get: (path: string, signal?: AbortSignal) => fetch(`${url}${path}`, { signal: signal ?? null }),
    post: (path: string, signal?: AbortSignal) =>
      fetch(`${url}${path}`, { method: 'POST', signal: signal ?? null }),
  };
}

async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'bosun-operations-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

const errorOf = async (response: Response) => ({
  status: response.status,
  ...((await response.json()) as { readonly error: string; readonly message: string }),
});

describe('POST /api/services/<name>/restart', () => {
  it('answers when the service runs again, or with the error of its start', async () => {
    const once = new Once({ name: 'once', restart: 'never', critical: false });
    const { post, daemon } = await running([new Fine({ name: 'a:b' }), once]);
    const done = await post(`/api/services/${encodeURIComponent('a:b')}/restart`);
    expect(done.status).toBe(200);
    expect(await done.json()).toEqual({ name: 'a:b', durationMs: expect.any(Number) });
    expect(daemon.services.find(({ name }) => name === 'a:b')).toMatchObject({ restarts: 1 });
    expect(await errorOf(await post('/api/services/once/restart'))).toEqual({
      status: 500,
      error: 'ERR_SERVICE_START',
      message: 'service "once" could not start: no start 2',
    });
    expect(await errorOf(await post('/api/services/onze/restart'))).toEqual({
      status: 404,
      error: 'ERR_UNKNOWN_SERVICE',
      message: 'there is no service named "onze" (did you mean "once"?)',
    });
    expect(await errorOf(await post('/api/services/admin/restart'))).toMatchObject({
      status: 409,
      error: 'ERR_OWN_RESTART',
    });
  });
});

describe('GET /api/memory, GET /api/profile', () => {
  it('answer 404 as long as there is no report, and say what makes them', async () => {
    const { get } = await running();
    expect(await errorOf(await get('/api/memory'))).toMatchObject({
      status: 404,
      error: 'ERR_NO_REPORT',
      message: expect.stringContaining('memory-tracer'),
    });
    expect(await errorOf(await get('/api/profile'))).toMatchObject({
      status: 404,
      message: expect.stringContaining('profiler'),
    });
  });
});

describe('POST /api/profile', () => {
  it('refuses bad options', async () => {
    const { post } = await running();
    const cases: [string, string][] = [
      ['seconds=0', 'option "seconds" must be an integer between 1 and 300, received "0"'],
      ['seconds=301', 'received "301"'],
      ['seconds=ten', 'received "ten"'],
      ['hertz=49', 'option "hertz" must be an integer between 50 and 10000, received "49"'],
      ['seconds=300&hertz=501', 'option "hertz" must be an integer between 50 and 500, received "501"'],
      ['hertz=10001', 'received "10001"'],
      ['format=svg', 'option "format" must be one of cpuprofile, pprof, report, received "svg"'],
      ['second=1', '(did you mean "seconds"?)'],
    ];
    for (const [query, message] of cases) {
      expect(await errorOf(await post(`/api/profile?${query}`))).toEqual({
        status: 400,
        error: 'ERR_OPTIONS',
        message: expect.stringContaining(message),
      });
    }
  });

  it('takes one at a time, and gives it up when the client goes', async () => {
    const { post } = await running();
    const client = new AbortController();
    const long = post('/api/profile?seconds=300', client.signal);
    long.catch(() => {});
    const short = async () => (await post('/api/profile?seconds=1&format=report')).status;
    await expect.poll(short, { timeout: 20_000 }).toBe(409);
    client.abort();
    await expect(long).rejects.toThrow();
    await expect.poll(short, { timeout: 20_000 }).toBe(200);
  });
});

describe('heap snapshots', () => {
  it('are planned, taken one at a time, and downloaded by name; no other file is', async () => {
    const dir = await folder();
    await writeFile(join(dir, 'secret.txt'), 'geheim');
    const { get, post, url } = await running([], { snapshotDir: dir });
    expect(await (await get('/api/heap-snapshot')).json()).toEqual({
      heapUsedBytes: expect.any(Number),
      estimatedPauseMs: expect.any(Number),
      estimatedBytes: expect.any(Number),
      freeBytes: expect.any(Number),
      refusal: null,
    });
    const taken = await post('/api/heap-snapshot');
    expect(taken.status).toBe(200);
    const { path, bytes } = (await taken.json()) as { readonly path: string; readonly bytes: number };
    const file = await get(`/api/heap-snapshot/${basename(path)}`);
    expect(file.headers.get('content-length')).toBe(String(bytes));
    expect(await file.json()).toMatchObject({ snapshot: { node_count: expect.any(Number) } });
    expect(await errorOf(await post('/api/heap-snapshot'))).toMatchObject({
      status: 409,
      error: 'ERR_HEAP_SNAPSHOT_REFUSED',
    });
    expect(await (await get('/api/heap-snapshot')).json()).toMatchObject({ refusal: { reason: 'too-soon' } });
    for (const name of [
      'secret.txt',
      '..%2f..%2fetc%2fpasswd',
      '%2fetc%2fpasswd',
      '..',
      `x${basename(path)}`,
    ]) {
      // `fetch` would take dots out of the path.
      const status = await new Promise((resolve, reject) => {
        request(`${url}/`, { path: `/api/heap-snapshot/${name}` }, (response) => {
          resolve(response.resume().statusCode);
        })
          .once('error', reject)
          .end();
      });
      expect([400, 404], name).toContain(status);
    }
    await rm(path);
    expect(await errorOf(await get(`/api/heap-snapshot/${basename(path)}`))).toMatchObject({ status: 404 });
  });

  it('leave no folder behind when none was taken', async () => {
    const home = await folder();
    vi.stubEnv('TMPDIR', home);
    onTestFinished(() => void vi.unstubAllEnvs());
    const { get, daemon } = await running();
    expect((await get('/api/heap-snapshot')).status).toBe(200);
    expect(await readdir(home)).toHaveLength(1);
    await daemon.stop();
    expect(await readdir(home)).toEqual([]);
  });
});
