import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { counter, entrypoint, type Scope, type Service } from 'bosun';
import { CacheService } from 'bosun/services/cache';
import { PeriodicService } from 'bosun/services/periodic';
import { TcpEchoService } from 'bosun/services/tcp-echo';
import { UdpService } from 'bosun/services/udp';
import { FakeClock } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { databaseOf } from '../support/database.ts';
import { Observer, type Scrape } from '../support/metrics.ts';
import { startPostgres } from '../support/postgres.ts';
import { TcpClient } from '../support/tcp-client.ts';
import { Peer } from './websocket/peers.ts';
import { Probe } from './websocket/probe.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

/** A daemon of a service, and what is read of it. */
async function run(service: Service, options: { readonly clock?: FakeClock } = {}) {
  const observer = new Observer();
  const daemon = await entrypoint([service, observer], { ...quiet, ...options });
  return {
    daemon,
    scrape: () => observer.scrape(),
    /** The first scrape that fits. */
    scrapeWhen: async (fits: (scrape: Scrape) => boolean) => {
      await expect.poll(async () => fits(await observer.scrape()), { interval: 5 }).toBe(true);
      return await observer.scrape();
    },
    restart: () => daemon.restart(service.name),
    [Symbol.asyncDispose]: () => daemon.stop(),
  };
}

describe('a postgres service', () => {
  test('counts queries, errors by class, retries, the pool and those who wait for it', async () => {
    await using server = await startPostgres();
    const database = databaseOf(server, { poolSize: 2 });
    await using daemon = await run(database);
    for (let i = 0; i < 5; i++) await database.query('SELECT 1');
    await database.query('SELECT 1/0').catch(() => {});
    await database.query('SELECT nothing').catch(() => {});
    await database.query({ text: 'SELECT pg_sleep(60)', timeoutMs: 20 }).catch(() => {});
    const gate = Promise.withResolvers<void>();
    const holding = [1, 2].map(() => database.withClient(() => gate.promise));
    await expect.poll(() => database.statistics.inUse).toBe(2);
    const waiting = database.query('SELECT 1');
    await expect.poll(() => database.statistics.waiting).toBe(1);
    const scrape = await daemon.scrape();
    const connections = (state: string) => scrape.value('bosun_postgres_pool_connections', { state });
    expect(['idle', 'in-use', 'cleaning', 'connecting'].map(connections)).toEqual([0, 2, 0, 0]);
    expect(scrape.value('bosun_postgres_pool_waiting')).toBe(1);
    expect(scrape.value('bosun_postgres_up')).toBe(1);
    expect(scrape.value('bosun_postgres_queries_total')).toBe(9);
    expect(scrape.value('bosun_postgres_query_duration_seconds_count')).toBe(8);
    const errors = (error: string) => scrape.value('bosun_postgres_query_errors_total', { error });
    expect([errors('22'), errors('42'), errors('ERR_POSTGRES_QUERY_TIMEOUT')]).toEqual([1, 1, 1]);
    expect(scrape.value('bosun_postgres_query_cancels_total')).toBe(1);
    gate.resolve();
    await Promise.all([...holding, waiting]);
    expect(database.statistics).not.toHaveProperty('durations');
    await daemon.restart();
    await database.query('SELECT 1');
    const after = await daemon.scrape();
    expect(after.value('bosun_postgres_queries_total')).toBe(10);
    expect(after.value('bosun_postgres_query_duration_seconds_count')).toBe(10);
    expect(after.value('bosun_postgres_pool_acquires_total')).toBeGreaterThanOrEqual(11);
  });
});

test('a TCP service counts connections, over a restart, too', async () => {
  const echo = new TcpEchoService({ maxConnections: 2 });
  await using daemon = await run(echo);
  const connected = async () => {
    const client = await TcpClient.to(echo.addresses[0] as string);
    client.socket.write('hello');
    await once(client.socket, 'data');
    return client;
  };
  {
    await using _first = await connected();
    await using second = await connected();
    await using third = await TcpClient.to(echo.addresses[0] as string);
    await third.ended;
    const scrape = await daemon.scrape();
    expect(scrape.value('bosun_socket_connections')).toBe(2);
    expect(scrape.value('bosun_socket_connections_accepted_total')).toBe(2);
    expect(scrape.value('bosun_socket_connections_refused_total')).toBe(1);
    second.socket.resetAndDestroy();
    const after = await daemon.scrapeWhen((scrape) => scrape.value('bosun_socket_connections') === 1);
    expect(after.value('bosun_socket_errors_total', { kind: 'broken' })).toBe(1);
    expect(after.value('bosun_socket_errors_total', { kind: 'failed' })).toBe(0);
  }
  await daemon.restart();
  await using _fourth = await connected();
  const scrape = await daemon.scrape();
  expect(scrape.value('bosun_socket_connections_accepted_total')).toBe(3);
  expect(scrape.value('bosun_socket_connections')).toBe(1);
});

