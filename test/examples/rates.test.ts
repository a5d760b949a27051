import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { entrypoint } from 'bosun';
import { FakeClock } from 'bosun/testing';
import { expect, test } from 'vitest';
import { RateFeed, RateServer } from '../../examples/catalogue/rates.ts';

test('the rate moves every interval: for who comes later, and for who has subscribed', async () => {
  const clock = new FakeClock();
  const feed = new RateFeed({ intervalMs: 10_000 });
  const server = new RateServer({ feed, port: 0 });
  using sockets = new DisposableStack();
  await using _daemon = await entrypoint([feed, server], {
    clock,
    log: { level: 'silent' },
    ownsProcess: false,
  });
  await clock.advance(0); // The first call of the feed.
  const { hostname, port } = new URL(server.addresses[0] as string);
  const join = async (): Promise<{ socket: Socket; next: () => Promise<unknown> }> => {
    const socket = connect(Number(port), hostname);
    sockets.defer(() => socket.destroy());
    await once(socket, 'connect');
    const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
    return { socket, next: async () => (await lines.next()).value };
  };

  const subscriber = await join();
  const first = await subscriber.next();
  expect(first).toMatch(/^Dollar rate is \d+\.\d\d\.$/);
  subscriber.socket.write('subscribe\n');
  while (feed.moves.listenerCount('moved') === 0) await new Promise((resolve) => setImmediate(resolve));

  await clock.advance(10_000);
  const second = await subscriber.next();
  expect(second).toMatch(/^Dollar rate is \d+\.\d\d\.$/);
  expect(second).not.toBe(first);
  expect(await (await join()).next()).toBe(second);
});
