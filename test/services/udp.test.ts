import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type Entrypoint, type EntrypointOptions, entrypoint, type Scope } from 'bosun';
import { type RemoteInfo, UdpService } from 'bosun/services/udp';
import { FakeClock } from 'bosun/testing';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';

class Echo extends UdpService {
  protected override handle(message: Buffer, remote: RemoteInfo): Promise<void> | void {
    this.reply(message, remote);
  }
}

/** Tells of every datagram before its handler is called. */
class Scripted extends UdpService {
  handler: (message: Buffer, remote: RemoteInfo, scope: Scope) => Promise<void> | void = () => {};
  readonly messages: string[] = [];
  #arrived = Promise.withResolvers<void>();

  protected override handle(message: Buffer, remote: RemoteInfo, scope: Scope) {
    this.messages.push(String(message));
    this.#arrived.resolve();
    this.#arrived = Promise.withResolvers();
    return this.handler(message, remote, scope);
  }

  async received(count: number): Promise<void> {
    while (this.statistics.received < count) await new Promise((resolve) => setImmediate(resolve));
  }
}

const daemons: Entrypoint[] = [];
const clients: Socket[] = [];

async function run(service: UdpService, options: EntrypointOptions = {}): Promise<Entrypoint> {
  const daemon = await entrypoint([service], { log: { level: 'silent' }, ownsProcess: false, ...options });
  daemons.push(daemon);
  return daemon;
}

/** A client that sends to a service. */
async function clientOf(service: UdpService): Promise<Socket> {
  const { hostname, port } = new URL(service.addresses[0] as string);
  const v6 = hostname.startsWith('[');
  const socket = createSocket(v6 ? 'udp6' : 'udp4');
  clients.push(socket);
  socket.connect(Number(port), v6 ? hostname.slice(1, -1) : hostname);
  await once(socket, 'connect');
  return socket;
}

const send = (socket: Socket, data: string | Uint8Array) =>
  new Promise<void>((resolve, reject) => socket.send(data, (error) => (error ? reject(error) : resolve())));

async function ask(socket: Socket, data: string | Uint8Array): Promise<Buffer> {
  const answer = once(socket, 'message');
  await send(socket, data);
  return (await answer)[0] as Buffer;
}

afterEach(async () => {
  for (const socket of clients.splice(0)) socket.close();
  for (const daemon of daemons.splice(0)) await daemon.stop().catch(() => {});
});