test('a UDP service counts datagrams', async () => {
  const gate = Promise.withResolvers<void>();
  class Slow extends UdpService {
    protected override handle(message: Buffer): Promise<void> | void {
      if (message.toString() === 'fail') throw new Error('broken');
      return gate.promise;
    }
  }
  const slow = new Slow({ maxInFlight: 2 });
  await using daemon = await run(slow);
  const { hostname, port } = new URL(slow.addresses[0] as string);
  const client = createSocket('udp4');
  for (const text of ['fail', '1', '2', '3', '4']) client.send(text, Number(port), hostname);
  const during = await daemon.scrapeWhen(
    (scrape) => scrape.value('bosun_udp_datagrams_received_total') === 5,
  );
  expect(during.value('bosun_udp_datagrams_failed_total')).toBe(1);
  expect(during.value('bosun_udp_datagrams_dropped_total')).toBe(2);
  expect(during.value('bosun_udp_datagrams_in_flight')).toBe(2);
  gate.resolve();
  await daemon.scrapeWhen((scrape) => scrape.value('bosun_udp_datagrams_in_flight') === 0);
  client.close();
  await daemon.restart();
  expect((await daemon.scrape()).value('bosun_udp_datagrams_received_total')).toBe(5);
});

test('a websocket service counts clients and messages, in all its runs', async () => {
  const probe = new Probe({ port: 0, maxBufferedBytes: 1_000 });
  await using daemon = await run(probe);
  {
    await using first = await Peer.connect(probe.url);
    await using _second = await Peer.connect(probe.url);
    for (const text of ['a', 'b', 'c']) {
      first.socket.send(text);
      await first.next();
    }
    const scrape = await daemon.scrape();
    expect(scrape.value('bosun_websocket_clients')).toBe(2);
    expect(scrape.value('bosun_websocket_messages_received_total')).toBe(3);
    expect(scrape.value('bosun_websocket_messages_sent_total')).toBe(3);
  }
  await daemon.scrapeWhen((scrape) => scrape.value('bosun_websocket_clients') === 0);
  await daemon.restart();
  await using slow = await Peer.connect(probe.url);
  slow.socket.pause();
  // More than the kernel takes: the next one finds it unread.
  probe.broadcast(Buffer.alloc(32 * 1024 * 1024));
  probe.broadcast('one too many');
  const scrape = await daemon.scrape();
  expect(scrape.value('bosun_websocket_clients_connected_total')).toBe(3);
  expect(scrape.value('bosun_websocket_clients_dropped_total')).toBe(1);
  expect(scrape.value('bosun_websocket_messages_sent_total')).toBe(4);
  expect(probe.sentMessages).toBe(1);
});

test('a periodic service counts its calls, and tells of the last one', async () => {
  class Job extends PeriodicService {
    protected override async callback(_signal: AbortSignal, { clock }: Scope) {
      await clock.sleep(2_000);
      throw new Error('broken');
    }
  }
  const clock = new FakeClock(1_000_000);
  await using daemon = await run(new Job({ intervalMs: 10_000 }), { clock });
  expect((await daemon.scrape()).value('bosun_periodic_last_duration_seconds')).toBeUndefined();
  await clock.advance(0);
  expect((await daemon.scrape()).value('bosun_periodic_running')).toBe(1);
  await clock.advance(14_000);
  const scrape = await daemon.scrape();
  expect(scrape.value('bosun_periodic_runs_total')).toBe(2);
  expect(scrape.value('bosun_periodic_errors_total')).toBe(2);
  expect(scrape.value('bosun_periodic_running')).toBe(0);
  expect(scrape.value('bosun_periodic_last_run_time_seconds')).toBe(1_012);
  expect(scrape.value('bosun_periodic_last_duration_seconds')).toBe(2);
});

test('a cache counts its loads, and tells when the value was loaded', async () => {
  let loads = 0;
  class Rates extends CacheService<number> {
    protected override load() {
      if (++loads > 1) throw new Error('broken');
      return 1;
    }
  }
  const clock = new FakeClock(1_000_000);
  await using daemon = await run(new Rates({ intervalMs: 10_000 }), { clock });
  await clock.advance(25_000);
  const scrape = await daemon.scrape();
  expect(scrape.value('bosun_cache_loads_total')).toBe(3);
  expect(scrape.value('bosun_cache_load_errors_total')).toBe(2);
  expect(scrape.value('bosun_cache_loaded_time_seconds')).toBe(1_000);
});

test("a subclass adds its own to its base's", async () => {
  class Counting extends TcpEchoService {
    override metrics() {
      return [...super.metrics(), counter('app_things_total', 'Things.', 7)];
    }
  }
  await using daemon = await run(new Counting({ name: 'counting' }));
  const scrape = await daemon.scrape();
  expect(scrape.value('app_things_total', { service: 'counting' })).toBe(7);
  expect(scrape.value('bosun_socket_connections', { service: 'counting' })).toBe(0);
});
