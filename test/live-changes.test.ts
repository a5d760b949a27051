import {
  DependencyCycleError,
  DuplicateServiceError,
  MissingDependencyError,
  type ServiceInfo,
  ServiceInUseError,
  ServiceStopped,
  ShutdownError,
  StartError,
  Supervisor,
  UnknownServiceError,
} from 'bosun';
import { settle } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { Bench, barrier, fails, hang, Probe } from './support/probe.ts';

const outcome = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (error: Error) => error,
  );

describe('add', () => {
  test('starts a service in the running daemon, and it is stopped with the rest, in order', async () => {
    const journal: string[] = [];
    const a = new Probe('a', {}, {}, journal);
    const bench = new Bench([a]);
    await bench.daemon.start();
    await bench.daemon.add(new Probe('b', { needs: [a] }, {}, journal));
    expect(bench.statuses()).toEqual({ a: 'running', b: 'running' });
    expect(bench.trace.slice(-3)).toEqual(['service-starting b', 'service-running b', 'service-added b']);
    await bench.stop();
    expect(journal).toEqual(['+a', '+b', '-b', '-a']);
  });

  test('what cannot start is not added, and the daemon is as it was', async () => {
    const bench = new Bench([new Probe('a')]);
    await bench.daemon.start();
    await expect(bench.daemon.add(new Probe('b', {}, { start: fails('no') }))).rejects.toThrow(StartError);
    expect(bench.statuses()).toEqual({ a: 'running' });
    await bench.daemon.add(new Probe('b'));
    await bench.stop();
    expect((await bench.daemon.closed).exitCode).toBe(0);
  });

  test('a name that exists, also further down, a missing dependency and a cycle are errors', async () => {
    const inner = new Probe('inner');
    const bench = new Bench([new Supervisor({ name: 'nested', services: [inner] })]);
    await bench.daemon.start();
    await expect(bench.daemon.add(new Probe('inner'))).rejects.toThrow(DuplicateServiceError);
    await expect(bench.daemon.add(inner)).rejects.toThrow(DuplicateServiceError);
    await expect(bench.daemon.add(new Probe('x', { after: ['innr'] }))).rejects.toThrow(
      'did you mean "inner"',
    );
    await expect(bench.daemon.add(new Probe('x', { needs: [new Probe('y')] }))).rejects.toThrow(
      MissingDependencyError,
    );
    await expect(bench.daemon.add(new Probe('x', { after: ['x'] }))).rejects.toThrow(DependencyCycleError);
    expect(bench.daemon.services).toHaveLength(2);
    await bench.stop();
  });

  test("before the start it is only added; what it lacks is the start's error", async () => {
    const bench = new Bench([]);
    const a = new Probe('a');
    await bench.daemon.add(new Probe('b', { needs: [a] }));
    await bench.daemon.add(a);
    expect(bench.statuses()).toEqual({ a: 'created', b: 'created' });
    await bench.daemon.start();
    expect(bench.statuses()).toEqual({ a: 'running', b: 'running' });
    await bench.stop();

    const lacking = new Bench([]);
    await lacking.daemon.add(new Probe('b', { needs: [a] }));
    await expect(lacking.daemon.start()).rejects.toThrow(MissingDependencyError);
  });

  test('during the start it waits for its end; when the start fails it is refused', async () => {
    const gate = barrier();
    const slow = new Probe('slow', {}, { start: () => gate.promise });
    const bench = new Bench([slow]);
    const started = bench.daemon.start().catch(() => {});
    await settle();
    const late = new Probe('late');
    const added = outcome(bench.daemon.add(late));
    await settle();
    expect(late.scopes).toEqual([]);
    gate.fail(new Error('no'));
    await started;
    expect(await added).toBeInstanceOf(ServiceStopped);
    expect(late.scopes).toEqual([]);
  });

  test('waits until what it depends on has been added or restarted', async () => {
    const gate = barrier();
    const a = new Probe('a', {}, { start: () => gate.promise });
    const b = new Probe('b', { needs: [a] });
    const bench = new Bench([new Probe('rest')]);
    await bench.daemon.start();
    const added = Promise.all([bench.daemon.add(a), bench.daemon.add(b)]);
    await settle();
    expect(bench.statuses()).toMatchObject({ a: 'starting', b: 'created' });
    gate.open();
    await added;
    a.fail();
    await settle();
    const c = bench.daemon.add(new Probe('c', { needs: [a] }));
    await settle();
    expect(bench.status('c')).toBe('created');
    await bench.clock.advance(100);
    await c;
    await bench.stop();
  });

  test('is refused when what it depends on could not be added, or is removed meanwhile', async () => {
    const gate = barrier();
    const a = new Probe('a', {}, { start: () => gate.promise });
    const bench = new Bench([new Probe('rest'), new Probe('going', {}, { stop: () => gate.promise })]);
    await bench.daemon.start();
    const first = outcome(bench.daemon.add(a));
    const b = new Probe('b', { needs: [a] });
    const second = outcome(bench.daemon.add(b));
    await settle();
    const removed = outcome(bench.daemon.remove('going'));
    await settle();
    const c = new Probe('c', { after: ['going'] });
    const third = outcome(bench.daemon.add(c));
    await settle();
    gate.fail(new Error('no'));
    expect(await first).toBeInstanceOf(StartError);
    expect(await second).toBeInstanceOf(MissingDependencyError);
    expect(await removed).toBeInstanceOf(ShutdownError);
    expect(await third).toBeInstanceOf(MissingDependencyError);
    expect([b.scopes, c.scopes]).toEqual([[], []]);
    expect(bench.statuses()).toEqual({ rest: 'running' });
    await bench.stop();
  });

  test('in a group, others that are added at the same time are not disturbed', async () => {
    const bench = new Bench([new Probe('a')], { strategy: 'one-for-all' });
    await bench.daemon.start();
    const slow = (name: string) =>
      new Probe(name, {}, { start: ({ clock, signal }) => clock.sleep(100, { signal }) });
    const added = Promise.all(['b', 'c', 'd'].map((name) => bench.daemon.add(slow(name))));
    await bench.clock.advance(300);
    await added;
    expect(bench.statuses()).toEqual({ a: 'running', b: 'running', c: 'running', d: 'running' });
    await bench.stop();
  });

  test('a service being added is no member of a group restart that begins meanwhile', async () => {
    const gate = barrier();
    const a = new Probe('a');
    const bench = new Bench([a], { strategy: 'one-for-all' });
    await bench.daemon.start();
    const b = new Probe('b', {}, { start: () => gate.promise });
    const added = bench.daemon.add(b);
    await settle();
    a.fail();
    await settle();
    gate.open();
    await added;
    await bench.clock.advance(100);
    expect(bench.statuses()).toEqual({ a: 'running', b: 'running' });
    await bench.stop();
  });

  test('in a group that is pausing, it starts after the others', async () => {
    const journal: string[] = [];
    const a = new Probe('a', {}, {}, journal);
    const bench = new Bench([a, new Probe('rest')], { strategy: 'one-for-all' });
    await bench.daemon.start();
    a.fail();
    await settle();
    const added = bench.daemon.add(new Probe('b', { needs: [a] }, {}, journal));
    await settle();
    expect(bench.statuses()).toMatchObject({ a: 'backing-off', b: 'created' });
    await bench.clock.advance(100);
    await added;
    expect(journal).toEqual(['+a', '-a', '+a', '+b']);
    await bench.stop();
  });

  test('and stop at the same time: it is refused, or stopped with the rest', async () => {
    const a = new Probe('a', {}, { start: ({ clock, signal }) => clock.sleep(100, { signal }) });
    const bench = new Bench([new Probe('rest')]);
    await bench.daemon.start();
    const added = outcome(bench.daemon.add(a));
    await settle();
    await bench.stop();
    expect(await added).toBeInstanceOf(ServiceStopped);
    expect(bench.statuses()).toEqual({ rest: 'stopped' });
    await expect(bench.daemon.add(new Probe('late'))).rejects.toThrow(ServiceStopped);
  });

  test('a nested supervisor takes services, and knows the names of the whole tree', async () => {
    const nested = new Supervisor({ name: 'nested', services: [] });
    const bench = new Bench([nested, new Probe('a')]);
    await bench.daemon.start();
    await expect(nested.add(new Probe('a'))).rejects.toThrow(DuplicateServiceError);
    await nested.add(new Probe('b'));
    expect(bench.statuses()).toEqual({ nested: 'running', b: 'running', a: 'running' });
    await bench.daemon.remove('b');
    await bench.daemon.add(new Probe('c'));
    expect(bench.statuses()).toEqual({ nested: 'running', a: 'running', c: 'running' });
    await bench.stop();
  });
});

