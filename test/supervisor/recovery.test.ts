import { Entrypoint, RestartsExhaustedError, Supervisor } from 'bosun';
import { settle } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { FailureWindow, pauseBefore, restartBackoffSchema } from '../../src/supervisor/restart-policy.ts';
import { Bench, barrier, fails, hang, Probe } from '../support/probe.ts';

const pauses = (bench: Bench) =>
  bench.events.flatMap((event) => (event.type === 'service-restarting' ? [event.pauseMs] : []));

describe('backoff', () => {
  const defaults = restartBackoffSchema.parse({});

  test('is 100 ms, doubled each time, at most 30 s', () => {
    const bounds = Array.from({ length: 12 }, (_, i) =>
      pauseBefore(i + 1, { ...defaults, jitter: 'none' }, Math.random),
    );
    expect(bounds).toEqual([100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000, 30_000]);
  });

  test('is drawn from all of [0, bound) by default', () => {
    expect(defaults.jitter).toBe('full');
    expect(pauseBefore(3, defaults, () => 0)).toBe(0);
    expect(pauseBefore(3, defaults, () => 0.5)).toBe(200);
    expect(pauseBefore(3, defaults, () => 0.999)).toBeCloseTo(399.6);
  });

  test('stays a number after any number of failures, also when it is 0', () => {
    expect(pauseBefore(5_000, { ...defaults, pauseMs: 0 }, () => 0.5)).toBe(0);
    expect(pauseBefore(5_000, { ...defaults, jitter: 'none' }, () => 0.5)).toBe(30_000);
  });

  test('grows with failures in a row and begins anew after a minute of health', async () => {
    const a = new Probe('a');
    const bench = new Bench([a], { backoff: { jitter: 'none' }, intensity: { maxFailures: 100 } });
    await bench.daemon.start();
    for (const pauseMs of [100, 200, 400]) {
      a.fail();
      await bench.clock.advance(pauseMs);
    }
    await bench.clock.advance(59_999);
    a.fail();
    await bench.clock.advance(800);
    await bench.clock.advance(60_000);
    a.fail();
    await bench.clock.advance(100);
    expect(pauses(bench)).toEqual([100, 200, 400, 800, 100]);
    expect(bench.status('a')).toBe('running');
    await bench.stop();
  });

  test('each service backs off alone: a pause holds up no sibling', async () => {
    const slow = new Probe('slow');
    const quick = new Probe('quick');
    const jitters = [0.99, 0.01];
    const bench = new Bench([slow, quick], { random: () => jitters.shift() ?? 0.5 });
    await bench.daemon.start();
    slow.fail();
    quick.fail();
    await bench.clock.advance(1);
    expect(bench.statuses()).toEqual({ slow: 'backing-off', quick: 'running' });
    await bench.clock.advance(98);
    expect(bench.statuses()).toEqual({ slow: 'running', quick: 'running' });
    await bench.stop();
  });

  test('a crowd that fails at once does not return at once', async () => {
    const crowd = Array.from({ length: 50 }, (_, i) => new Probe(`s${i}`, { critical: false }));
    const bench = new Bench(crowd, { random: Math.random });
    await bench.daemon.start();
    for (const probe of crowd) probe.fail();
    await bench.clock.advance(100);
    const at = bench.events.flatMap((event) =>
      event.type === 'service-running' && event.at > 0 ? [event.at] : [],
    );
    expect(at).toHaveLength(50);
    expect(new Set(at).size).toBeGreaterThan(40);
    await bench.stop();
  });

  test('the state tells when the next try is', async () => {
    const a = new Probe('a');
    const bench = new Bench([a]);
    await bench.daemon.start();
    await bench.clock.advance(1_000);
    a.fail('lost');
    await settle();
    expect(bench.daemon.services[0]).toMatchObject({
      state: { status: 'backing-off', since: 1_000, nextTryAt: 1_050, error: { message: 'lost' } },
      lastError: { message: 'lost' },
      restarts: 0,
    });
    await bench.clock.advance(50);
    expect(bench.daemon.services[0]).toMatchObject({
      state: { status: 'running', since: 1_050 },
      restarts: 1,
    });
    await bench.stop();
  });

  test('a service waits for those it depends on to be restarted first', async () => {
    const journal: string[] = [];
    const database = new Probe('database', {}, {}, journal);
    const api = new Probe('api', { needs: [database] }, {}, journal);
    const jitters = [0.99, 0.01];
    const bench = new Bench([database, api], { random: () => jitters.shift() ?? 0.5 });
    await bench.daemon.start();
    journal.length = 0;
    database.fail();
    api.fail();
    await bench.clock.advance(50);
    expect(bench.statuses()).toEqual({ database: 'backing-off', api: 'backing-off' });
    await bench.clock.advance(50);
    expect(journal).toEqual(['-database', '-api', '+database', '+api']);
    await bench.stop();
  });
});

