import { entrypoint, type Scope, Service, service, withDeadline } from 'bosun';
import { type ListenEvent, PostgresService } from 'bosun/services/postgres';
import { FakeClock, FaultProxy } from 'bosun/testing';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { databaseOf, quiet } from '../support/database.ts';
import { startPostgres, type TestPostgres, until } from '../support/postgres.ts';

let server: TestPostgres;

beforeAll(async () => {
  server = await startPostgres();
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const postgres = (options: { url?: string; connectTimeoutMs?: number } = {}) =>
  databaseOf(server, { poolSize: 1, ...options });

const throughProxy = (proxy: FaultProxy) => server.url.replace(`:${server.port}/`, `:${proxy.port}/`);

const notify = (channel: string, payload = '') =>
  server.query('SELECT pg_notify($1, $2)', [channel, payload]);

/** The processes of the server that listen for a service. */
async function listenersOf(database: PostgresService): Promise<number[]> {
  const { rows } = await server.query(
    "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND query ~ '^(LISTEN|UNLISTEN|SELECT 1)'",
    [`bosun-${database.name}`],
  );
  return rows.map(({ pid }) => pid as number);
}

/** A handler, and what it has heard. */
function ear() {
  const heard: string[] = [];
  const handler = (event: ListenEvent) => {
    heard.push(event.kind === 'reconnected' ? 'reconnected' : event.payload);
  };
  return { heard, handler };
}

describe('listen', () => {
  it('hears every notification from the moment on that it has resolved, in order', async () => {
    const database = postgres();
    await using _daemon = await entrypoint([database], quiet);
    const events: ListenEvent[] = [];
    using subscription = await database.listen('jobs', (event) => void events.push(event));
    expect(subscription.channel).toBe('jobs');
    await notify('others', 'no');
    await notify('jobs', 'ä"\n');
    await notify('jobs');
    await until(() => events.length === 2);
    expect(events).toEqual([
      { kind: 'notification', channel: 'jobs', payload: 'ä"\n', pid: expect.any(Number) },
      { kind: 'notification', channel: 'jobs', payload: '', pid: expect.any(Number) },
    ]);
  });

  it('takes one connection beside the pool for all channels and handlers, and none without', async () => {
    const database = postgres();
    await using _daemon = await entrypoint([database], quiet);
    expect(await listenersOf(database)).toHaveLength(0);
    const [one, two, other] = [ear(), ear(), ear()];
    const subscriptions = await Promise.all([
      database.listen('same', one.handler),
      database.listen('same', two.handler),
      database.listen('other', other.handler),
    ]);
    expect(await listenersOf(database)).toHaveLength(1);
    await notify('same', 'a');
    await notify('other', 'b');
    await until(() => other.heard.length === 1);
    expect([one.heard, two.heard, other.heard]).toEqual([['a'], ['a'], ['b']]);
    await database.withClient(() => {
      expect(database.statistics).toMatchObject({ size: 1, inUse: 1 });
    });
    for (const subscription of subscriptions) subscription.close();
    await until(async () => (await listenersOf(database)).length === 0);
  });

  it('leaves a channel with its last handler, and may come back to it', async () => {
    const database = postgres();
    await using _daemon = await entrypoint([database], quiet);
    const [stays, first, second] = [ear(), ear(), ear()];
    using _kept = await database.listen('kept', stays.handler);
    const a = await database.listen('left', first.handler);
    const b = await database.listen('left', second.handler);
    a.close();
    a.close();
    await notify('left', 'one');
    await until(() => second.heard.length === 1);
    b.close();
    const again = await database.listen('left', second.handler);
    again.close();
    await until(async () => {
      const { rows } = await server.query('SELECT query FROM pg_stat_activity WHERE pid = ANY($1)', [
        await listenersOf(database),
      ]);
      return rows[0]?.query === 'UNLISTEN "left"';
    });
    using _back = await database.listen('left', second.handler);
    await notify('left', 'two');
    await until(() => second.heard.length === 2);
    expect(first.heard).toEqual([]);
    expect(second.heard).toEqual(['one', 'two']);
  });

  it.each(['Jobs', 'a b', 'x"y', 'é'.repeat(31), 'select', '; DROP TABLE x'])(
    'takes the name %j as it is',
    async (channel) => {
      const database = postgres();
      await using _daemon = await entrypoint([database], quiet);
      const { heard, handler } = ear();
      using _subscription = await database.listen(channel, handler);
      await notify(channel, 'here');
      await until(() => heard.length === 1);
    },
  );

  it.each(['', 'x'.repeat(64), 'é'.repeat(32), 'a\0b'])('refuses the name %j', async (channel) => {
    const database = postgres();
    await using _daemon = await entrypoint([database], quiet);
    await expect(database.listen(channel, () => {})).rejects.toMatchObject({
      code: 'ERR_POSTGRES_CHANNEL',
      channel,
    });
    expect(await listenersOf(database)).toHaveLength(0);
  });

  it('is refused before the start and after the stop of the service', async () => {
    const database = postgres();
    await expect(database.listen('jobs', () => {})).rejects.toMatchObject({
      code: 'ERR_POSTGRES_NOT_RUNNING',
    });
    {
      await using _daemon = await entrypoint([database], quiet);
      await database.listen('jobs', () => {});
    }
    await until(async () => (await listenersOf(database)).length === 0);
    await expect(database.listen('jobs', () => {})).rejects.toMatchObject({
      code: 'ERR_POSTGRES_NOT_RUNNING',
    });
  });

  it('calls a handler in the context in which it has subscribed, free of its deadline', async () => {
    const database = postgres();
    await using _daemon = await entrypoint([database], quiet);
    const rows: unknown[] = [];
    const clock = new FakeClock();
    const subscription = await withDeadline(
      1_000,
      () =>
        database.listen('jobs', async () => {
          rows.push((await database.query('SELECT 1 AS one')).rows);
        }),
      { clock },
    );
    await clock.advance(5_000);
    await notify('jobs');
    await until(() => rows.length === 1);
    expect(rows).toEqual([[{ one: 1 }]]);
    subscription.close();
  });

  it('lets a handler subscribe and close from within', async () => {
    const database = postgres();
    await using _daemon = await entrypoint([database], quiet);
    const inner = ear();
    const outer = await database.listen('outer', async () => {
      outer.close();
      await database.listen('inner', inner.handler);
      await notify('inner', 'there');
    });
    await notify('outer');
    await until(() => inner.heard.length === 1);
    await notify('outer');
    await notify('inner', 'again');
    await until(() => inner.heard.length === 2);
    expect(inner.heard).toEqual(['there', 'again']);
  });
});

describe('a connection that listens and is lost', () => {
  it('is made again, and every handler is told that it may have missed something', async () => {
    const database = postgres();
    await using daemon = await entrypoint([database], quiet);
    const [one, two] = [ear(), ear()];
    using _one = await database.listen('one', one.handler);
    using _two = await database.listen('two', two.handler);
    await server.query('SELECT pg_terminate_backend($1)', await listenersOf(database));
    await until(() => one.heard.length === 1 && two.heard.length === 1);
    await notify('one', 'after');
    await until(() => one.heard.length === 2);
    expect(one.heard).toEqual(['reconnected', 'after']);
    expect(two.heard).toEqual(['reconnected']);
    expect(await listenersOf(database)).toHaveLength(1);
    expect(daemon.services[0]?.state.status).toBe('running');
  });

  it('is looked for until the server is back; who subscribes meanwhile waits, and has missed nothing', async () => {
    await using proxy = await FaultProxy.listen({ target: server });
    const database = postgres({ url: throughProxy(proxy) });
    await using _daemon = await entrypoint([database], quiet);
    const [before, during] = [ear(), ear()];
    using _before = await database.listen('jobs', before.handler);
    proxy.refuse();
    await proxy.cut();
    const waiting = database.listen('new', during.handler);
    const aborting = new AbortController();
    const given = database.listen('new', () => {}, { signal: aborting.signal });
    aborting.abort(new Error('enough'));
    await expect(given).rejects.toThrow('enough');
    await proxy.accept();
    using _waited = await waiting;
    await until(() => before.heard.length === 1);
    await notify('jobs', 'a');
    await notify('new', 'b');
    await until(() => before.heard.length === 2 && during.heard.length === 1);
    expect(before.heard).toEqual(['reconnected', 'a']);
    expect(during.heard).toEqual(['b']);
  });

  it('that cannot be made for good rejects with the error of the server', async () => {
    await server.query("CREATE ROLE listener LOGIN PASSWORD 'before'");
    const url = server.url.replace(/\/\/[^@]*@/, '//listener:before@');
    const database = postgres({ url });
    await using daemon = await entrypoint([database], quiet);
    await server.query("ALTER ROLE listener PASSWORD 'after'");
    await expect(database.listen('jobs', () => {})).rejects.toMatchObject({ code: '28P01' });
    expect(daemon.services[0]?.state.status).toBe('running');
    await server.query("ALTER ROLE listener PASSWORD 'before'");
    const { heard, handler } = ear();
    using _subscription = await database.listen('jobs', handler);
    await notify('jobs', 'here');
    await until(() => heard.length === 1);
  });

  it('is noticed by its silence', async () => {
    const clock = new FakeClock();
    const database = postgres({ connectTimeoutMs: 5_000 });
    await using _daemon = await entrypoint([database], { ...quiet, clock });
    const { heard, handler } = ear();
    using _subscription = await database.listen('jobs', handler);
    const [pid = 0] = await listenersOf(database);
    await clock.advance(30_000);
    await until(async () => {
      const { rows } = await server.query('SELECT query, state FROM pg_stat_activity WHERE pid = $1', [pid]);
      return rows[0].query === 'SELECT 1' && rows[0].state === 'idle';
    });
    expect(await listenersOf(database)).toEqual([pid]);
    process.kill(pid, 'SIGSTOP');
    onTestFinished(() => void process.kill(pid, 'SIGCONT'));
    await until(async () => {
      await clock.advance(10_000);
      return heard.length === 1;
    });
    expect(heard).toEqual(['reconnected']);
    expect((await listenersOf(database)).filter((other) => other !== pid)).toHaveLength(1);
  });

  it('makes no difference to who waits for LISTEN when the service stops', async () => {
    await using proxy = await FaultProxy.listen({ target: server });
    const database = postgres({ url: throughProxy(proxy) });
    const daemon = await entrypoint([database], quiet);
    proxy.refuse();
    await proxy.cut();
    const waiting = expect(database.listen('jobs', () => {})).rejects.toMatchObject({
      code: 'ERR_POSTGRES_NOT_RUNNING',
    });
    await daemon.stop();
    await waiting;
  });
});

describe('a subscription', () => {
  it('lasts when the service of the database is restarted', async () => {
    const database = postgres();
    await using daemon = await entrypoint([database], quiet);
    const { heard, handler } = ear();
    using _subscription = await database.listen('jobs', handler);
    await daemon.restart(database.name);
    await until(() => heard.length === 1);
    await notify('jobs', 'after');
    await until(() => heard.length === 2);
    expect(heard).toEqual(['reconnected', 'after']);
  });

  it('of a service that closes it at its end is gone with it', async () => {
    const database = postgres();
    const { heard, handler } = ear();
    class Reader extends Service.extend({ database: service(PostgresService) }) {
      async start(scope: Scope) {
        const subscription = await this.options.database.listen('jobs', handler);
        scope.defer(() => subscription.close());
      }
    }
    const reader = new Reader({ database });
    await using daemon = await entrypoint([database, reader], quiet);
    await notify('jobs', 'one');
    await until(() => heard.length === 1);
    await daemon.restart(reader.name);
    await notify('jobs', 'two');
    await until(() => heard.length === 2);
    await daemon.remove(reader.name);
    await until(async () => (await listenersOf(database)).length === 0);
    expect(heard).toEqual(['one', 'two']);
  });
});
