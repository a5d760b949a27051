import { once } from 'node:events';
import { createServer } from 'node:net';
import { Entrypoint, entrypoint, OptionsError, type Scope, StartError } from 'bosun';
import { type Audience, type Message, WebSocketService } from 'bosun/services/websocket';
import { FakeClock } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { runOf } from '../../src/supervisor/run.ts';
import { frame, isListening, Peer, RawPeer, statusOf } from './websocket/peers.ts';
import { Probe } from './websocket/probe.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

describe('serving', () => {
  test('text arrives as a string and bytes as a buffer, and both go back as they came', async () => {
    const probe = new Probe({ port: 0 });
    await using _daemon = await entrypoint([probe], quiet);
    await using peer = await Peer.connect(probe.url);
    const kinds: boolean[] = [];
    peer.socket.on('message', (_data, binary) => kinds.push(binary));
    peer.socket.send('höflich');
    peer.socket.send(Buffer.from([0, 255]));
    expect(await peer.next()).toBe('höflich');
    await peer.next();
    expect(probe.messages).toEqual(['höflich', Buffer.from([0, 255])]);
    expect(kinds).toEqual([false, true]);
  });

  test('the address carries port and path', async () => {
    const probe = new Probe({ port: 0, path: '/live' });
    await using _daemon = await entrypoint([probe], quiet);
    expect(probe.url).toMatch(/^ws:\/\/127\.0\.0\.1:[1-9]\d*\/live$/);
  });

  test('a query is no part of the path, and is seen in the request', async () => {
    const probe = new Probe({ port: 0 });
    await using _daemon = await entrypoint([probe], quiet);
    await using _peer = await Peer.connect(`${probe.url}?room=7`);
    expect(probe.only.request.url).toBe('/ws?room=7');
  });

  test('a plain request is told to upgrade, another path is not found, a bad handshake is refused', async () => {
    const probe = new Probe({ port: 0 });
    await using _daemon = await entrypoint([probe], quiet);
    const handshake = { connection: 'upgrade', upgrade: 'websocket' };
    expect(await statusOf(probe.url)).toEqual({ status: 426, upgrade: 'websocket' });
    expect(await statusOf(`${probe.url}/other`, handshake)).toMatchObject({ status: 404 });
    expect(await statusOf(probe.url, handshake)).toMatchObject({ status: 400 });
    expect(probe.clients.size).toBe(0);
  });

  test('of the subprotocols that a client offers, one that the service speaks is agreed on, or none', async () => {
    const probe = new Probe({ port: 0, protocols: ['v2', 'v1'] });
    await using _daemon = await entrypoint([probe], quiet);
    await using peer = await Peer.connect(probe.url, {}, ['v3', 'v1']);
    expect([peer.socket.protocol, probe.only.protocol]).toEqual(['v1', 'v1']);
    await expect(Peer.connect(probe.url, {}, ['v3'])).rejects.toThrow('no subprotocol');
  });

  test('one client more than maxClients is refused with 503, until another has left', async () => {
    const probe = new Probe({ port: 0, maxClients: 1 });
    await using _daemon = await entrypoint([probe], quiet);
    const first = await Peer.connect(probe.url);
    await expect(Peer.connect(probe.url)).rejects.toThrow('answered with 503');
    const socket = probe.only.request.socket;
    await first.close();
    if (!socket.closed) await once(socket, 'close');
    await using _second = await Peer.connect(probe.url);
  });

  test.each([
    [{}, 'option "port" is required when there is no "server"'],
    [{ port: 70_000 }, 'option "port" must be at most 65535, received 70000'],
    [{ port: 0, path: 'ws' }, 'option "path"'],
    [{ port: 0, maxPayloadBytes: 0 }, 'option "maxPayloadBytes" must be at least 1, received 0'],
    [{ port: 0, maxClients: 0 }, 'option "maxClients" must be at least 1, received 0'],
    [{ port: 0, origins: ['example.com'] }, 'must be an origin, such as https://app.example.com'],
    [{ port: 0, heartbeatInterval: 5 }, 'did you mean "heartbeatIntervalMs"?'],
  ])('bad options are named: %j', (options, message) => {
    const make = () => new Probe(options as never);
    expect(make).toThrow(OptionsError);
    expect(make).toThrow(message);
  });
});