describe('remove', () => {
  test('stops a service and takes it out', async () => {
    const a = new Probe('a');
    const bench = new Bench([a, new Probe('rest')]);
    await bench.daemon.start();
    await bench.daemon.remove('a');
    expect(a.stops).toMatchObject([{ kind: 'remove' }]);
    expect(bench.statuses()).toEqual({ rest: 'running' });
    expect(bench.trace.at(-1)).toBe('service-removed a');
    await bench.daemon.add(a);
    expect(bench.status('a')).toBe('running');
    await bench.stop();
  });

  test('an unknown name is an error with the nearest one', async () => {
    const bench = new Bench([new Probe('database')]);
    await bench.daemon.start();
    await expect(bench.daemon.remove('databse')).rejects.toThrow(
      'there is no service named "databse" (did you mean "database"?)',
    );
    await bench.stop();
  });

  test('what others depend on cannot be removed, wherever in the tree they are', async () => {
    const database = new Probe('database');
    const bench = new Bench([
      new Supervisor({ name: 'storage', services: [database] }),
      new Supervisor({ name: 'web', services: [new Probe('api', { needs: [database] })] }),
    ]);
    await bench.daemon.start();
    await expect(bench.daemon.remove('database')).rejects.toThrow(ServiceInUseError);
    await expect(bench.daemon.remove('storage')).rejects.toThrow(
      '"storage" cannot be removed: api depend on it',
    );
    await bench.daemon.remove('api');
    await bench.daemon.remove('storage');
    expect(bench.statuses()).toEqual({ web: 'running' });
    await bench.stop();
  });

  test('is refused when another that depends on it was added while it waited for its turn', async () => {
    const a = new Probe('a', {}, { start: ({ clock }) => clock.sleep(100) });
    const bench = new Bench([a]);
    const started = bench.daemon.start();
    await bench.clock.advance(100);
    await started;
    const restarted = bench.daemon.restart('a');
    await settle();
    const removed = outcome(bench.daemon.remove('a'));
    const added = bench.daemon.add(new Probe('b', { needs: [a] }));
    await bench.clock.advance(100);
    await Promise.all([restarted, added]);
    expect(await removed).toBeInstanceOf(ServiceInUseError);
    expect(bench.statuses()).toEqual({ a: 'running', b: 'running' });
    await bench.stop();
  });

  test('a failed stop is told, and the service is out all the same', async () => {
    const bench = new Bench([new Probe('a', {}, { stop: fails('no') }), new Probe('rest')]);
    await bench.daemon.start();
    await expect(bench.daemon.remove('a')).rejects.toThrow(ShutdownError);
    expect(bench.statuses()).toEqual({ rest: 'running' });
    await bench.stop();
    expect((await bench.daemon.closed).exitCode).toBe(0);
  });

  test('removing a supervisor tells of every stop below it that failed', async () => {
    const nested = new Supervisor({
      name: 'nested',
      services: [new Probe('a', {}, { stop: fails('no a') }), new Probe('b', {}, { stop: fails('no b') })],
    });
    const bench = new Bench([nested, new Probe('rest')]);
    await bench.daemon.start();
    const error = (await outcome(bench.daemon.remove('nested'))) as ShutdownError;
    expect(error.errors.map(({ message }) => message)).toEqual([
      'service "b" failed to stop: no b',
      'service "a" failed to stop: no a',
    ]);
    await bench.stop();
  });

  test('ends the pause before a restart, and the restart', async () => {
    const a = new Probe('a');
    const bench = new Bench([a, new Probe('rest')]);
    await bench.daemon.start();
    a.fail();
    await settle();
    await bench.daemon.remove('a');
    await bench.clock.advance(1_000);
    expect(a.scopes).toHaveLength(1);
    expect(a.stops).toHaveLength(1);
    await bench.stop();
  });

  test('in a group that is pausing, the others come back after the same pause', async () => {
    const a = new Probe('a');
    const b = new Probe('b');
    const bench = new Bench([a, b], { strategy: 'one-for-all', backoff: { jitter: 'none' } });
    await bench.daemon.start();
    a.fail();
    await bench.clock.advance(50);
    await bench.daemon.remove('a');
    await bench.clock.advance(49);
    expect(bench.statuses()).toEqual({ b: 'backing-off' });
    await bench.clock.advance(1);
    expect(bench.statuses()).toEqual({ b: 'running' });
    await bench.stop();
  });

  test('twice at once: the second finds nothing to remove', async () => {
    const a = new Probe('a');
    const bench = new Bench([a, new Probe('rest')]);
    await bench.daemon.start();
    const [first, second] = await Promise.all([
      outcome(bench.daemon.remove('a')),
      outcome(bench.daemon.remove('a')),
    ]);
    expect(first).toBe('done');
    expect(second).toBeInstanceOf(UnknownServiceError);
    expect(a.stops).toHaveLength(1);
    await bench.stop();
  });

  test('during the start waits for its end', async () => {
    const a = new Probe('a', {}, { start: ({ clock, signal }) => clock.sleep(1_000, { signal }) });
    const bench = new Bench([a, new Probe('rest')]);
    const started = bench.daemon.start();
    await settle();
    const removed = bench.daemon.remove('a');
    await bench.clock.advance(1_000);
    await started;
    await removed;
    expect(a.stops).toHaveLength(1);
    expect(bench.statuses()).toEqual({ rest: 'running' });
    await bench.stop();
  });

  test('before the start only takes it out; after the end it is refused', async () => {
    const bench = new Bench([new Probe('a'), new Probe('b')]);
    await bench.daemon.remove('a');
    await bench.daemon.start();
    expect(bench.statuses()).toEqual({ b: 'running' });
    await bench.stop();
    await expect(bench.daemon.remove('b')).rejects.toThrow(ServiceStopped);
  });

  test('the last service may be removed: the daemon stays up for others', async () => {
    const bench = new Bench([new Probe('a')]);
    await bench.daemon.start();
    await bench.daemon.remove('a');
    expect(bench.daemon.ready).toBe(true);
    await bench.stop();
  });
});