describe('intensity', () => {
  test('bears five failures in a minute, and not a sixth', async () => {
    const a = new Probe('a');
    const bench = new Bench([a]);
    await bench.daemon.start();
    for (let failure = 1; failure <= 5; failure++) {
      a.fail();
      await bench.clock.advance(2_000);
      expect(bench.status('a')).toBe('running');
    }
    a.fail('the sixth');
    await bench.finish();
    const { exitCode, errors } = await bench.daemon.closed;
    expect(exitCode).toBe(1);
    expect(errors[0]).toBeInstanceOf(RestartsExhaustedError);
    expect(errors[0]).toMatchObject({ code: 'ERR_RESTARTS_EXHAUSTED', service: 'a', failures: 6 });
    expect(errors[0]?.message).toBe('service "a" failed for good (6 failures within 60000 ms): the sixth');
  });

  test('forgets failures when their window has passed', () => {
    const window = new FailureWindow({ maxFailures: 2, windowMs: 100 });
    expect([0, 50, 99].map((now) => window.record(now))).toEqual([false, false, true]);
    const spread = new FailureWindow({ maxFailures: 2, windowMs: 100 });
    expect([0, 50, 100, 150, 200].map((now) => spread.record(now))).toEqual([
      false,
      false,
      false,
      false,
      false,
    ]);
    expect(spread.count).toBe(2);
  });

  test('0 gives up at the first failure', async () => {
    const a = new Probe('a');
    const bench = new Bench([a], { intensity: { maxFailures: 0 } });
    await bench.daemon.start();
    a.fail();
    await bench.finish();
    expect((await bench.daemon.closed).exitCode).toBe(1);
    expect(a.scopes).toHaveLength(1);
  });

  test('is shared by the critical services of a supervisor', async () => {
    const a = new Probe('a');
    const b = new Probe('b');
    const bench = new Bench([a, b], { intensity: { maxFailures: 1 } });
    await bench.daemon.start();
    a.fail();
    await bench.clock.advance(100);
    b.fail();
    await bench.finish();
    expect((await bench.daemon.closed).errors).toMatchObject([{ service: 'b', failures: 2 }]);
  });

  test('one that is not critical spends its own, stays failed, and the rest goes on', async () => {
    const rest = new Probe('rest');
    const extra = new Probe('extra', { critical: false });
    const bench = new Bench([rest, extra], { intensity: { maxFailures: 1 } });
    await bench.daemon.start();
    for (let i = 0; i < 2; i++) {
      extra.fail();
      await bench.clock.advance(1_000);
    }
    expect(bench.statuses()).toEqual({ rest: 'running', extra: 'failed' });
    expect(bench.trace).toContain('service-gave-up extra');
    rest.fail();
    await bench.clock.advance(1_000);
    expect(bench.statuses()).toEqual({ rest: 'running', extra: 'failed' });
    await bench.stop();
    expect((await bench.daemon.closed).exitCode).toBe(0);
  });

  test('an end of a service that is always restarted counts like a failure', async () => {
    const a = new Probe('a', { restart: 'always' }, { start: ({ finish }) => finish() });
    const bench = new Bench([a], { intensity: { maxFailures: 2 } });
    const started = bench.daemon.start();
    await bench.finish();
    await started.catch(() => {});
    expect((await bench.daemon.closed).errors[0]?.message).toContain('it keeps ending');
  });

  test('a start that fails in a restart counts, and is tried again', async () => {
    const a = new Probe(
      'a',
      {},
      {
        start: () => {
          if (a.scopes.length === 2) throw new Error('port in use');
        },
      },
    );
    const bench = new Bench([a]);
    await bench.daemon.start();
    a.fail();
    await bench.clock.advance(50);
    expect(bench.daemon.services[0]?.state).toMatchObject({
      status: 'backing-off',
      error: { message: 'service "a" could not start: port in use' },
    });
    await bench.clock.advance(100);
    expect(bench.status('a')).toBe('running');
    expect(pauses(bench)).toEqual([50, 100]);
    await bench.stop();
  });
});