describe('origins', () => {
  const connects = async (origins: 'same-origin' | 'any' | string[] | undefined, headers: object) => {
    const probe = new Probe({ port: 0, ...(origins === undefined ? {} : { origins }) });
    await using _daemon = await entrypoint([probe], quiet);
    try {
      await using _peer = await Peer.connect(probe.url, {
        headers: { host: 'app.example.com:8080', ...headers },
      });
      return true;
    } catch (error) {
      expect(error).toMatchObject({ message: 'answered with 403' });
      return false;
    }
  };

  test.each([
    ['a page of the same host and port may', undefined, { origin: 'http://app.example.com:8080' }, true],
    [
      'one over TLS may, when a proxy takes it off',
      undefined,
      { origin: 'https://app.example.com:8080' },
      true,
    ],
    ['the default port may be left out', undefined, { origin: 'https://a.com', host: 'a.com:443' }, true],
    ['another host may not', undefined, { origin: 'http://evil.example.com:8080' }, false],
    ['another port may not', undefined, { origin: 'http://app.example.com:9090' }, false],
    [
      'a host with the same beginning may not',
      undefined,
      { origin: 'http://app.example.com.evil.org' },
      false,
    ],
    ['a sandboxed page may not', undefined, { origin: 'null' }, false],
    ['an unreadable origin may not', undefined, { origin: '://' }, false],
    ['a client that is no browser may', undefined, {}, true],
    ['with any, everyone may', 'any' as const, { origin: 'http://evil.example.com' }, true],
    ['who is listed may', ['https://b.com'], { origin: 'https://b.com' }, true],
    [
      'who is not listed may not, the same origin included',
      ['https://b.com'],
      { origin: 'http://app.example.com:8080' },
      false,
    ],
    ['a sandboxed page may when listed', ['null'], { origin: 'null' }, true],
  ])('%s', async (_sentence, origins, headers, expected) => {
    expect(await connects(origins, headers)).toBe(expected);
  });
});

