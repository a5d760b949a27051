import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { FakeClock, FaultProxy, freePort } from 'bosun/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../support/postgres.ts';
import { TcpClient } from '../support/tcp-client.ts';

/** What the target has of one connection. */
interface Far {
  readonly socket: Socket;
  received: string;
  how: 'open' | 'end' | 'reset';
}

let target: Server;
let targetPort: number;
let fars: Far[];

beforeEach(async () => {
  fars = [];
  target = createServer({ allowHalfOpen: true }, (socket) => {
    const far: Far = { socket, received: '', how: 'open' };
    fars.push(far);
    socket.on('data', (bytes) => {
      far.received += String(bytes);
    });
    socket.on('end', () => {
      far.how = 'end';
    });
    socket.on('error', () => {
      far.how = 'reset';
    });
  }).listen(0, '127.0.0.1');
  await once(target, 'listening');
  targetPort = (target.address() as { port: number }).port;
});

afterEach(async () => {
  for (const { socket } of fars) socket.destroy();
  target.close();
  await once(target, 'close');
});

const listen = (clock?: FakeClock) =>
  FaultProxy.listen({ target: { port: targetPort }, ...(clock === undefined ? {} : { clock }) });

const to = (proxy: FaultProxy) => TcpClient.to(`tcp://127.0.0.1:${proxy.port}`);

/** The newest connection, at the target. */
async function farOf(client: TcpClient, count = 1): Promise<Far> {
  await until(() => fars.length === count);
  expect(client.socket.destroyed).toBe(false);
  return fars[count - 1] as Far;
}

describe('without faults', () => {
  it('forwards bytes and ends both ways, each on its own', async () => {
    await using proxy = await listen();
    await using client = await to(proxy);
    const far = await farOf(client);
    expect(proxy.connections).toBe(1);
    await client.send('ping');
    await until(() => far.received === 'ping');
    client.socket.end();
    await until(() => far.how === 'end');
    far.socket.end('pong');
    expect(String(await client.receive(4))).toBe('pong');
    expect(await client.ended).toBe('end');
    await until(() => proxy.connections === 0);
  });

  it('forwards a reset', async () => {
    await using proxy = await listen();
    await using client = await to(proxy);
    const far = await farOf(client);
    client.socket.resetAndDestroy();
    await until(() => far.how === 'reset');
    await using other = await to(proxy);
    (await farOf(other, 2)).socket.resetAndDestroy();
    expect(await other.ended).toBe('reset');
    await until(() => proxy.connections === 0);
  });

  it('passes on a megabyte to a slow reader, whole and in order', async () => {
    await using proxy = await listen();
    await using client = await to(proxy);
    client.socket.pause();
    const far = await farOf(client);
    const bytes = Buffer.from(Array.from({ length: 1_048_576 }, (_, i) => i % 251));
    far.socket.end(bytes);
    client.socket.resume();
    expect(await client.ended).toBe('end');
    expect(client.received.equals(bytes)).toBe(true);
  });

  it('resets a client whose target nobody listens at', async () => {
    await using proxy = await FaultProxy.listen({ target: { port: await freePort() } });
    await using client = await to(proxy);
    expect(await client.ended).toBe('reset');
    await until(() => proxy.connections === 0);
  });

  it('leaves nothing open when it is disposed of', async () => {
    let client: TcpClient;
    {
      await using proxy = await listen();
      client = await to(proxy);
      await farOf(client);
    }
    expect(await client.ended).toBe('reset');
    await until(() => fars[0]?.how === 'reset');
    await client[Symbol.asyncDispose]();
  });
});

describe('delay', () => {
  it('holds bytes and ends back for the time, in one direction or both', async () => {
    const clock = new FakeClock();
    await using proxy = await listen(clock);
    await using client = await to(proxy);
    const far = await farOf(client);
    proxy.delay(200, { direction: 'to-target' });
    await client.send('ping');
    await until(() => clock.pending === 1);
    far.socket.write('at once');
    expect(String(await client.receive(7))).toBe('at once');
    await clock.advance(199);
    expect(far.received).toBe('');
    client.socket.end();
    await clock.advance(1);
    await until(() => far.received === 'ping');
    expect(far.how).toBe('open');
    await until(() => clock.pending === 1);
    await clock.advance(200);
    await until(() => far.how === 'end');

    proxy.delay(100);
    far.socket.end('late');
    await until(() => clock.pending === 1);
    expect(client.received).toHaveLength(7);
    await clock.advance(100);
    expect(String(await client.receive(11))).toBe('at oncelate');
    expect(await client.ended).toBe('end');
    expect(clock.pending).toBe(0);
  });

  it('keeps the order when it is shortened, and lets go of what it holds at once', async () => {
    const clock = new FakeClock();
    await using proxy = await listen(clock);
    await using client = await to(proxy);
    const far = await farOf(client);
    proxy.delay(10_000);
    await client.send('first ');
    await until(() => clock.pending === 1);
    proxy.delay(0);
    await client.send('second');
    await until(() => far.received === 'first second');
    expect(clock.pending).toBe(0);
  });
});

