import { spawn } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { getEventListeners, once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ListenError } from '../../src/net/errors.ts';
import { formatAddress, listen, listenError } from '../../src/net/listen.ts';

const never = new AbortController().signal;
let directory: string;
let servers: Server[];

const server = () => {
  const made = createServer();
  servers.push(made);
  return made;
};

beforeEach(async () => {
  servers = [];
  directory = await mkdtemp(join(tmpdir(), 'bosun-listen-'));
});

afterEach(async () => {
  for (const made of servers) if (made.listening) await new Promise((done) => made.close(done));
  await rm(directory, { recursive: true });
});

const failure = async (promise: Promise<unknown>): Promise<ListenError> => {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ListenError);
  return error as ListenError;
};

describe('listen', () => {
  it('takes a free port for port 0 and says which', async () => {
    const made = server();
    const address = await listen(made, { host: '127.0.0.1', port: 0 }, never);
    expect(address).toEqual({ host: '127.0.0.1', port: (made.address() as { port: number }).port });
  });

  it('says that a port is in use', async () => {
    const { port } = (await listen(server(), { port: 0 }, never)) as { port: number };
    const error = await failure(listen(server(), { port }, never));
    expect(error).toMatchObject({ code: 'ERR_LISTEN', reason: 'in-use', address: `127.0.0.1:${port}` });
    expect(error.message).toBe(`port ${port} on 127.0.0.1 is in use`);
  });

  it('says that the machine has no such address', async () => {
    const error = await failure(listen(server(), { host: '203.0.113.1', port: 0 }, never));
    expect(error).toMatchObject({ reason: 'not-available', address: '203.0.113.1:0' });
  });

  it('says that a host name cannot be resolved', async () => {
    const error = await failure(listen(server(), { host: 'no-such-host.invalid', port: 0 }, never));
    expect(error.reason).toBe('host-not-found');
  });

  it('says that a port is privileged', async () => {
    const denied = Object.assign(new Error('listen EACCES'), { code: 'EACCES' });
    const error = await listenError(denied, { host: '127.0.0.1', port: 80 });
    expect(error).toMatchObject({ reason: 'permission-denied', address: '127.0.0.1:80' });
    expect(error.message).toContain('privileged');
  });

  it('rejects with the reason of a signal that has aborted, and listens to nothing', async () => {
    const made = server();
    await expect(listen(made, { port: 0 }, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
    expect(made.listening).toBe(false);
  });

  it.each([['127.0.0.1'], ['localhost']])(
    'rejects promptly when the signal aborts while it begins to listen on %s, and leaves nothing open',
    async (host) => {
      const abort = new AbortController();
      const made = server();
      const listening = listen(made, { host, port: 0 }, abort.signal);
      abort.abort(new Error('enough'));
      await expect(listening).rejects.toThrow('enough');
      await lookup(host);
      expect(made.listening).toBe(false);
      expect(made.listenerCount('listening')).toBe(0);
      expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
    },
  );

  it('leaves no listener on the signal', async () => {
    const abort = new AbortController();
    await listen(server(), { port: 0 }, abort.signal);
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
  });
});

describe('listen on a Unix socket', () => {
  it('replaces the socket that a killed process has left', async () => {
    const path = join(directory, 'stale.sock');
    const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await listen(server(), { path }, never)).toEqual({ path });
  });

  it('refuses a socket that somebody serves', async () => {
    const path = join(directory, 'live.sock');
    const live = server();
    await listen(live, { path }, never);
    const error = await failure(listen(server(), { path }, never));
    expect(error).toMatchObject({ reason: 'in-use', address: path });
    expect(live.listening).toBe(true);
  });

  it('refuses a path that is a file, and leaves the file alone', async () => {
    const path = join(directory, 'file');
    await writeFile(path, 'precious');
    const error = await failure(listen(server(), { path }, never));
    expect(error).toMatchObject({ reason: 'path-taken' });
  });

  it('says that the directory is missing', async () => {
    const error = await failure(listen(server(), { path: join(directory, 'none', 'a.sock') }, never));
    expect(error.reason).toBe('no-directory');
    expect(error.message).toContain(join(directory, 'none'));
  });

  it.skipIf(process.getuid?.() === 0)('says that it may not write to the directory', async () => {
    await chmod(directory, 0o500);
    const error = await failure(listen(server(), { path: join(directory, 'a.sock') }, never));
    expect(error.reason).toBe('permission-denied');
    await chmod(directory, 0o700);
  });
});

describe('formatAddress', () => {
  it('writes hosts, IPv6 hosts and paths, with a scheme and without', () => {
    expect(formatAddress({ host: '127.0.0.1', port: 80 })).toBe('127.0.0.1:80');
    expect(formatAddress({ host: '::1', port: 80 }, 'http')).toBe('http://[::1]:80');
    expect(formatAddress({ path: '/run/a.sock' })).toBe('/run/a.sock');
    expect(formatAddress({ path: '/run/a.sock' }, 'http')).toBe('unix:/run/a.sock');
  });
});