describe('a UDP service', () => {
  it('says where it serves, and answers', async () => {
    const service = new Echo();
    await run(service);
    expect(service.addresses).toEqual([expect.stringMatching(/^udp:\/\/127\.0\.0\.1:\d+$/)]);
    expect(String(await ask(await clientOf(service), 'hello'))).toBe('hello');
  });

  it('echoes any datagram, the empty one and the largest included', async () => {
    const service = new Echo();
    await run(service);
    const client = await clientOf(service);
    expect((await ask(client, '')).length).toBe(0);
    expect((await ask(client, Buffer.alloc(65_507, 7))).equals(Buffer.alloc(65_507, 7))).toBe(true);
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 2_000 }), async (data) => {
        expect((await ask(client, data)).equals(Buffer.from(data))).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  it('serves IPv6 on an IPv6 address', async () => {
    const service = new Echo({ host: '::1' });
    await run(service);
    expect(service.addresses[0]).toMatch(/^udp:\/\/\[::1\]:\d+$/);
    expect(String(await ask(await clientOf(service), 'six'))).toBe('six');
  });

  it('refuses to send a datagram of 64 KiB, saying what the limit is', async () => {
    const service = new Scripted();
    await run(service);
    const to = { address: '127.0.0.1', port: 9 };
    await expect(service.send(Buffer.alloc(65_536), to)).rejects.toMatchObject({
      code: 'ERR_DATAGRAM_TOO_LARGE',
      bytes: 65_536,
      maxBytes: 65_507,
      message: 'a datagram of 65536 bytes cannot be sent: UDP takes at most 65507',
    });
  });

  it('rejects a send when it does not run', async () => {
    const service = new Scripted();
    const to = { address: '127.0.0.1', port: 9 };
    await expect(service.send('x', to)).rejects.toMatchObject({ code: 'ERR_SERVICE_STOPPED' });
    const daemon = await run(service);
    await service.send('x', to);
    await daemon.stop();
    await expect(service.send('x', to)).rejects.toMatchObject({ code: 'ERR_SERVICE_STOPPED' });
  });

  it('rejects a send to a port that does not exist, and goes on', async () => {
    const service = new Echo();
    await run(service);
    await expect(service.send('x', { address: '127.0.0.1', port: 70_000 })).rejects.toMatchObject({
      code: 'ERR_SOCKET_BAD_PORT',
    });
    expect(String(await ask(await clientOf(service), 'on'))).toBe('on');
  });

  it('goes on after an answer that cannot be sent', async () => {
    class Wrong extends UdpService {
      protected override handle(message: Buffer, remote: RemoteInfo) {
        if (String(message) === 'bad') this.reply(message, { address: '::1', port: remote.port });
        else this.reply(message, remote);
      }
    }
    const service = new Wrong();
    const daemon = await run(service);
    const client = await clientOf(service);
    await send(client, 'bad');
    expect(String(await ask(client, 'good'))).toBe('good');
    expect(daemon.services[0]).toMatchObject({ state: { status: 'running' }, restarts: 0 });
  });
});

describe('a handler of datagrams', () => {
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
  ])('that %s is counted, and the service goes on', async (_, handler) => {
    const service = new Scripted();
    service.handler = handler;
    const daemon = await run(service);
    const client = await clientOf(service);
    for (let i = 0; i < 3; i++) await send(client, 'x');
    await service.received(3);
    service.handler = (message, remote) => service.send(message, remote);
    expect(String(await ask(client, 'alive'))).toBe('alive');
    expect(service.statistics).toMatchObject({ received: 4, failed: 3, dropped: 0 });
    expect(daemon.services[0]).toMatchObject({ state: { status: 'running' }, restarts: 0 });
  });

  it('whose stray rejection nobody catches makes its own service fail', async () => {
    const service = new Scripted({ restart: 'never', critical: false });
    service.handler = () => {
      void Promise.reject(new Error('stray'));
    };
    const daemon = await run(service, { ownsProcess: true });
    const failed = new Promise<Error>((resolve) =>
      daemon.on('service-failed', ({ error }) => resolve(error)),
    );
    await send(await clientOf(service), 'x');
    expect((await failed).message).toBe('stray');
  });

  it('is logged at most once a second, however often it fails', async () => {
    const clock = new FakeClock();
    const service = new Scripted();
    const lines: unknown[][] = [];
    service.handler = (_message, _remote, { log }) => {
      log.error = (...line: unknown[]) => void lines.push(line);
      throw new Error('boom');
    };
    const daemon = await run(service, { clock });
    const client = await clientOf(service);
    for (let i = 0; i < 20; i++) await send(client, 'x');
    await service.received(20);
    expect(lines.length).toBe(1);
    await clock.advance(1_000);
    await send(client, 'x');
    await service.received(21);
    expect(lines.map(([fields]) => fields)).toMatchObject([{ failed: 1 }, { failed: 21 }]);
    const stopped = daemon.stop();
    await clock.advance(0);
    await stopped;
  });

  it('is not called for more datagrams than maxInFlight at once: the others are dropped and counted', async () => {
    const gate = Promise.withResolvers<void>();
    const service = new Scripted({ maxInFlight: 2 });
    service.handler = () => gate.promise;
    await run(service);
    const client = await clientOf(service);
    for (const message of ['a', 'b', 'c', 'd']) await send(client, message);
    await service.received(4);
    expect(service.messages).toEqual(['a', 'b']);
    expect(service.statistics).toMatchObject({ dropped: 2, inFlight: 2 });
    gate.resolve();
    await gate.promise;
    service.handler = (message, remote) => service.send(message, remote);
    expect(String(await ask(client, 'e'))).toBe('e');
  });
});