describe('escalation', () => {
  test('a supervisor whose budget is spent is stopped as a whole and restarted by the one above', async () => {
    const journal: string[] = [];
    const bad = new Probe('bad', {}, {}, journal);
    const good = new Probe('good', {}, {}, journal);
    const outside = new Probe('outside', {}, {}, journal);
    const inner = new Supervisor({ name: 'inner', services: [bad, good], intensity: { maxFailures: 0 } });
    const bench = new Bench([inner, outside]);
    await bench.daemon.start();
    journal.length = 0;
    bad.fail();
    await bench.clock.advance(100);
    expect(journal).toEqual(['-bad', '-good', '+bad', '+good']);
    expect(bench.statuses()).toEqual({
      inner: 'running',
      bad: 'running',
      good: 'running',
      outside: 'running',
    });
    await bench.stop();
  });

  test('a supervisor that has failed starts nothing any more', async () => {
    const bad = new Probe('bad');
    const other = new Probe('other');
    const bench = new Bench([bad, other], { strategy: 'one-for-all', intensity: { maxFailures: 0 } });
    await bench.daemon.start();
    bad.fail();
    await bench.finish();
    expect([bad.scopes.length, other.scopes.length]).toEqual([1, 1]);
    expect(other.stops).toHaveLength(1);
  });

  test('a restarted supervisor begins with a fresh budget and without pauses', async () => {
    const bad = new Probe('bad');
    const inner = new Supervisor({
      name: 'inner',
      services: [bad],
      intensity: { maxFailures: 1 },
      backoff: { jitter: 'none' },
    });
    const bench = new Bench([inner], { backoff: { jitter: 'none' } });
    await bench.daemon.start();
    bad.fail();
    await bench.clock.advance(100);
    bad.fail();
    await bench.clock.advance(100);
    expect(bench.statuses()).toEqual({ inner: 'running', bad: 'running' });
    bad.fail();
    await settle();
    expect(bench.daemon.services[1]?.state).toMatchObject({ status: 'backing-off', nextTryAt: 300 });
    await bench.clock.advance(100);
    expect(bench.statuses()).toEqual({ inner: 'running', bad: 'running' });
    await bench.stop();
  });

  test('goes up level by level to the root, where the daemon stops gracefully with code 1', async () => {
    const journal: string[] = [];
    const bad = new Probe('bad', {}, {}, journal);
    const other = new Probe('other', {}, {}, journal);
    const inner = new Supervisor({ name: 'inner', services: [bad], intensity: { maxFailures: 0 } });
    const outer = new Supervisor({ name: 'outer', services: [inner], intensity: { maxFailures: 0 } });
    const bench = new Bench([outer, other], { intensity: { maxFailures: 0 } });
    await bench.daemon.start();
    bad.fail('root cause');
    await bench.finish();
    expect(journal.at(-1)).toBe('-other');
    const { exitCode, errors } = await bench.daemon.closed;
    expect(exitCode).toBe(1);
    expect(bench.trace.filter((entry) => entry.startsWith('service-gave-up'))).toEqual([
      'service-gave-up bad',
      'service-gave-up inner',
      'service-gave-up outer',
    ]);
    expect(errors).toHaveLength(1);
    expect(errors[0]?.message).toContain('root cause');
  });

  test('a supervisor that is not critical stays failed, and all below it is down', async () => {
    const bad = new Probe('bad');
    const good = new Probe('good');
    const inner = new Supervisor({
      name: 'inner',
      services: [bad, good],
      critical: false,
      restart: 'never',
      intensity: { maxFailures: 0 },
    });
    const bench = new Bench([inner, new Probe('rest')]);
    await bench.daemon.start();
    bad.fail();
    await settle();
    expect(bench.statuses()).toEqual({ inner: 'failed', bad: 'failed', good: 'stopped', rest: 'running' });
    await bench.stop();
  });

  test('a supervisor whose services have all finished has finished', async () => {
    const a = new Probe('a');
    const b = new Probe('b');
    const bench = new Bench([new Supervisor({ name: 'inner', services: [a, b] }), new Probe('rest')]);
    await bench.daemon.start();
    a.scope.finish();
    await settle();
    expect(bench.status('inner')).toBe('running');
    b.scope.finish();
    await settle();
    expect(bench.statuses()).toMatchObject({ inner: 'stopped', rest: 'running' });
    await bench.stop();
  });

  test('a daemon whose services have all finished ends with code 0, also during its start', async () => {
    const a = new Probe('a', {}, { start: ({ finish }) => finish() });
    const bench = new Bench([a]);
    const started = bench.daemon.start();
    await bench.finish();
    await started.catch(() => {});
    expect(await bench.daemon.closed).toEqual({ exitCode: 0, errors: [] });
    expect(a.stops).toMatchObject([{ kind: 'finish' }]);
  });

  test('a daemon of which nothing is left but failures ends with code 1', async () => {
    const a = new Probe('a', { critical: false, restart: 'never' });
    const bench = new Bench([a]);
    await bench.daemon.start();
    a.fail('gone');
    await bench.finish();
    expect(await bench.daemon.closed).toMatchObject({ exitCode: 1, errors: [{ message: 'gone' }] });
  });

  test('a daemon without services stays up: some can be added', async () => {
    const bench = new Bench([]);
    await bench.daemon.start();
    await bench.clock.advance(1_000);
    expect(bench.daemon.ready).toBe(true);
    await bench.daemon.add(new Probe('late'));
    expect(bench.status('late')).toBe('running');
    await bench.stop();
  });
});

