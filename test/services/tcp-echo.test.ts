import { once } from 'node:events';
import { type Entrypoint, entrypoint } from 'bosun';
import { TcpEchoService } from 'bosun/services/tcp-echo';
import { FakeClock } from 'bosun/testing';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { TcpClient } from '../support/tcp-client.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;
let service: TcpEchoService;
let daemon: Entrypoint;
const connect = () => TcpClient.to(service.addresses[0] as string);

beforeEach(async () => {
  service = new TcpEchoService();
  daemon = await entrypoint([service], quiet);
});

afterEach(() => daemon.stop());

it('says where it serves', () => {
  expect(service.name).toBe('tcp-echo');
  expect(service.addresses).toEqual([expect.stringMatching(/^tcp:\/\/127\.0\.0\.1:\d+$/)]);
});

it('sends back the very bytes it is sent, however they are cut', async () => {
  const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 200_000, size: 'max' }), { maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(chunks, async (parts) => {
      await using client = await connect();
      for (const part of parts) await client.send(part);
      const received = await client.end();
      expect(received.equals(Buffer.concat(parts))).toBe(true);
    }),
    { numRuns: 30 },
  );
});

it('still answers a client that has ended its side', async () => {
  await using client = await connect();
  expect(String(await client.end('the end'))).toBe('the end');
});

it('does not read from a client that does not read, and serves others', async () => {
  await using deaf = await connect();
  deaf.socket.pause();
  const flood = Buffer.alloc(64 * 1024 * 1024);
  deaf.socket.write(flood);
  await using other = await connect();
  for (let i = 1; i <= 200; i++) {
    await other.send('ping');
    await other.receive(4 * i);
  }
  expect(deaf.socket.writableLength).toBeGreaterThan(flood.length / 2);
});

it('echoes what had arrived when it is stopped, then ends', async () => {
  await using client = await connect();
  await client.send('x');
  await client.receive(1);
  const data = Buffer.alloc(128 * 1024, 'abc');
  await client.send(data);
  const stopped = daemon.stop();
  expect(await client.ended).toBe('end');
  client.socket.end();
  await stopped;
  expect(client.received.length).toBe(1 + data.length);
});

it('serves a client that had connected, but was not accepted yet, when it is stopped', async () => {
  await using client = await connect();
  client.socket.write('hello');
  const stopped = daemon.stop();
  await client.ended;
  client.socket.end();
  await stopped;
  expect(String(client.received)).toBe('hello');
});

it('ends its stop although a client sends without end', async () => {
  await using client = await connect();
  const { socket } = client;
  socket.on('error', () => {});
  const block = Buffer.alloc(256 * 1024);
  const flood = async () => {
    while (!socket.destroyed && socket.writable) if (!socket.write(block)) await once(socket, 'drain');
  };
  void flood().catch(() => {});
  await client.receive(block.length);
  await daemon.stop();
  expect((await daemon.closed).exitCode).toBe(0);
});

it('forces a client that never reads to go when the stop has lasted too long, and names it', async () => {
  const clock = new FakeClock();
  const stuck = new TcpEchoService({ name: 'stuck', stopTimeoutMs: 3_000 });
  const other = await entrypoint([stuck], { ...quiet, clock });
  await using client = await TcpClient.to(stuck.addresses[0] as string);
  client.socket.pause();
  client.socket.write(Buffer.alloc(64 * 1024 * 1024));
  client.socket.on('error', () => {});
  while (stuck.waitingFor().length === 0) await new Promise((resolve) => setImmediate(resolve));
  const peer = `127.0.0.1:${client.socket.localPort}`;
  await backPressure(client);
  const stopped = other.stop().catch((error: unknown) => error);
  await clock.advance(3_000);
  expect(await stopped).toMatchObject({
    errors: [{ code: 'ERR_SERVICE_STOP_FORCED', heldBy: [`1 connection (${peer})`] }],
  });
});

it('survives clients that reset their connection in the middle of it', async () => {
  for (let i = 0; i < 20; i++) {
    await using client = await connect();
    client.socket.on('error', () => {});
    client.socket.write(Buffer.alloc(256 * 1024));
    await client.receive(1);
    client.socket.resetAndDestroy();
  }
  await using client = await connect();
  expect(String(await client.end('alive'))).toBe('alive');
  expect(daemon.services[0]).toMatchObject({ state: { status: 'running' }, restarts: 0 });
});

it('is a service of its own in one process with a hundred clients', async () => {
  const answers = await Promise.all(
    Array.from({ length: 100 }, async (_, i) => {
      await using client = await connect();
      return String(await client.end(`client ${i}`));
    }),
  );
  expect(answers).toEqual(Array.from({ length: 100 }, (_, i) => `client ${i}`));
});

/** Resolves when the kernel takes no more of what a client sends. */
async function backPressure({ socket }: TcpClient): Promise<void> {
  const taken = () => socket.bytesWritten - socket.writableLength;
  for (let still = 0, last = taken(); still < 200; last = taken()) {
    await new Promise((resolve) => setImmediate(resolve));
    still = taken() === last ? still + 1 : 0;
  }
}