describe('trickle', () => {
  it('lets through so many bytes at a time', async () => {
    const clock = new FakeClock();
    await using proxy = await listen(clock);
    await using client = await to(proxy);
    const far = await farOf(client);
    proxy.trickle(2, 50, { direction: 'to-client' });
    far.socket.end('12345');
    expect(String(await client.receive(2))).toBe('12');
    await until(() => clock.pending === 1);
    await clock.advance(49);
    expect(client.received).toHaveLength(2);
    await clock.advance(1);
    expect(String(await client.receive(4))).toBe('1234');
    await clock.advance(50);
    expect(String(await client.receive(5))).toBe('12345');
    await clock.advance(50);
    expect(await client.ended).toBe('end');
  });

  it('ends with restore, at once', async () => {
    const clock = new FakeClock();
    await using proxy = await listen(clock);
    await using client = await to(proxy);
    const far = await farOf(client);
    proxy.trickle(1, 60_000);
    await client.send('hello');
    await until(() => far.received === 'h' && clock.pending === 1);
    await proxy.restore();
    await until(() => far.received === 'hello');
    expect(clock.pending).toBe(0);
  });
});

describe('pause', () => {
  it('holds bytes, ends and resets back, on connections that stay; new ones are accepted', async () => {
    await using proxy = await listen();
    await using client = await to(proxy);
    await using leaving = await to(proxy);
    await until(() => fars.length === 2);
    const [far, left] = fars as [Far, Far];
    proxy.pause();
    await using late = await to(proxy);
    await Promise.all([client.send('a'), leaving.send('b'), late.send('c')]);
    far.socket.write('answer');
    leaving.socket.resetAndDestroy();
    await until(() => leaving.socket.closed && fars.length === 3);
    expect(proxy.connections).toBe(3);
    expect(fars.map(({ received }) => received)).toEqual(['', '', '']);
    expect(left.how).toBe('open');
    expect(client.received).toHaveLength(0);
    proxy.resume();
    await until(() => far.received === 'a' && fars[2]?.received === 'c' && left.how === 'reset');
    expect(String(await client.receive(6))).toBe('answer');
  });

  it('lets a sender feel that nobody reads', async () => {
    await using proxy = await listen();
    await using client = await to(proxy);
    const far = await farOf(client);
    proxy.pause({ direction: 'to-target' });
    // More than all the buffers on the way take.
    const bytes = Buffer.alloc(32 * 1_048_576, 'x');
    let sent = false;
    client.socket.write(bytes, () => {
      sent = true;
    });
    far.socket.write('answer');
    await client.receive(6);
    expect(sent).toBe(false);
    proxy.resume();
    await until(() => sent && far.received.length === bytes.length);
  });
});

describe('cut', () => {
  it.each(['reset', 'end'] as const)(
    'ends every connection on both sides by %s; new ones go through',
    async (how) => {
      await using proxy = await listen();
      await using client = await to(proxy);
      const far = await farOf(client);
      await proxy.cut({ how });
      expect(proxy.connections).toBe(0);
      expect(await client.ended).toBe(how);
      await until(() => far.how === how);
      await using next = await to(proxy);
      await next.send('again');
      await until(() => fars[1]?.received === 'again');
    },
  );

  it('loses what a pause holds back', async () => {
    await using proxy = await listen();
    await using client = await to(proxy);
    const far = await farOf(client);
    proxy.pause();
    far.socket.write('lost');
    await client.send('lost');
    await proxy.cut({ how: 'end' });
    await proxy.restore();
    expect(await client.ended).toBe('end');
    await until(() => far.how === 'end');
    expect(client.received).toHaveLength(0);
    expect(far.received).toBe('');
  });
});