describe('restart', () => {
  test('stops a service and starts it again, and leaves those that depend on it running', async () => {
    const a = new Probe('a');
    const b = new Probe('b', { needs: [a] });
    const bench = new Bench([a, b]);
    await bench.daemon.start();
    await bench.daemon.restart('a');
    expect(a.stops).toMatchObject([{ kind: 'restart' }]);
    expect(a.scopes).toHaveLength(2);
    expect(b.scopes).toHaveLength(1);
    expect(bench.daemon.services[0]).toMatchObject({ name: 'a', restarts: 1 });
    await bench.stop();
  });

  test('several at once follow one another', async () => {
    const a = new Probe('a');
    const bench = new Bench([a]);
    await bench.daemon.start();
    await Promise.all([bench.daemon.restart('a'), bench.daemon.restart('a'), bench.daemon.restart('a')]);
    expect([a.scopes.length, a.stops.length]).toEqual([4, 3]);
    await bench.stop();
  });

  test('ends a pause, and begins budget and backoff anew', async () => {
    const a = new Probe('a');
    const bench = new Bench([a], { intensity: { maxFailures: 100 }, backoff: { jitter: 'none' } });
    await bench.daemon.start();
    for (const pauseMs of [100, 200]) {
      a.fail();
      await bench.clock.advance(pauseMs);
    }
    a.fail();
    await settle();
    expect(bench.status('a')).toBe('backing-off');
    await bench.daemon.restart('a');
    expect(bench.status('a')).toBe('running');
    a.fail();
    await settle();
    expect(bench.events.findLast((event) => event.type === 'service-restarting')).toMatchObject({
      attempt: 1,
      pauseMs: 100,
    });
    await bench.stop();
  });

  test('in a group that is pausing, all of it comes back at once, in order', async () => {
    const journal: string[] = [];
    const a = new Probe('a', {}, {}, journal);
    const b = new Probe('b', { needs: [a] }, {}, journal);
    const bench = new Bench([a, b], { strategy: 'one-for-all' });
    await bench.daemon.start();
    a.fail();
    await settle();
    journal.length = 0;
    await bench.daemon.restart('b');
    expect(journal).toEqual(['+a', '+b']);
    await bench.stop();
  });

  test('replaces a restart that hangs in its start', async () => {
    const a = new Probe(
      'a',
      {},
      { start: ({ signal, clock }) => (a.scopes.length === 2 ? clock.sleep(60_000, { signal }) : undefined) },
    );
    const bench = new Bench([a]);
    await bench.daemon.start();
    a.fail();
    await bench.clock.advance(100);
    expect(bench.status('a')).toBe('starting');
    await bench.daemon.restart('a');
    expect(bench.status('a')).toBe('running');
    await bench.stop();
  });

  test('brings back one that had failed for good, or finished', async () => {
    const lost = new Probe('lost', { critical: false, restart: 'never' });
    const done = new Probe('done');
    const bench = new Bench([lost, done, new Probe('rest')]);
    await bench.daemon.start();
    lost.fail();
    done.scope.finish();
    await settle();
    await bench.daemon.restart('lost');
    await bench.daemon.restart('done');
    expect(bench.statuses()).toEqual({ lost: 'running', done: 'running', rest: 'running' });
    await bench.stop();
  });

  test('rejects when it cannot start, and its policy goes on', async () => {
    const a = new Probe(
      'a',
      {},
      {
        start: () => {
          if (a.scopes.length === 2) throw new Error('not now');
        },
      },
    );
    const bench = new Bench([a]);
    await bench.daemon.start();
    await expect(bench.daemon.restart('a')).rejects.toThrow('service "a" could not start: not now');
    expect(bench.status('a')).toBe('backing-off');
    await bench.clock.advance(100);
    expect(bench.status('a')).toBe('running');
    await bench.stop();
  });

  test('and remove at once: whichever was asked first is first', async () => {
    const a = new Probe('a');
    const bench = new Bench([a, new Probe('rest')]);
    await bench.daemon.start();
    const first = await Promise.all([outcome(bench.daemon.restart('a')), outcome(bench.daemon.remove('a'))]);
    expect(first).toEqual(['done', 'done']);
    expect([a.scopes.length, a.stops.length]).toEqual([2, 2]);
    const b = new Probe('b');
    await bench.daemon.add(b);
    const second = await Promise.all([outcome(bench.daemon.remove('b')), outcome(bench.daemon.restart('b'))]);
    expect(second).toEqual(['done', expect.any(UnknownServiceError)]);
    expect([b.scopes.length, b.stops.length]).toEqual([1, 1]);
    await bench.stop();
  });

  test('of a service below a supervisor that is being restarted waits for that, or is refused', async () => {
    const a = new Probe('a');
    const bench = new Bench([new Supervisor({ name: 'nested', services: [a] })]);
    await bench.daemon.start();
    const whole = bench.daemon.restart('nested');
    const part = outcome(bench.daemon.restart('a'));
    await whole;
    expect(await part).toBeInstanceOf(ServiceStopped);
    expect(bench.statuses()).toEqual({ nested: 'running', a: 'running' });
    expect([a.scopes.length, a.stops.length]).toEqual([2, 1]);
    await bench.stop();
  });

  test('and stop at once: it ends stopped', async () => {
    const a = new Probe('a');
    const bench = new Bench([a]);
    await bench.daemon.start();
    const restarted = outcome(bench.daemon.restart('a'));
    await bench.stop();
    expect(await restarted).toBeInstanceOf(ServiceStopped);
    expect(bench.status('a')).toBe('stopped');
    expect(a.scopes.length).toBe(a.stops.length);
    await expect(bench.daemon.restart('a')).rejects.toThrow(ServiceStopped);
  });

  test('before the start it is refused', async () => {
    await expect(new Bench([new Probe('a')]).daemon.restart('a')).rejects.toThrow(ServiceStopped);
  });

  test('a hung stop is forced, and does not keep it from starting again', async () => {
    const a = new Probe(
      'a',
      { stopTimeoutMs: 1_000 },
      { stop: () => (a.stops.length === 1 ? hang() : undefined) },
    );
    const bench = new Bench([a]);
    await bench.daemon.start();
    const restarted = bench.daemon.restart('a');
    await bench.clock.advance(1_100);
    await restarted;
    expect(bench.status('a')).toBe('running');
    await bench.stop();
    expect((await bench.daemon.closed).exitCode).toBe(0);
  });

  test("runs in the daemon's asynchronous context, not in that of who asked", async () => {
    const { AsyncLocalStorage } = await import('node:async_hooks');
    const request = new AsyncLocalStorage<string>();
    const seen: (string | undefined)[] = [];
    const a = new Probe('a', {}, { start: () => void seen.push(request.getStore()) });
    const bench = new Bench([a]);
    await bench.daemon.start();
    await request.run('request 7', () => bench.daemon.restart('a'));
    await request.run('request 8', () =>
      bench.daemon.add(new Probe('b', {}, { start: () => void seen.push(request.getStore()) })),
    );
    expect(seen).toEqual([undefined, undefined, undefined]);
    await bench.stop();
  });
});