describe('stop', () => {
  it('handles what had arrived, and waits for the handlers and their answers', async () => {
    const gate = Promise.withResolvers<void>();
    const service = new Scripted();
    service.handler = async (message, remote) => {
      await gate.promise;
      await service.send(message, remote);
    };
    const daemon = await run(service);
    const client = await clientOf(service);
    const answers: string[] = [];
    client.on('message', (message) => answers.push(String(message)));
    for (const message of ['1', '2', '3']) await send(client, message);
    const stopped = daemon.stop();
    await service.received(3);
    expect(service.waitingFor()).toEqual(['3 handlers of datagrams']);
    gate.resolve();
    await stopped;
    while (answers.length < 3) await once(client, 'message');
    expect(answers).toEqual(['1', '2', '3']);
    expect(service.addresses).toEqual([]);
  });

  it('forces a handler that hangs when its time is up, and says so', async () => {
    const clock = new FakeClock();
    const service = new Scripted({ stopTimeoutMs: 2_000 });
    service.handler = () => new Promise(() => {});
    const daemon = await run(service, { clock });
    await send(await clientOf(service), 'x');
    await service.received(1);
    const stopped = daemon.stop().catch((error: unknown) => error);
    await clock.advance(30_000);
    expect(await stopped).toMatchObject({
      errors: [{ code: 'ERR_SERVICE_STOP_FORCED', heldBy: ['1 handler of datagrams'] }],
    });
  });

  it('frees the port: a restart serves on the same one', async () => {
    const taken = createSocket('udp4').bind(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address();
    taken.close();
    await once(taken, 'close');
    const service = new Echo({ port });
    const daemon = await run(service);
    const client = await clientOf(service);
    for (let i = 0; i < 3; i++) {
      expect(String(await ask(client, `${i}`))).toBe(`${i}`);
      await daemon.restart(service.name);
    }
    expect(String(await ask(client, 'again'))).toBe('again');
  });
});

describe('start', () => {
  it('says that the port is in use', async () => {
    const taken = createSocket('udp4').bind(0, '127.0.0.1');
    clients.push(taken);
    await once(taken, 'listening');
    const { port } = taken.address();
    await expect(run(new Echo({ port }))).rejects.toMatchObject({
      code: 'ERR_SERVICE_START',
      cause: { code: 'ERR_LISTEN', reason: 'in-use', message: `port ${port} on 127.0.0.1 is in use` },
    });
  });

  it('says that this machine has no such address', async () => {
    await expect(run(new Echo({ host: '192.0.2.1' }))).rejects.toMatchObject({
      cause: { code: 'ERR_LISTEN', reason: 'not-available' },
    });
  });

  it.each([
    [{ port: 65_536 }, /option "port" must be at most 65535, received 65536/],
    [{ maxInFlight: 0 }, /option "maxInFlight" must be at least 1, received 0/],
    [{ recvBufferBytes: 1.5 }, /option "recvBufferBytes" must be a whole number from 1 to 2147483647/],
    [{ recvBufferBytes: Number.POSITIVE_INFINITY }, /option "recvBufferBytes" must be a whole number/],
  ])('refuses %j', (options: object, message) => {
    expect(() => new Echo(options)).toThrow(message);
  });

  it('takes a receive buffer, also one beyond what the kernel grants', async () => {
    const service = new Echo({ recvBufferBytes: 2 ** 31 - 1 });
    await run(service);
    expect(String(await ask(await clientOf(service), 'x'))).toBe('x');
  });

  it('that is aborted leaves the port free', async () => {
    class Slow extends Echo {
      override async start(scope: Scope) {
        await super.start(scope);
        bound.resolve(Number(new URL(this.addresses[0] as string).port));
        await scope.clock.sleep(Number.POSITIVE_INFINITY, { signal: scope.signal });
      }
    }
    const bound = Promise.withResolvers<number>();
    const { Entrypoint } = await import('bosun');
    const daemon = new Entrypoint([new Slow()], { log: { level: 'silent' }, ownsProcess: false });
    const started = daemon.start().catch((error: unknown) => error);
    const port = await bound.promise;
    await daemon.stop();
    expect(await started).toMatchObject({ code: 'ERR_ENTRYPOINT_STOPPED' });
    await run(new Echo({ port }));
  });
});