describe('cutAfter', () => {
  it('cuts in the middle of an answer, again and again until restore', async () => {
    await using proxy = await listen();
    await using first = await to(proxy);
    const far = await farOf(first);
    far.socket.write('before ');
    await first.receive(7);
    proxy.cutAfter(4, 'to-client', { how: 'end' });
    far.socket.write('answer');
    expect(await first.ended).toBe('end');
    expect(String(first.received)).toBe('before answ');
    await until(() => far.how === 'end');

    await using second = await to(proxy);
    (await farOf(second, 2)).socket.write('answer');
    await second.ended;
    expect(String(second.received)).toBe('answ');

    await using third = await to(proxy);
    await proxy.restore();
    (await farOf(third, 3)).socket.end('answer');
    expect(await third.ended).toBe('end');
    expect(String(third.received)).toBe('answer');
  });

  it('lets the last bytes arrive before a reset, and an end of just so many bytes through', async () => {
    await using proxy = await listen();
    proxy.cutAfter(4, 'to-target');
    await using client = await to(proxy);
    const far = await farOf(client);
    await client.send('four');
    await until(() => far.received === 'four');
    expect(proxy.connections).toBe(1);
    await client.send('!');
    expect(await client.ended).toBe('reset');
    await until(() => far.how === 'reset');
    expect(far.received).toBe('four');

    await using whole = await to(proxy);
    whole.socket.end('four');
    await until(() => fars[1]?.how === 'end');
    expect(fars[1]?.received).toBe('four');
  });
});

describe('halfClose', () => {
  it('ends one direction and leaves the other', async () => {
    await using proxy = await listen();
    await using client = await to(proxy);
    const far = await farOf(client);
    await proxy.halfClose('to-client');
    expect(await client.ended).toBe('end');
    far.socket.write('lost');
    await client.send('still heard');
    await until(() => far.received === 'still heard');
    expect(far.how).toBe('open');
    far.socket.resetAndDestroy();
    await until(() => proxy.connections === 0);
    // Nothing is read any more after the end, so it takes a write to notice.
    await expect(client.send('anybody?')).rejects.toThrow(/EPIPE|ECONNRESET/);
    expect(client.received).toHaveLength(0);
  });
});

describe('strand', () => {
  it('leaves connections open that lead nowhere, while new ones are forwarded', async () => {
    await using proxy = await listen();
    await using client = await to(proxy);
    const far = await farOf(client);
    proxy.pause();
    far.socket.write('lost');
    proxy.strand();
    await proxy.restore();
    client.socket.end('lost');
    await using next = await to(proxy);
    await next.send('found');
    await until(() => fars[1]?.received === 'found');
    expect(far.received).toBe('');
    expect(far.how).toBe('open');
    expect(client.received).toHaveLength(0);
    expect(proxy.connections).toBe(2);
  });
});

describe('new connections', () => {
  it('are refused while those that there are go on, until they are accepted again at the same port', async () => {
    await using proxy = await listen();
    const { port } = proxy;
    await using client = await to(proxy);
    const far = await farOf(client);
    proxy.refuse();
    proxy.refuse();
    await expect(to(proxy)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await client.send('still here');
    await until(() => far.received === 'still here');
    await proxy.accept();
    await proxy.accept();
    expect(proxy.port).toBe(port);
    await using next = await to(proxy);
    await farOf(next, 2);
  });

  it('vanish in a black hole, while those that there are go on', async () => {
    await using proxy = await listen();
    await using client = await to(proxy);
    const far = await farOf(client);
    proxy.refuse();
    await proxy.blackHole();
    await using lost = await to(proxy);
    await lost.send('anybody?');
    await client.send('still here');
    await until(() => far.received === 'still here');
    expect(proxy.connections).toBe(2);
    expect(fars).toHaveLength(1);
    await proxy.restore();
    await using next = await to(proxy);
    await farOf(next, 2);
    expect(lost.socket.destroyed).toBe(false);
    expect(proxy.connections).toBe(3);
    await proxy.blackHole();
    await using leaving = await to(proxy);
    await until(() => proxy.connections === 4);
    leaving.socket.destroy();
    await until(() => proxy.connections === 3);
    await proxy.cut();
    expect(await lost.ended).toBe('reset');
  });
});

describe('bad arguments', () => {
  it.each<[string, (proxy: FaultProxy) => void, string]>([
    ['a delay below 0', (proxy) => proxy.delay(-1), 'delayMs must be at least 0, received -1'],
    [
      'a delay that is no number',
      (proxy) => proxy.delay(Number.NaN),
      'delayMs must be at least 0, received NaN',
    ],
    ['a trickle of nothing', (proxy) => proxy.trickle(0, 10), 'bytes must be at least 1, received 0'],
    ['a trickle back in time', (proxy) => proxy.trickle(1, -1), 'everyMs must be at least 0, received -1'],
    [
      'a cut before the start',
      (proxy) => proxy.cutAfter(-1, 'to-client'),
      'bytes must be at least 0, received -1',
    ],
  ])('are refused: %s', async (_case, call, message) => {
    await using proxy = await listen();
    expect(() => call(proxy)).toThrow(new RangeError(message));
  });
});