describe('critical: false', () => {
  test('a start that fails keeps nobody from starting, and is tried again', async () => {
    const rest = new Probe('rest');
    const extra = new Probe(
      'extra',
      { critical: false },
      {
        start: () => {
          if (extra.scopes.length === 1) throw new Error('not yet');
        },
      },
    );
    const bench = new Bench([extra, rest]);
    await bench.daemon.start();
    expect(bench.daemon.ready).toBe(true);
    expect(bench.statuses()).toEqual({ extra: 'backing-off', rest: 'running' });
    await bench.clock.advance(50);
    expect(bench.status('extra')).toBe('running');
    expect(bench.daemon.services[0]?.restarts).toBe(1);
    await bench.stop();
    expect((await bench.daemon.closed).exitCode).toBe(0);
  });

  test('a start that fails for good leaves it failed', async () => {
    const extra = new Probe('extra', { critical: false, restart: 'never' }, { start: fails('never') });
    const bench = new Bench([extra, new Probe('rest')]);
    await bench.daemon.start();
    await settle();
    expect(bench.statuses()).toEqual({ extra: 'failed', rest: 'running' });
    await bench.stop();
  });

  test("when another needs it, its failing start is the start's", async () => {
    const extra = new Probe('extra', { critical: false }, { start: fails('no') });
    const bench = new Bench([extra, new Probe('rest', { needs: [extra] })]);
    await expect(bench.daemon.start()).rejects.toThrow('service "extra" could not start: no');
  });
});

describe('stopping in the middle of it', () => {
  test('ends a pause at once', async () => {
    const a = new Probe('a');
    const bench = new Bench([a]);
    await bench.daemon.start();
    a.fail();
    await settle();
    expect(bench.status('a')).toBe('backing-off');
    expect(await bench.stop()).toBe(0);
    expect(bench.status('a')).toBe('stopped');
    expect(a.stops).toHaveLength(1);
    expect(bench.clock.pending).toBe(0);
  });

  test('aborts a restart that is starting, which is no failure', async () => {
    const a = new Probe(
      'a',
      {},
      { start: ({ signal, clock }) => (a.scopes.length > 1 ? clock.sleep(10_000, { signal }) : undefined) },
    );
    const bench = new Bench([a]);
    await bench.daemon.start();
    a.fail();
    await bench.clock.advance(100);
    expect(bench.status('a')).toBe('starting');
    expect(await bench.stop()).toBe(0);
    expect(bench.status('a')).toBe('stopped');
    expect(bench.trace).not.toContain('service-start-failed a');
    expect((await bench.daemon.closed).exitCode).toBe(0);
  });

  test('waits for a stop that is under way because of a failure, within the budget, and reports it', async () => {
    const a = new Probe('a', {}, { stop: hang });
    const bench = new Bench([a], { shutdown: { timeoutMs: 3_000 } });
    await bench.daemon.start();
    a.fail();
    await settle();
    expect(bench.status('a')).toBe('stopping');
    expect(await bench.stop()).toBe(3_100);
    expect(await bench.daemon.closed).toMatchObject({ exitCode: 70, errors: [{ service: 'a' }] });
    expect(a.stops).toHaveLength(1);
  });

  test('a group restart under way ends in one stop of each', async () => {
    const gate = barrier();
    const a = new Probe('a');
    const b = new Probe('b', { needs: [a] }, { stop: () => gate.promise });
    const bench = new Bench([a, b], { strategy: 'one-for-all' });
    await bench.daemon.start();
    a.fail();
    await settle();
    const stopped = bench.daemon.stop();
    await settle();
    gate.open();
    await stopped;
    expect([a.stops.length, b.stops.length]).toEqual([1, 1]);
    expect(bench.statuses()).toEqual({ a: 'failed', b: 'stopped' });
  });
});

test('a new scope is made for every run', async () => {
  const a = new Probe('a');
  const bench = new Bench([a]);
  await bench.daemon.start();
  a.fail();
  await bench.clock.advance(100);
  const [first, second] = a.scopes;
  expect(first?.signal.aborted).toBe(true);
  expect(second?.signal.aborted).toBe(false);
  first?.fail(new Error('from the grave'));
  await settle();
  expect(bench.status('a')).toBe('running');
  await bench.stop();
});

test('bad options of supervision are told apart', () => {
  expect(() => new Entrypoint([], { strategy: 'one-for-al' as never })).toThrow('did you mean "one-for-all"');
  expect(() => new Entrypoint([], { intensity: { maxFailures: -1 } })).toThrow(
    'Entrypoint: option "intensity.maxFailures" must be at least 0, received -1',
  );
  expect(() => new Entrypoint([], { backoff: { factor: 0.5 } })).toThrow(
    'option "backoff.factor" must be at least 1',
  );
});