describe('bad input', () => {
  test.each([
    ['a frame that is not masked', 1002, Buffer.from([0x81, 0x02, 0x68, 0x69])],
    ['reserved bits', 1002, frame(0xf1)],
    ['an unknown opcode', 1002, frame(0x83)],
    ['a fragmented ping', 1002, frame(0x09)],
    ['a continuation of nothing', 1002, frame(0x80)],
    ['a close frame of one byte', 1002, frame(0x88, Buffer.from([3]))],
    ['text that is not UTF-8', 1007, frame(0x81, Buffer.from([0xff]))],
    ['a length far beyond the limit', 1009, Buffer.from([0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
  ])('%s closes its client with %i, and no other', async (_what, code, bytes) => {
    const probe = new Probe({ port: 0 });
    await using _daemon = await entrypoint([probe], quiet);
    await using other = await Peer.connect(probe.url);
    await using raw = await RawPeer.connect(probe.url);
    raw.socket.write(bytes);
    expect(await raw.closeCode()).toBe(code);
    // It counts as gone at once, although the raw client never answers the close frame.
    await probe.until(() => probe.closes.length === 1);
    expect(probe.closes).toMatchObject([{ code }]);
    expect(probe.clients.size).toBe(1);
    other.socket.send('still here');
    expect(await other.next()).toBe('still here');
  });

  test('a message of maxPayloadBytes is taken, one byte more closes its client with 1009', async () => {
    const probe = new Probe({ port: 0, maxPayloadBytes: 100 });
    await using _daemon = await entrypoint([probe], quiet);
    await using peer = await Peer.connect(probe.url);
    peer.socket.send('x'.repeat(100));
    expect(await peer.next()).toHaveLength(100);
    peer.socket.send('x'.repeat(101));
    expect(await peer.closed).toMatchObject({ code: 1009 });
    expect(probe.messages).toHaveLength(1);
  });

  test('Infinity as maxPayloadBytes is no limit', async () => {
    const probe = new Probe({ port: 0, maxPayloadBytes: Number.POSITIVE_INFINITY });
    await using _daemon = await entrypoint([probe], quiet);
    await using peer = await Peer.connect(probe.url);
    peer.socket.send('x'.repeat(1_000_000));
    expect(await peer.next()).toHaveLength(1_000_000);
  });

  test('a client whose connection breaks is gone with 1006, and what is broadcast reaches the others', async () => {
    const probe = new Probe({ port: 0 });
    await using _daemon = await entrypoint([probe], quiet);
    await using first = await Peer.connect(probe.url);
    await using raw = await RawPeer.connect(probe.url);
    await using last = await Peer.connect(probe.url);
    raw.socket.resetAndDestroy();
    probe.broadcast('meanwhile');
    await probe.until(() => probe.closes.length === 1);
    probe.broadcast('afterwards');
    for (const peer of [first, last]) {
      expect([await peer.next(), await peer.next()]).toEqual(['meanwhile', 'afterwards']);
    }
    expect(probe.closes).toMatchObject([{ code: 1006 }]);
    expect(probe.clients.size).toBe(2);
  });
});

describe('a slow reader', () => {
  test('is dropped when it leaves more than maxBufferedBytes unread, and the others miss nothing', async () => {
    const probe = new Probe({ port: 0, maxBufferedBytes: 1_000_000 });
    await using _daemon = await entrypoint([probe], quiet);
    await using raw = await RawPeer.connect(probe.url);
    raw.socket.pause();
    const { socket } = probe.only.request;
    await using other = await Peer.connect(probe.url);
    const message = 'x'.repeat(64 * 1024);
    let most = 0;
    for (let sent = 0; probe.clients.size === 2; sent++) {
      if (sent > 5_000) throw new Error('it is never dropped');
      probe.broadcast(message);
      most = Math.max(most, socket.writableLength);
      expect(await other.next()).toHaveLength(message.length);
    }
    expect(probe.closes).toMatchObject([{ code: 1013 }]);
    // A frame's header is not counted as part of a message.
    expect(most).toBeGreaterThan(900_000);
    expect(most).toBeLessThan(1_001_000);
    expect(socket.destroyed).toBe(true);
    probe.broadcast('over');
    expect(await other.next()).toBe('over');
  });

  test('is not who has read everything, however long the next message', async () => {
    const probe = new Probe({ port: 0, maxBufferedBytes: 10 });
    await using _daemon = await entrypoint([probe], quiet);
    await using peer = await Peer.connect(probe.url);
    probe.broadcast('x'.repeat(20_000_000));
    expect(await peer.next()).toHaveLength(20_000_000);
    probe.broadcast('more');
    expect(await peer.next()).toBe('more');
  });
});

describe('handlers', () => {
  test.each([
    [
      'throws',
      () => {
        throw new Error('broken');
      },
    ],
    [
      'rejects',
      async () => {
        throw new Error('broken');
      },
    ],
  ] as const)('one that %s closes its client with 1011, and no other', async (_how, broken) => {
    const probe = new Probe({ port: 0 });
    await using daemon = await entrypoint([probe], quiet);
    await using other = await Peer.connect(probe.url);
    probe.connect = broken;
    await using greeted = await Peer.connect(probe.url);
    expect(await greeted.closed).toEqual({ code: 1011, reason: 'internal error' });
    probe.connect = () => {};
    await using peer = await Peer.connect(probe.url);
    probe.message = broken;
    peer.socket.send('a');
    peer.socket.send('b');
    expect(await peer.closed).toMatchObject({ code: 1011 });
    probe.close = broken;
    await using third = await Peer.connect(probe.url);
    await third.close();
    await probe.until(() => probe.closes.length === 3);
    probe.message = (client, data) => void client.send(data);
    other.socket.send('still here');
    expect(await other.next()).toBe('still here');
    expect(probe.messages).toEqual(['a', 'still here']);
    expect(daemon.services).toMatchObject([{ state: { status: 'running' } }]);
  });

  test('of one client run in order, one at a time, and its socket is not read meanwhile', async () => {
    const probe = new Probe({ port: 0 });
    await using _daemon = await entrypoint([probe], quiet);
    const turns: PromiseWithResolvers<void>[] = [];
    const ended: string[] = [];
    const step = async (name: string) => {
      const turn = Promise.withResolvers<void>();
      turns.push(turn);
      await turn.promise;
      ended.push(name);
    };
    probe.connect = () => step('connect');
    probe.message = (_client, data) => step(data.toString());
    probe.close = () => step('close');
    await using peer = await Peer.connect(probe.url);
    const { socket } = probe.only.request;
    peer.socket.send('a');
    peer.socket.send('b');
    expect(socket.isPaused()).toBe(true);
    expect(probe.messages).toEqual([]);
    turns[0]?.resolve();
    await probe.until(() => probe.messages.length === 1);
    turns[1]?.resolve();
    await probe.until(() => probe.messages.length === 2);
    expect(ended).toEqual(['connect', 'a']);
    peer.socket.close();
    turns[2]?.resolve();
    await probe.until(() => probe.closes.length === 1);
    expect(ended).toEqual(['connect', 'a', 'b']);
    turns[3]?.resolve();
  });

  test('of different clients do not wait for each other', async () => {
    const probe = new Probe({ port: 0 });
    await using _daemon = await entrypoint([probe], quiet);
    const blocked = Promise.withResolvers<void>();
    probe.message = (client, data) => (data === 'wait' ? blocked.promise : void client.send(data));
    await using waiting = await Peer.connect(probe.url);
    waiting.socket.send('wait');
    await probe.until(() => probe.messages.length === 1);
    await using peer = await Peer.connect(probe.url);
    peer.socket.send('quick');
    expect(await peer.next()).toBe('quick');
    blocked.resolve();
  });

  test('run on behalf of the service, so that a stray error of theirs is its own', async () => {
    const probe = new Probe({ port: 0 });
    const owners: unknown[] = [];
    probe.connect = () => void owners.push(runOf()?.service);
    probe.message = () => void owners.push(runOf()?.service);
    probe.close = () => void owners.push(runOf()?.service);
    await using _daemon = await entrypoint([probe], quiet);
    await using peer = await Peer.connect(probe.url);
    peer.socket.send('a');
    await probe.until(() => probe.messages.length === 1);
    await peer.close();
    await probe.until(() => probe.closes.length === 1);
    expect(owners).toEqual([probe, probe, probe]);
  });

  test('onClose is told the code and reason that the client gave', async () => {
    const probe = new Probe({ port: 0 });
    await using _daemon = await entrypoint([probe], quiet);
    await using peer = await Peer.connect(probe.url);
    peer.socket.close(4_001, 'enough');
    await probe.until(() => probe.closes.length === 1);
    expect(probe.closes).toEqual([{ code: 4_001, reason: 'enough' }]);
  });

  test('a client that the service has closed is sent and asked nothing more', async () => {
    const probe = new Probe({ port: 0 });
    await using _daemon = await entrypoint([probe], quiet);
    await using peer = await Peer.connect(probe.url);
    const client = probe.only;
    client.join('room');
    peer.socket.send('not handled any more');
    client.close(4_000, 'bye');
    expect([client.open, client.send('x'), probe.clients.size, client.rooms.size]).toEqual([
      false,
      false,
      0,
      0,
    ]);
    client.join('room');
    probe.broadcast('x');
    probe.broadcast('x', { room: 'room' });
    expect(await peer.closed).toEqual({ code: 4_000, reason: 'bye' });
    expect([peer.unread, probe.messages, probe.closes.length]).toEqual([[], [], 1]);
  });
});

describe('heartbeat', () => {
  test('a dead peer is dropped at the second beat, one that answers pings stays', async () => {
    const clock = new FakeClock();
    const probe = new Probe({ port: 0, heartbeatIntervalMs: 1_000 });
    await using _daemon = await entrypoint([probe], { ...quiet, clock });
    await using dead = await RawPeer.connect(probe.url);
    dead.socket.pause();
    await clock.advance(999);
    await using live = await Peer.connect(probe.url);
    const [, liveClient] = probe.clients;
    if (liveClient === undefined) throw new Error('two are connected');
    for (const beat of [1, 2]) {
      expect(probe.clients.size).toBe(2);
      const answered = once(liveClient.request.socket, 'data');
      await clock.advance(beat === 1 ? 1 : 1_000);
      await answered;
    }
    expect(probe.closes).toEqual([{ code: 1006, reason: 'no sign of life' }]);
    expect([...probe.clients]).toEqual([liveClient]);
    live.socket.send('still here');
    expect(await live.next()).toBe('still here');
  });

  test('says nothing of a client that is not read because its handler is under way', async () => {
    const clock = new FakeClock();
    const probe = new Probe({ port: 0, heartbeatIntervalMs: 1_000 });
    const working = Promise.withResolvers<void>();
    probe.connect = () => working.promise;
    await using _daemon = await entrypoint([probe], { ...quiet, clock });
    await using peer = await Peer.connect(probe.url);
    // More than a socket reads ahead, so that the pongs behind it are not seen.
    for (let i = 0; i < 20; i++) peer.socket.send('x'.repeat(60_000));
    await clock.advance(20_000);
    working.resolve();
    peer.socket.send('still here');
    await probe.until(() => probe.messages.at(-1) === 'still here');
  });

  test('0 asks for no sign of life', async () => {
    const clock = new FakeClock();
    const probe = new Probe({ port: 0, heartbeatIntervalMs: 0 });
    await using _daemon = await entrypoint([probe], { ...quiet, clock });
    expect(clock.pending).toBe(0);
  });
});

describe('broadcast', () => {
  test('reaches the members of a room, from join to leave', async () => {
    const probe = new Probe({ port: 0 });
    await using _daemon = await entrypoint([probe], quiet);
    await using a = await Peer.connect(probe.url);
    await using b = await Peer.connect(probe.url);
    const [first, second] = probe.clients;
    first?.join('x');
    second?.join('x');
    second?.join('y');
    probe.broadcast('to x', { room: 'x' });
    probe.broadcast('to y', { room: 'y' });
    probe.broadcast('to nobody', { room: 'z' });
    second?.leave('x');
    probe.broadcast('to x again', { room: 'x' });
    probe.broadcast('to all');
    expect([await a.next(), await a.next(), await a.next()]).toEqual(['to x', 'to x again', 'to all']);
    expect([await b.next(), await b.next(), await b.next()]).toEqual(['to x', 'to y', 'to all']);
    expect([...(second?.rooms ?? [])]).toEqual(['y']);
  });

  test('can be carried to the clients of other processes by overriding one method', async () => {
    const bus = new Set<(message: Message, to: Audience) => void>();
    class Shared extends WebSocketService {
      constructor(options: ConstructorParameters<typeof WebSocketService>[0]) {
        super(options);
        bus.add((message, to) => this.deliver(message, to));
      }
      override broadcast(message: Message, to: Audience = {}): void {
        for (const deliver of bus) deliver(message, to);
      }
    }
    const here = new Shared({ name: 'here', port: 0 });
    const there = new Shared({ name: 'there', port: 0 });
    await using _daemon = await entrypoint([here, there], quiet);
    await using a = await Peer.connect(here.addresses[0] ?? '');
    await using b = await Peer.connect(there.addresses[0] ?? '');
    here.broadcast('now');
    here.publish('state', () => 'later');
    for (const peer of [a, b]) expect([await peer.next(), await peer.next()]).toEqual(['now', 'later']);
  });

  test('sent gradually is spread over turns of the event loop, in the order of the calls', async () => {
    const probe = new Probe({ port: 0 });
    await using _daemon = await entrypoint([probe], quiet);
    const peers = await Promise.all(Array.from({ length: 250 }, () => Peer.connect(probe.url)));
    probe.broadcast('first', { gradual: true });
    probe.broadcast('second', { gradual: true });
    probe.broadcast('at once');
    expect(probe.sentMessages).toBe(250);
    await Promise.resolve();
    expect(probe.sentMessages).toBe(350);
    for (const peer of peers) {
      const messages = [await peer.next(), await peer.next(), await peer.next()];
      expect(messages.filter((message) => message !== 'at once')).toEqual(['first', 'second']);
      peer.socket.terminate();
    }
    await Promise.all(peers.map(({ closed }) => closed));
  });

  test('does nothing while the service is not running', async () => {
    const probe = new Probe({ port: 0 });
    probe.broadcast('x');
    probe.publish('x', () => 'x');
    await using daemon = await entrypoint([probe], quiet);
    await daemon.stop();
    probe.broadcast('x');
    probe.publish('x', () => 'x');
    expect([probe.clients.size, probe.addresses]).toEqual([0, []]);
  });
});

describe('publish', () => {
  test('500 joins in one turn cost 500 messages', async () => {
    const clock = new FakeClock();
    const probe = new Probe({ port: 0 });
    probe.connect = () => probe.publish('count', () => String(probe.clients.size));
    await using _daemon = await entrypoint([probe], { ...quiet, clock });
    const peers = Array.from({ length: 500 }, () => new Peer(probe.url));
    // The clock stands still, so that they all join within one turn of it.
    await Promise.all(peers.map(({ socket }) => once(socket, 'open')));
    await clock.advance(0);
    expect(await Promise.all(peers.map((peer) => peer.next()))).toEqual(Array(500).fill('500'));
    expect(probe.sentMessages).toBe(500);
    for (const { socket } of peers) socket.terminate();
    await Promise.all(peers.map(({ closed }) => closed));
  });

  test('sends the newest value of each key and room, once', async () => {
    const clock = new FakeClock();
    const probe = new Probe({ port: 0 });
    probe.connect = (client) => client.join('x');
    await using _daemon = await entrypoint([probe], { ...quiet, clock });
    await using peer = await Peer.connect(probe.url);
    for (const value of [1, 2, 3]) {
      probe.publish('a', () => `a ${value}`);
      probe.publish('a', () => `x ${value}`, { room: 'x' });
      probe.publish('b', () => `b ${value}`);
    }
    await clock.advance(0);
    expect([await peer.next(), await peer.next(), await peer.next()]).toEqual(['a 3', 'x 3', 'b 3']);
    expect(probe.sentMessages).toBe(3);
  });

  test('goes out at once after a rest, and then no sooner than coalesceMs after the last', async () => {
    const clock = new FakeClock();
    const probe = new Probe({ port: 0, coalesceMs: 100, heartbeatIntervalMs: 0 });
    await using _daemon = await entrypoint([probe], { ...quiet, clock });
    await using _peer = await Peer.connect(probe.url);
    const sentAfter = async (ms: number) => {
      probe.publish('a', () => 'a');
      await clock.advance(ms);
      return probe.sentMessages;
    };
    expect(await sentAfter(0)).toBe(1);
    expect(await sentAfter(99)).toBe(1);
    expect(await sentAfter(1)).toBe(2);
    await clock.advance(100);
    expect(await sentAfter(0)).toBe(3);
    expect(clock.pending).toBe(0);
  });

  test('a value that cannot be made is left out, the others are sent', async () => {
    const probe = new Probe({ port: 0 });
    await using daemon = await entrypoint([probe], quiet);
    await using peer = await Peer.connect(probe.url);
    probe.publish('bad', () => {
      throw new Error('broken');
    });
    probe.publish('good', () => 'good');
    expect(await peer.next()).toBe('good');
    expect(daemon.services).toMatchObject([{ state: { status: 'running' } }]);
  });

  test('what is still to be sent when the service stops is sent before the close', async () => {
    const clock = new FakeClock();
    const probe = new Probe({ port: 0 });
    const daemon = await entrypoint([probe], { ...quiet, clock });
    await using peer = await Peer.connect(probe.url);
    probe.publish('state', () => 'last');
    await daemon.stop();
    expect(await peer.next()).toBe('last');
    expect(await peer.closed).toMatchObject({ code: 1001 });
    expect(clock.pending).toBe(0);
  });
});

describe('stop', () => {
  test('closes every client with 1001, calls onClose for each, and listens no more', async () => {
    const probe = new Probe({ port: 0 });
    const daemon = await entrypoint([probe], quiet);
    const { url } = probe;
    await using a = await Peer.connect(url);
    await using b = await Peer.connect(url);
    await daemon.stop();
    expect([await a.closed, await b.closed]).toEqual(Array(2).fill({ code: 1001, reason: 'going away' }));
    expect(probe.closes).toHaveLength(2);
    expect(await isListening(url)).toBe(false);
    expect(await daemon.closed).toMatchObject({ exitCode: 0 });
  });

  test('waits for a handler under way', async () => {
    const probe = new Probe({ port: 0, closeTimeoutMs: Number.POSITIVE_INFINITY });
    const working = Promise.withResolvers<void>();
    const events: string[] = [];
    probe.message = async () => {
      await working.promise;
      events.push('handled');
    };
    const daemon = await entrypoint([probe], quiet);
    await using peer = await Peer.connect(probe.url);
    peer.socket.send('work');
    await probe.until(() => probe.messages.length === 1);
    const stopped = daemon.stop().then(() => events.push('stopped'));
    expect(await peer.closed).toMatchObject({ code: 1001 });
    expect(probe.waitingFor()).toEqual([
      expect.stringMatching(/^1 client \(127\.0\.0\.1:\d+ in onMessage\)$/),
    ]);
    working.resolve();
    await stopped;
    expect(events).toEqual(['handled', 'stopped']);
  });

  test('cuts off who does not answer the close frame within closeTimeoutMs, and is not held up by them', async () => {
    const clock = new FakeClock();
    const probe = new Probe({ port: 0, closeTimeoutMs: 1_000 });
    const daemon = await entrypoint([probe], { ...quiet, clock });
    await using raw = await RawPeer.connect(probe.url);
    const stopped = daemon.stop();
    expect(await raw.closeCode()).toBe(1001);
    expect(probe.waitingFor()).toEqual([`1 client (127.0.0.1:${raw.socket.localPort})`]);
    await clock.advance(1_000);
    await stopped;
    expect(await daemon.closed).toMatchObject({ exitCode: 0 });
    expect(clock.pending).toBe(0);
  });

  test('is forced when its time is up, cuts everyone off, and names who held it', async () => {
    const clock = new FakeClock();
    const probe = new Probe({ port: 0, stopTimeoutMs: 5_000, closeTimeoutMs: Number.POSITIVE_INFINITY });
    const daemon = await entrypoint([probe], { ...quiet, clock });
    await using raw = await RawPeer.connect(probe.url);
    const { localPort } = raw.socket;
    const stopped = daemon.stop();
    stopped.catch(() => {});
    expect(await raw.closeCode()).toBe(1001);
    await clock.advance(5_000);
    await expect(stopped).rejects.toMatchObject({
      errors: [
        {
          code: 'ERR_SERVICE_STOP_FORCED',
          heldBy: [`1 client (127.0.0.1:${localPort})`],
          abandoned: false,
        },
      ],
    });
    expect(await daemon.closed).toMatchObject({ exitCode: 70 });
    if (!raw.socket.closed) await once(raw.socket, 'close');
  });

  test('a restart closes the clients and serves new ones', async () => {
    const probe = new Probe({ port: 0 });
    await using daemon = await entrypoint([probe], quiet);
    await using before = await Peer.connect(probe.url);
    await daemon.restart('probe');
    expect(await before.closed).toMatchObject({ code: 1001 });
    expect([probe.clients.size, probe.sentMessages]).toEqual([0, 0]);
    await using after = await Peer.connect(probe.url);
    after.socket.send('again');
    expect(await after.next()).toBe('again');
  });

  test('a start that fails half-way leaves nothing listening and nobody connected', async () => {
    class Broken extends Probe {
      override async start(scope: Scope) {
        await super.start(scope);
        await using peer = await Peer.connect(this.url);
        this.connectedTo = this.url;
        this.peerClosed = peer.closed;
        throw new Error('broken');
      }
      connectedTo = '';
      peerClosed: Promise<unknown> | undefined;
    }
    const broken = new Broken({ port: 0 });
    const daemon = new Entrypoint([broken], quiet);
    await expect(daemon.start()).rejects.toThrow(StartError);
    await daemon.closed;
    await broken.peerClosed;
    expect(await isListening(broken.connectedTo)).toBe(false);
    expect(broken.addresses).toEqual([]);
  });

  test('a port in use fails the start and says so', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    const daemon = new Entrypoint([new Probe({ port })], quiet);
    await expect(daemon.start()).rejects.toMatchObject({ cause: { code: 'ERR_LISTEN', reason: 'in-use' } });
    await daemon.closed;
    taken.close();
    await once(taken, 'close');
  });
});