describe('restartWith: dependencies', () => {
  test('restarts with what it depends on, in order, each once, and nobody else', async () => {
    const journal: string[] = [];
    const base = new Probe('base', {}, {}, journal);
    const left = new Probe('left', { needs: [base], restartWith: 'dependencies' }, {}, journal);
    const right = new Probe('right', { needs: [base], restartWith: 'dependencies' }, {}, journal);
    const top = new Probe('top', { needs: [left, right], restartWith: 'dependencies' }, {}, journal);
    const bystander = new Probe('bystander', { needs: [base] }, {}, journal);
    const bench = new Bench([base, left, right, top, bystander]);
    await bench.daemon.start();
    journal.length = 0;
    base.fail();
    await bench.clock.advance(100);
    expect(journal).toEqual(['-base', '+base', '-left', '+left', '-right', '+right', '-top', '+top']);
    journal.length = 0;
    await bench.daemon.restart('left');
    await settle();
    expect(journal).toEqual(['-left', '+left', '-top', '+top']);
    await bench.stop();
  });

  test('holds across supervisors, also when one is restarted as a whole', async () => {
    const database = new Probe('database');
    const api = new Probe('api', { needs: [database], restartWith: 'dependencies' });
    const storage = new Supervisor({ name: 'storage', services: [database], intensity: { maxFailures: 0 } });
    const bench = new Bench([storage, new Supervisor({ name: 'web', services: [api] })]);
    await bench.daemon.start();
    database.fail();
    await bench.clock.advance(100);
    expect(database.scopes).toHaveLength(2);
    expect(api.scopes).toHaveLength(2);
    await bench.daemon.restart('database');
    await settle();
    expect(api.scopes).toHaveLength(3);
    await bench.stop();
  });

  test('one that was restarted together with what it depends on is not restarted again', async () => {
    const a = new Probe('a');
    const b = new Probe('b', { needs: [a], restartWith: 'dependencies' });
    const bench = new Bench([a, b], { strategy: 'one-for-all' });
    await bench.daemon.start();
    a.fail();
    await bench.clock.advance(100);
    expect(b.scopes).toHaveLength(2);
    await bench.stop();
  });

  test('`after` alone is no dependency', async () => {
    const a = new Probe('a');
    const b = new Probe('b', { after: ['a'], restartWith: 'dependencies' });
    const bench = new Bench([a, b]);
    await bench.daemon.start();
    await bench.daemon.restart('a');
    await settle();
    expect(b.scopes).toHaveLength(1);
    await bench.stop();
  });
});

test('`services` gives copies', async () => {
  const bench = new Bench([new Probe('a'), new Probe('b', { after: ['a'], critical: false })]);
  await bench.daemon.start();
  const b = bench.daemon.services[1] as ServiceInfo;
  expect(b).toMatchObject({
    name: 'b',
    type: 'Probe',
    critical: false,
    dependencies: ['a'],
    supervisor: undefined,
    restarts: 0,
    lastError: undefined,
    addresses: [],
  });
  Object.assign(b, { state: { status: 'failed' } });
  (b.dependencies as string[]).push('c');
  expect(bench.daemon.services[1]).toMatchObject({ state: { status: 'running' }, dependencies: ['a'] });
  await bench.stop();
});
