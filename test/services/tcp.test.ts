import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Entrypoint, type EntrypointOptions, entrypoint, type Scope, type Service } from 'bosun';
import { ConnectionClosedError, type TcpConnection, TcpService } from 'bosun/services/tcp';
import { FakeClock, settle } from 'bosun/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { TcpClient } from '../support/tcp-client.ts';

type Handle = (connection: TcpConnection, signal: AbortSignal) => Promise<void> | void;

/** A service whose handler a test brings along, and that shows its connections. */
class Scripted extends TcpService {
  readonly connections: TcpConnection[] = [];
  #handle: Handle = () => {};
  #arrivals: (() => void)[] = [];

  serve(handle: Handle): this {
    this.#handle = handle;
    return this;
  }

  protected override handle(connection: TcpConnection, signal: AbortSignal) {
    this.connections.push(connection);
    for (const arrived of this.#arrivals.splice(0)) arrived();
    return this.#handle(connection, signal);
  }

  async connection(index = 0): Promise<TcpConnection> {
    for (;;) {
      const connection = this.connections[index];
      if (connection !== undefined) return connection;
      await new Promise<void>((resolve) => this.#arrivals.push(resolve));
    }
  }
}

const echo: Handle = async (connection) => {
  for await (const chunk of connection) await connection.write(chunk);
};

const running: { readonly daemon: Entrypoint; readonly clock: FakeClock | undefined }[] = [];

async function run(service: Service, options: EntrypointOptions = {}): Promise<Entrypoint> {
  const daemon = await entrypoint([service], {
    log: { level: 'silent' },
    ownsProcess: false,
    ...options,
  });
  const { clock } = options;
  running.push({ daemon, clock: clock instanceof FakeClock ? clock : undefined });
  return daemon;
}

const connectTo = (service: Service) => TcpClient.to(service.addresses[0] as string);

afterEach(async () => {
  for (const { daemon, clock } of running.splice(0)) {
    const stopped = daemon.stop().catch(() => {});
    await clock?.advance(10_000);
    await stopped;
  }
});

describe('a connection', () => {
  it('is iterated over until its peer ends, and the answers still arrive', async () => {
    const service = new Scripted().serve(async (connection) => {
      const chunks: Buffer[] = [];
      for await (const chunk of connection) chunks.push(chunk);
      await connection.write(`got ${Buffer.concat(chunks)}`);
    });
    await run(service);
    await using client = await connectTo(service);
    expect(String(await client.end('all of it'))).toBe('got all of it');
  });

  it('is ended when its handler returns, also a handler that reads nothing', async () => {
    const service = new Scripted().serve((connection) => connection.write('Dollar rate is 33.\n'));
    await run(service);
    await using client = await connectTo(service);
    expect(await client.ended).toBe('end');
    expect(String(client.received)).toBe('Dollar rate is 33.\n');
  });

  it('goes on where a loop that was left has stopped', async () => {
    const service = new Scripted().serve(async (connection) => {
      for await (const name of connection) {
        await connection.write(`hello ${name}`);
        break;
      }
      for await (const chunk of connection) await connection.write(`, ${chunk}`);
    });
    await run(service);
    await using client = await connectTo(service);
    await client.send('you');
    await client.receive(9);
    expect(String(await client.end('again'))).toBe('hello you, again');
  });

  it('does not read on while the loop is busy: a peer that floods it is held back', async () => {
    const gate = Promise.withResolvers<void>();
    const service = new Scripted().serve(async (connection) => {
      let bytes = 0;
      for await (const chunk of connection) {
        await gate.promise;
        bytes += chunk.length;
      }
      await connection.write(String(bytes));
    });
    await run(service);
    await using client = await connectTo(service);
    const sent = 32 * 1024 * 1024;
    const flood = client.end(Buffer.alloc(sent));
    const { socket } = await service.connection();
    await stalls(() => socket.bytesRead);
    expect(socket.bytesRead).toBeLessThan(512 * 1024);
    expect(socket.readableLength).toBeLessThanOrEqual(2 * socket.readableHighWaterMark);
    gate.resolve();
    expect(String(await flood)).toBe(String(sent));
  });

  it('makes write wait when the peer never reads, with a bounded buffer, and serves others meanwhile', async () => {
    const chunk = Buffer.alloc(64 * 1024);
    const service = new Scripted().serve(async (connection) => {
      for await (const _ of connection) while (!connection.signal.aborted) await connection.write(chunk);
    });
    await run(service);
    await using stalled = await connectTo(service);
    stalled.socket.pause();
    await stalled.send('go');
    const { socket } = await service.connection();
    await stalls(() => socket.bytesWritten);
    expect(socket.writableLength).toBeGreaterThan(0);
    expect(socket.writableLength).toBeLessThanOrEqual(2 * chunk.length);
    await using other = await connectTo(service);
    await other.send('go');
    await other.receive(1024 * 1024);
  });

  it('makes write reject with ERR_CONNECTION_CLOSED, and its signal abort, when the peer is gone', async () => {
    const rejected = Promise.withResolvers<unknown>();
    const service = new Scripted().serve(async (connection, signal) => {
      const { signal: closed } = connection;
      if (!closed.aborted) await once(closed, 'abort');
      await connection.write('too late').catch((error) => rejected.resolve({ error, signal, closed }));
    });
    await run(service);
    await using client = await connectTo(service);
    await service.connection();
    client.socket.resetAndDestroy();
    const { error, signal, closed } = (await rejected.promise) as Record<string, never>;
    expect(error).toBeInstanceOf(ConnectionClosedError);
    expect(error).toMatchObject({ code: 'ERR_CONNECTION_CLOSED', cause: { code: 'ECONNRESET' } });
    expect(signal).toMatchObject({ aborted: true });
    expect(closed).toMatchObject({ aborted: true });
  });

  it('makes the loop throw when the peer resets it, and a handler that lets that out has not failed', async () => {
    const service = new Scripted().serve(echo);
    await run(service);
    await using client = await connectTo(service);
    await client.send('x');
    await client.receive(1);
    const { signal } = await service.connection();
    client.socket.resetAndDestroy();
    if (!signal.aborted) await once(signal, 'abort');
    await settle();
    expect(service.statistics).toMatchObject({ connections: 0, broken: 1, failed: 0 });
  });

  it('rejects a write after its end, which can be waited for', async () => {
    const outcome = Promise.withResolvers<unknown>();
    const service = new Scripted().serve(async (connection) => {
      await connection.write('last words');
      await connection.end();
      await connection.write('more').catch(outcome.resolve);
    });
    await run(service);
    await using client = await connectTo(service);
    expect(await outcome.promise).toMatchObject({ code: 'ERR_CONNECTION_CLOSED' });
    await client.ended;
    expect(String(client.received)).toBe('last words');
  });

  it('that nobody waits for does not make the service fail when its writes are rejected', async () => {
    const service = new Scripted().serve(async (connection) => {
      await connection.end();
      void connection.write('into the void');
    });
    const daemon = await run(service, { ownsProcess: true });
    await using client = await connectTo(service);
    await client.ended;
    await settle();
    expect(daemon.services[0]?.state.status).toBe('running');
  });
});

describe('a handler', () => {
  it.each([
    [
      'throws',
      () => {
        throw new Error('boom');
      },
    ],
    [
      'rejects',
      async () => {
        throw new Error('boom');
      },
    ],
  ])('that %s loses its own connection, not the service', async (_, handle: Handle) => {
    const service = new Scripted().serve(handle);
    const daemon = await run(service);
    await using broken = await connectTo(service);
    await broken.ended;
    service.serve(echo);
    await using client = await connectTo(service);
    expect(String(await client.end('still here'))).toBe('still here');
    expect(service.statistics.failed).toBe(1);
    expect(daemon.services[0]).toMatchObject({ state: { status: 'running' }, restarts: 0 });
  });

  it('whose stray rejection nobody catches makes its own service fail', async () => {
    const service = new Scripted({ restart: 'never', critical: false }).serve(() => {
      void Promise.reject(new Error('stray'));
    });
    const daemon = await run(service, { ownsProcess: true });
    const failed = new Promise<Error>((resolve) =>
      daemon.on('service-failed', ({ error }) => resolve(error)),
    );
    await using _client = await connectTo(service);
    expect((await failed).message).toBe('stray');
  });
});

describe('limits', () => {
  it('close what comes beyond maxConnections in order, and let others in when one has gone', async () => {
    const service = new Scripted({ maxConnections: 1 }).serve(echo);
    await run(service);
    await using first = await connectTo(service);
    await first.send('1');
    await first.receive(1);
    await using second = await connectTo(service);
    expect(await second.ended).toBe('end');
    expect(service.statistics).toMatchObject({ accepted: 1, refused: 1 });
    const { socket } = await service.connection();
    const gone = once(socket, 'close');
    await first.end();
    await gone;
    await using third = await connectTo(service);
    expect(String(await third.end('in'))).toBe('in');
  });

  it('close a connection that is idle for idleTimeoutMs, and only that', async () => {
    const clock = new FakeClock();
    const service = new Scripted({ idleTimeoutMs: 1_000 }).serve(echo);
    await run(service, { clock });
    await using idle = await connectTo(service);
    await using busy = await connectTo(service);
    const silent = await service.connection(0);
    for (let i = 1; i <= 4; i++) {
      await busy.send('x');
      await busy.receive(i);
      await clock.advance(400);
    }
    await idle.ended;
    expect(silent.signal.reason).toMatchObject({ cause: { code: 'ERR_CONNECTION_TIMEOUT', kind: 'idle' } });
    expect(String(await busy.end('y'))).toBe('xxxxy');
  });

  it('cut off a peer that has taken nothing for writeTimeoutMs', async () => {
    const clock = new FakeClock();
    const outcome = Promise.withResolvers<unknown>();
    const service = new Scripted({ writeTimeoutMs: 1_000 }).serve(async (connection) => {
      try {
        for (;;) await connection.write(Buffer.alloc(64 * 1024));
      } catch (error) {
        outcome.resolve(error);
      }
    });
    await run(service, { clock });
    await using client = await connectTo(service);
    client.socket.pause();
    const { socket } = await service.connection();
    await stalls(() => socket.bytesWritten);
    await clock.advance(1_500);
    expect(await outcome.promise).toMatchObject({
      code: 'ERR_CONNECTION_CLOSED',
      cause: { code: 'ERR_CONNECTION_TIMEOUT', kind: 'write', timeoutMs: 1_000 },
    });
  });

  it('cut off a peer that does not close its side after the handler has ended', async () => {
    const clock = new FakeClock();
    const service = new Scripted();
    await run(service, { clock });
    await using client = await connectTo(service);
    await client.ended;
    const { socket } = await service.connection();
    expect(socket.destroyed).toBe(false);
    const closed = once(socket, 'close');
    await clock.advance(1_000);
    await closed;
  });

  it('leave nothing in memory of connections that have closed', async () => {
    const service = new Scripted().serve(echo);
    await run(service);
    const handled: WeakRef<TcpConnection>[] = [];
    for (let i = 0; i < 200; i++) {
      await using client = await connectTo(service);
      expect(String(await client.end('x'))).toBe('x');
      const [connection] = service.connections.splice(0);
      handled.push(new WeakRef(connection as TcpConnection));
    }
    const alive = () => handled.filter((connection) => connection.deref() !== undefined).length;
    for (let i = 0; i < 20 && alive() > 5; i++) {
      await settle();
      collectGarbage();
    }
    // The last ones may still be on a stack, or in a cache of the engine.
    expect(alive()).toBeLessThanOrEqual(5);
    expect(service.statistics).toMatchObject({ connections: 0, accepted: 200 });
  });
});

describe('stop', () => {
  it('serves what had arrived, also what is still in the kernel, and sends it all', async () => {
    const gate = Promise.withResolvers<void>();
    const service = new Scripted().serve(async (connection) => {
      for await (const chunk of connection) {
        await gate.promise;
        await connection.write(chunk);
      }
    });
    const daemon = await run(service);
    await using client = await connectTo(service);
    // More than the 64 KiB that the service buffers, and no more than the kernel takes.
    const data = Buffer.alloc(128 * 1024, 'abc');
    await client.send('first');
    await service.connection();
    await client.send(data);
    const stopped = daemon.stop();
    gate.resolve();
    expect(await client.ended).toBe('end');
    client.socket.end();
    await stopped;
    expect(client.received.equals(Buffer.concat([Buffer.from('first'), data]))).toBe(true);
  });

  it('ends idle connections in order, and takes no new ones', async () => {
    const service = new Scripted().serve(echo);
    const daemon = await run(service);
    await using client = await connectTo(service);
    await client.send('x');
    await client.receive(1);
    const address = service.addresses[0] as string;
    const stopped = daemon.stop();
    expect(await client.ended).toBe('end');
    client.socket.end();
    await stopped;
    await expect(TcpClient.to(address)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(service.addresses).toEqual([]);
  });

  it('tells a handler that waits, which may reject with the reason', async () => {
    const clock = new FakeClock();
    const service = new Scripted().serve(async (connection, signal) => {
      for (;;) {
        await connection.write('tick');
        await clock.sleep(1_000, { signal });
      }
    });
    const daemon = await run(service, { clock });
    await using client = await connectTo(service);
    await client.receive(4);
    const stopped = daemon.stop();
    await clock.advance(0);
    expect(await client.ended).toBe('end');
    client.socket.end();
    await stopped;
    expect(service.statistics).toMatchObject({ failed: 0, broken: 0 });
  });

  it('does not wait for ever for a peer that does not close its side', async () => {
    const clock = new FakeClock();
    const service = new Scripted().serve(echo);
    const daemon = await run(service, { clock });
    await using client = await connectTo(service);
    await client.send('x');
    await client.receive(1);
    const stopped = daemon.stop();
    await clock.advance(0);
    await client.ended;
    await clock.advance(1_000);
    await stopped;
  });

  it('forces a handler that hangs when its time is up, and names the connection', async () => {
    const clock = new FakeClock();
    const service = new Scripted({ name: 'stuck', stopTimeoutMs: 5_000 }).serve(async (connection) => {
      await connection.write('x');
      await once(connection.signal, 'abort');
    });
    const daemon = await run(service, { clock });
    await using client = await connectTo(service);
    await client.receive(1);
    const peer = `127.0.0.1:${client.socket.localPort}`;
    const stopped = daemon.stop().catch((error: unknown) => error);
    await clock.advance(4_999);
    expect(client.socket.readableEnded).toBe(false);
    await clock.advance(1);
    expect(await stopped).toMatchObject({
      errors: [{ code: 'ERR_SERVICE_STOP_FORCED', service: 'stuck', heldBy: [`1 connection (${peer})`] }],
    });
    await client.ended;
    expect((await daemon.closed).exitCode).toBe(70);
  });

  it('names three connections and counts the rest', async () => {
    const service = new Scripted().serve(echo);
    await run(service);
    const clients: TcpClient[] = [];
    for (let i = 0; i < 5; i++) clients.push(await connectTo(service));
    await service.connection(4);
    const [a, b, c] = clients.map(({ socket }) => `127.0.0.1:${socket.localPort}`);
    expect(service.waitingFor()).toEqual([`5 connections (${a}, ${b}, ${c} and 2 more)`]);
    for (const client of clients) await client[Symbol.asyncDispose]();
  });

  it('lets the same port be taken again at once: a restart serves on it', async () => {
    const port = await freePort();
    const service = new Scripted({ port }).serve(echo);
    const daemon = await run(service);
    for (let i = 0; i < 3; i++) {
      await using client = await connectTo(service);
      await client.send('x');
      await client.receive(1);
      const restarted = daemon.restart(service.name);
      await client.end();
      await restarted;
    }
    await using client = await connectTo(service);
    expect(String(await client.end('again'))).toBe('again');
  });
});

describe('start', () => {
  it('says that the port is in use', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const service = new Scripted({ port });
    await expect(run(service)).rejects.toMatchObject({
      code: 'ERR_SERVICE_START',
      cause: { code: 'ERR_LISTEN', reason: 'in-use', message: `port ${port} on 127.0.0.1 is in use` },
    });
    server.close();
  });

  it.each([
    [{ port: 65_536 }, /option "port" must be at most 65535, received 65536/],
    [{ port: -1 }, /option "port" must be at least 0, received -1/],
    [{ port: 1.5 }, /option "port" must be an integer, received 1.5/],
    [{ maxConnections: 0 }, /option "maxConnections" must be at least 1, received 0/],
    [
      { idleTimeoutMs: 0 },
      /option "idleTimeoutMs" must be greater than 0 \(Infinity: no limit\), received 0/,
    ],
    [{ path: '/tmp/x.sock', port: 5 }, /option "port" cannot be combined with "path"/],
    [{ prot: 5 }, /option "prot" does not exist, received 5 \(did you mean "port"\?\)/],
  ])('refuses %j', (options: object, message) => {
    expect(() => new Scripted(options)).toThrow(message);
  });

  it('that is aborted leaves nothing listening', async () => {
    const port = await freePort();
    class Slow extends Scripted {
      override async start(scope: Scope) {
        await super.start(scope);
        await scope.clock.sleep(Number.POSITIVE_INFINITY, { signal: scope.signal });
      }
    }
    const daemon = new Entrypoint([new Slow({ port })], {
      log: { level: 'silent' },
      ownsProcess: false,
    });
    const started = daemon.start().catch((error: unknown) => error);
    await using client = await reachable(`tcp://127.0.0.1:${port}`);
    await daemon.stop();
    expect(await started).toMatchObject({ code: 'ERR_ENTRYPOINT_STOPPED' });
    await client.ended;
    await expect(TcpClient.to(`tcp://127.0.0.1:${port}`)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('serves on a Unix socket', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'bosun-tcp-'));
    const path = join(directory, 'echo.sock');
    const service = new Scripted({ path }).serve(echo);
    await run(service);
    expect(service.addresses).toEqual([`unix:${path}`]);
    await using client = await connectTo(service);
    expect(String(await client.end('local'))).toBe('local');
    await rm(directory, { recursive: true });
  });
});

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

/** Resolves when a number has stopped growing, for many turns of the event loop. */
async function stalls(value: () => number): Promise<void> {
  for (let still = 0, last = value(); still < 50; last = value()) {
    await settle();
    still = value() === last ? still + 1 : 0;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** A client, as soon as somebody listens. */
async function reachable(address: string): Promise<TcpClient> {
  for (;;) {
    const client = await TcpClient.to(address).catch(() => undefined);
    if (client !== undefined) return client;
    await settle();
  }
}
