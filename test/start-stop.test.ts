import {
  DependencyCycleError,
  DuplicateServiceError,
  Entrypoint,
  EntrypointStopped,
  MissingDependencyError,
  type Scope,
  Service,
  ShutdownError,
  StartError,
  StartTimeoutError,
  StopError,
  StopForcedError,
  Supervisor,
} from 'bosun';
import { settle } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { runOf } from '../src/supervisor/run.ts';
import { Bench, barrier, fails, hang, Probe } from './support/probe.ts';

describe('start', () => {
  test('independent services start side by side, dependents after what they hold', async () => {
    const journal: string[] = [];
    const gates = { a: barrier(), b: barrier(), c: barrier() };
    const a = new Probe('a', {}, { start: () => gates.a.promise }, journal);
    const b = new Probe('b', {}, { start: () => gates.b.promise }, journal);
    const c = new Probe('c', { needs: [a] }, { start: () => gates.c.promise }, journal);
    const bench = new Bench([c, b, a]);
    const started = bench.daemon.start();
    await settle();
    expect(bench.statuses()).toEqual({ a: 'starting', c: 'created', b: 'starting' });
    gates.a.open();
    await settle();
    expect(bench.statuses()).toEqual({ a: 'running', c: 'starting', b: 'starting' });
    gates.c.open();
    gates.b.open();
    await started;
    expect(journal.indexOf('+a')).toBeLessThan(journal.indexOf('+c'));
    await bench.stop();
  });

  test('three independent services of one second each are ready in one second', async () => {
    const slow = () => ({ start: (scope: Scope) => scope.clock.sleep(1_000) });
    const bench = new Bench(['a', 'b', 'c'].map((name) => new Probe(name, {}, slow())));
    const started = bench.daemon.start();
    await settle();
    expect(bench.daemon.ready).toBe(false);
    await bench.clock.advance(1_000);
    await started;
    expect(bench.daemon.ready).toBe(true);
    expect(bench.events.at(-1)).toMatchObject({ type: 'entrypoint-running', durationMs: 1_000 });
    await bench.stop();
  });

  test('the same instance passed twice is started once', async () => {
    const journal: string[] = [];
    const a = new Probe('a', {}, {}, journal);
    const bench = new Bench([a, a]);
    await bench.daemon.start();
    expect(journal).toEqual(['+a']);
    await bench.stop();
    expect(journal).toEqual(['+a', '-a']);
  });

  test('every caller of start gets the same promise', async () => {
    const bench = new Bench([new Probe('a')]);
    expect(bench.daemon.start()).toBe(bench.daemon.start());
    await bench.daemon.start();
    await bench.stop();
  });

  test('two services of one name are an error, wherever in the tree they are', () => {
    expect(() => new Entrypoint([new Probe('a'), new Probe('a')])).toThrow(DuplicateServiceError);
    const nested = new Supervisor({ name: 'nested', services: [new Probe('a')] });
    expect(() => new Entrypoint([new Probe('a'), nested])).toThrow('two services are named "a"');
    const inner = new Supervisor({ name: 'nested', services: [new Probe('nested')] });
    expect(() => new Entrypoint([inner])).toThrow(DuplicateServiceError);
  });

  test('a cycle is an error that prints the cycle', () => {
    const a = new Probe('a', { after: ['c'] });
    const b = new Probe('b', { needs: [a] });
    const c = new Probe('c', { needs: [b] });
    const make = () => new Entrypoint([a, b, c]);
    expect(make).toThrow(DependencyCycleError);
    expect(make).toThrow('a -> c -> b -> a');
    expect(() => new Entrypoint([new Probe('x', { after: ['x'] })])).toThrow('x -> x');
  });

  test('a cycle between supervisors, through the services below them, is an error', () => {
    const a = new Probe('a');
    const b = new Probe('b', { needs: [a] });
    const c = new Probe('c', { after: ['b'] });
    const left = new Supervisor({ name: 'left', services: [a, c] });
    const right = new Supervisor({ name: 'right', services: [b] });
    expect(() => new Entrypoint([left, right])).toThrow('left -> right -> left');
  });

  test('a service cannot start after its own supervisor, which starts when it has', () => {
    const a = new Probe('a', { after: ['outer'] });
    expect(() => new Entrypoint([new Supervisor({ name: 'outer', services: [a] })])).toThrow(
      'a -> outer -> a',
    );
  });

  test('a dependency that is not among the services is an error with the nearest name', () => {
    const absent = new Probe('absent');
    expect(() => new Entrypoint([new Probe('a', { needs: [absent] })])).toThrow(MissingDependencyError);
    expect(() => new Entrypoint([new Probe('a', { after: ['databse'] }), new Probe('database')])).toThrow(
      'service "a" depends on "databse", which is not among the services (did you mean "database"?)',
    );
  });

  test('references deep in arrays and objects are dependencies, and `after` orders without one', async () => {
    const journal: string[] = [];
    const a = new Probe('a', {}, {}, journal);
    const b = new Probe('b', { needs: [a] }, {}, journal);
    const c = new Probe('c', { after: ['b'] }, {}, journal);
    const bench = new Bench([c, b, a]);
    await bench.daemon.start();
    await bench.stop();
    expect(journal).toEqual(['+a', '+b', '+c', '-c', '-b', '-a']);
  });

  test('a service below one supervisor starts after one below another, and so do their supervisors', async () => {
    const journal: string[] = [];
    const database = new Probe('database', {}, {}, journal);
    const api = new Probe('api', { needs: [database] }, {}, journal);
    const storage = new Supervisor({
      name: 'storage',
      services: [new Supervisor({ name: 'inner', services: [database] })],
    });
    const web = new Supervisor({ name: 'web', services: [new Probe('static', {}, {}, journal), api] });
    const bench = new Bench([web, storage]);
    await bench.daemon.start();
    expect(bench.daemon.services.map(({ name, supervisor }) => [name, supervisor])).toEqual([
      ['storage', undefined],
      ['inner', 'storage'],
      ['database', 'inner'],
      ['web', undefined],
      ['static', 'web'],
      ['api', 'web'],
    ]);
    await bench.stop();
    expect(journal[0]).toBe('+database');
    expect(journal.at(-1)).toBe('-database');
  });
});

describe('a failing start', () => {
  test('stops what had started in reverse order, aborts what was starting, and names the service', async () => {
    const journal: string[] = [];
    const gate = barrier();
    const a = new Probe('a', {}, {}, journal);
    const b = new Probe('b', { needs: [a] }, {}, journal);
    const c = new Probe('c', { needs: [b] }, { start: () => gate.promise }, journal);
    const slow = new Probe(
      'slow',
      {},
      {
        start: ({ signal }) =>
          new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      },
      journal,
    );
    const never = new Probe('never', { needs: [c] }, {}, journal);
    const bench = new Bench([a, b, c, slow, never]);
    const started = bench.daemon.start().catch((error) => error);
    await settle();
    gate.fail(new Error('no port'));
    const error = await started;
    expect(error).toBeInstanceOf(StartError);
    expect(error).toMatchObject({ code: 'ERR_SERVICE_START', service: 'c', cause: { message: 'no port' } });
    expect(error.message).toBe('service "c" could not start: no port');
    expect(journal).toEqual(['+a', '+b', '-b', '-a']);
    expect(slow.scope.signal.aborted).toBe(true);
    expect(slow.stops).toEqual([]);
    expect(bench.statuses()).toEqual({
      a: 'stopped',
      b: 'stopped',
      c: 'failed',
      slow: 'stopped',
      never: 'created',
    });
    expect(await bench.daemon.closed).toEqual({ exitCode: 1, errors: [error] });
  });

  test('the promise of start rejects only when all has been stopped again', async () => {
    const gate = barrier();
    const a = new Probe('a', {}, { stop: () => gate.promise });
    const bench = new Bench([a, new Probe('b', { needs: [a] }, { start: fails('no') })]);
    let rejected = false;
    const started = bench.daemon.start().catch(() => {
      rejected = true;
    });
    await settle();
    expect(bench.status('a')).toBe('stopping');
    expect(rejected).toBe(false);
    gate.open();
    await started;
    expect(bench.status('a')).toBe('stopped');
  });

  test('what failed half-way runs the clean-ups it had registered, last first, but no stop', async () => {
    const journal: string[] = [];
    const a = new Probe(
      'a',
      {},
      {
        start: (scope) => {
          scope.defer(() => void journal.push('first'));
          scope.defer(async () => void journal.push('second'));
          throw new Error('half-way');
        },
      },
    );
    const bench = new Bench([a]);
    await expect(bench.daemon.start()).rejects.toThrow('half-way');
    expect(journal).toEqual(['second', 'first']);
    expect(a.stops).toEqual([]);
  });

  test('a start that exceeds its time says what it was waiting for', async () => {
    const a = new Probe(
      'a',
      { startTimeoutMs: 5_000 },
      {
        start: ({ signal, context }) => context.get('leader', { signal }).then(() => {}),
        waitingFor: () => ['the tide'],
      },
    );
    const bench = new Bench([a]);
    const started = bench.daemon.start().catch((error) => error);
    await bench.clock.advance(4_999);
    expect(bench.status('a')).toBe('starting');
    await bench.clock.advance(1);
    const error = await started;
    expect(error).toBeInstanceOf(StartTimeoutError);
    expect(error).toMatchObject({ code: 'ERR_SERVICE_START_TIMEOUT', service: 'a', timeoutMs: 5_000 });
    expect(error.message).toBe(
      'service "a" did not start within 5000 ms: still waiting for the tide, context key "leader"',
    );
    expect(bench.clock.pending).toBe(0);
  });

  test('a start that ignores its signal is left behind and reported, and stopped should it ever succeed', async () => {
    const gate = barrier();
    const a = new Probe('a', { startTimeoutMs: 1_000 }, { start: () => gate.promise });
    const bench = new Bench([a]);
    const started = bench.daemon.start().catch((error) => error);
    await bench.clock.advance(1_000);
    await bench.clock.advance(1_000);
    await bench.clock.advance(100);
    expect(await started).toBeInstanceOf(StartTimeoutError);
    const { exitCode, errors } = await bench.daemon.closed;
    expect(exitCode).toBe(70);
    expect(errors[1]).toMatchObject({
      code: 'ERR_SERVICE_STOP_FORCED',
      service: 'a',
      abandoned: true,
      heldBy: ['start()'],
    });
    expect(a.stops).toEqual([]);
    gate.open();
    await settle();
    expect(a.stops).toHaveLength(1);
    expect(a.stops[0]?.signal.aborted).toBe(true);
  });

  test("the names in a nested supervisor's failing start are all there, the innermost as the last cause", async () => {
    const inner = new Supervisor({ name: 'inner', services: [new Probe('a', {}, { start: fails('boom') })] });
    const bench = new Bench([inner]);
    await expect(bench.daemon.start()).rejects.toThrow(
      'service "inner" could not start: service "a" could not start: boom',
    );
  });

  test('the roll-back of a failed start has the budget of a shutdown', async () => {
    const stuck = Array.from(
      { length: 5 },
      (_, i) =>
        new Probe(
          `stuck-${i}`,
          { after: i === 0 ? [] : [`stuck-${i - 1}`], stopTimeoutMs: 10_000 },
          { stop: hang },
        ),
    );
    const bad = new Probe('bad', { needs: stuck }, { start: fails('boom') });
    const bench = new Bench([...stuck, bad], { shutdown: { timeoutMs: 15_000 } });
    const started = bench.daemon.start().catch((error) => error);
    await settle();
    await bench.finish();
    expect(bench.clock.now()).toBeLessThanOrEqual(15_200);
    expect((await started).message).toBe('service "bad" could not start: boom');
    const { exitCode, errors } = await bench.daemon.closed;
    expect(exitCode).toBe(70);
    expect(
      errors
        .slice(1)
        .map((error) => (error as StopForcedError).service)
        .sort(),
    ).toEqual(stuck.map(({ name }) => name));
  });

  test('a service that fails for good while others start fails the start', async () => {
    const a = new Probe('a', {}, { start: ({ spawn }) => spawn('work', fails('early')) });
    const b = new Probe('b', {}, { start: ({ signal, clock }) => clock.sleep(60_000, { signal }) });
    const bench = new Bench([a, b], { intensity: { maxFailures: 1 } });
    const started = bench.daemon.start().catch((error) => error);
    await bench.clock.advance(50);
    expect(await started).toMatchObject({ code: 'ERR_RESTARTS_EXHAUSTED', service: 'a', failures: 2 });
    expect(bench.statuses()).toEqual({ a: 'failed', b: 'stopped' });
    expect((await bench.daemon.closed).exitCode).toBe(1);
  });
});

describe('stop', () => {
  test('is the exact reverse, side by side where independent', async () => {
    const journal: string[] = [];
    const gate = barrier();
    const base = new Probe('base', {}, {}, journal);
    const left = new Probe('left', { needs: [base] }, { stop: () => gate.promise }, journal);
    const right = new Probe('right', { needs: [base] }, {}, journal);
    const bench = new Bench([base, left, right]);
    await bench.daemon.start();
    const stopped = bench.daemon.stop();
    await settle();
    expect(bench.statuses()).toEqual({ base: 'running', left: 'stopping', right: 'stopped' });
    gate.open();
    await stopped;
    expect(journal.slice(3)).toEqual(['-right', '-left', '-base']);
    expect(await bench.daemon.closed).toEqual({ exitCode: 0, errors: [] });
  });

  test('every caller gets the same promise, also after the end', async () => {
    const a = new Probe('a');
    const bench = new Bench([a]);
    await bench.daemon.start();
    const first = bench.daemon.stop();
    expect(bench.daemon.stop()).toBe(first);
    await first;
    expect(bench.daemon.stop()).toBe(first);
    expect(a.stops).toHaveLength(1);
    expect(a.stops[0]).toMatchObject({ kind: 'shutdown', error: undefined });
  });

  test('a listener may ask for it as well, and a service: it is one stop, in the context of the daemon', async () => {
    const owners: unknown[] = [];
    const a = new Probe(
      'a',
      {},
      { start: ({ spawn }) => spawn('work', () => void bench.daemon.stop('by a service')) },
    );
    const bench: Bench = new Bench([a], { hooks: { postStop: () => void owners.push(runOf()) } });
    bench.daemon.on('entrypoint-stopping', () => void bench.daemon.stop('by a listener'));
    await bench.daemon.start().catch(() => {});
    await bench.daemon.closed;
    expect(bench.events.filter(({ type }) => type === 'entrypoint-stopping')).toMatchObject([
      { cause: 'by a service' },
    ]);
    expect(a.stops).toHaveLength(1);
    expect(owners).toEqual([undefined]);
  });

  test('one failing and one hanging stop harm no other, and both are reported by name with what held them', async () => {
    const journal: string[] = [];
    const base = new Probe('base', {}, {}, journal);
    const bad = new Probe('bad', { needs: [base] }, { stop: fails('cannot close') }, journal);
    const stuck = new Probe(
      'stuck',
      { needs: [base], stopTimeoutMs: 2_000 },
      {
        start: ({ spawn }) => spawn('drain', hang),
        stop: hang,
        waitingFor: () => ['3 connections'],
      },
      journal,
    );
    const fine = new Probe('fine', { needs: [base] }, {}, journal);
    const bench = new Bench([base, bad, stuck, fine]);
    await bench.daemon.start();
    const stopped = bench.daemon.stop().catch((error) => error);
    await bench.clock.advance(2_000);
    expect(stuck.stops[0]?.signal.aborted).toBe(true);
    expect(journal).not.toContain('-base');
    await bench.clock.advance(100);
    const error = await stopped;
    expect(error).toBeInstanceOf(ShutdownError);
    expect(error.code).toBe('ERR_SHUTDOWN');
    const [first, second] = error.errors;
    expect(first).toBeInstanceOf(StopError);
    expect(first).toMatchObject({ service: 'bad', cause: { message: 'cannot close' } });
    expect(second).toBeInstanceOf(StopForcedError);
    expect(second).toMatchObject({
      service: 'stuck',
      heldBy: ['3 connections', 'task "drain"'],
      abandoned: true,
      afterMs: 2_100,
    });
    expect(journal).toContain('-fine');
    expect(journal.at(-1)).toBe('-base');
    expect((await bench.daemon.closed).exitCode).toBe(70);
  });

  test('a failing stop alone gives exit code 1, never 0', async () => {
    const bench = new Bench([new Probe('a', {}, { stop: fails('no') })]);
    await bench.daemon.start();
    await expect(bench.daemon.stop()).rejects.toThrow(
      'the shutdown was not clean: service "a" failed to stop: no',
    );
    expect((await bench.daemon.closed).exitCode).toBe(1);
  });

  test('who ends when it is forced is reported, but not as left behind', async () => {
    const a = new Probe(
      'a',
      { stopTimeoutMs: 500 },
      {
        stop: ({ signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve())),
      },
    );
    const bench = new Bench([a]);
    await bench.daemon.start();
    await bench.stop();
    const { exitCode, errors } = await bench.daemon.closed;
    expect(exitCode).toBe(70);
    expect(errors).toMatchObject([{ service: 'a', abandoned: false, heldBy: ['stop()'], afterMs: 500 }]);
    expect(errors[0]?.message).toBe(
      'service "a" had to be forced to stop after 500 ms (stopTimeoutMs: 500): held by stop()',
    );
  });

  test('the clean-ups of a hung stop run when it is forced', async () => {
    let cleaned = false;
    const a = new Probe(
      'a',
      { stopTimeoutMs: 500 },
      {
        start: ({ defer }) =>
          defer(() => {
            cleaned = true;
          }),
        stop: hang,
      },
    );
    const bench = new Bench([a]);
    await bench.daemon.start();
    void bench.daemon.stop().catch(() => {});
    await bench.clock.advance(499);
    expect(cleaned).toBe(false);
    await bench.clock.advance(1);
    expect(cleaned).toBe(true);
    await bench.finish();
  });

  test('stop is called after the signal has aborted; tasks are awaited after it, clean-ups run last', async () => {
    const journal: string[] = [];
    const a = new Probe(
      'a',
      {},
      {
        start: ({ spawn, defer, signal }) => {
          defer(() => void journal.push('clean-up'));
          spawn('work', async () => {
            await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
            await settle();
            journal.push('task ended');
          });
        },
        stop: () => void journal.push(`stop, aborted: ${a.scope.signal.aborted}`),
      },
    );
    const bench = new Bench([a]);
    await bench.daemon.start();
    await bench.stop();
    expect(journal).toEqual(['stop, aborted: true', 'task ended', 'clean-up']);
  });

  test('a clean-up that throws is a failed stop, and the others run', async () => {
    const journal: string[] = [];
    const a = new Probe(
      'a',
      {},
      {
        start: ({ defer }) => {
          defer(() => void journal.push('first'));
          defer(fails('cannot remove the file'));
        },
      },
    );
    const bench = new Bench([a]);
    await bench.daemon.start();
    await bench.stop();
    expect(journal).toEqual(['first']);
    expect((await bench.daemon.closed).errors).toMatchObject([{ code: 'ERR_SERVICE_STOP', service: 'a' }]);
  });

  test('the whole shutdown has one budget, however deep the services that hang', async () => {
    const stuck = Array.from(
      { length: 6 },
      (_, i) => new Probe(`s${i}`, { after: i === 0 ? [] : [`s${i - 1}`] }, { stop: hang }),
    );
    const bench = new Bench(stuck, { shutdown: { timeoutMs: 12_000 } });
    await bench.daemon.start();
    expect(await bench.stop()).toBe(12_200);
    const { exitCode, errors } = await bench.daemon.closed;
    expect(exitCode).toBe(70);
    expect(errors.map((error) => (error as StopForcedError).service).sort()).toEqual(
      stuck.map(({ name }) => name),
    );
    expect(errors.at(-1)?.message).toContain('shutdown.timeoutMs: 12000');
  });

  test('a service whose turn comes after the budget is spent, and that ends at once, is not reported', async () => {
    const base = new Probe('base');
    const stuck = new Probe('stuck', { needs: [base] }, { stop: hang });
    const bench = new Bench([base, stuck], { shutdown: { timeoutMs: 1_000 } });
    await bench.daemon.start();
    await bench.stop();
    const { errors } = await bench.daemon.closed;
    expect(errors).toMatchObject([{ service: 'stuck' }]);
    expect(base.stops).toHaveLength(1);
  });

  test('what hangs below nested supervisors is reported by its own name, within the budget', async () => {
    const stuck = new Probe('stuck', {}, { stop: hang });
    const inner = new Supervisor({ name: 'inner', services: [stuck] });
    const outer = new Supervisor({ name: 'outer', services: [inner, new Probe('fine')] });
    const bench = new Bench([outer], { shutdown: { timeoutMs: 3_000 } });
    await bench.daemon.start();
    expect(await bench.stop()).toBe(3_100);
    expect((await bench.daemon.closed).errors).toMatchObject([
      { code: 'ERR_SERVICE_STOP_FORCED', service: 'stuck', abandoned: true },
    ]);
    const reports = bench.events.filter((event) => event.type === 'service-stop-failed');
    expect(reports.map((event) => event.service)).toEqual(['stuck']);
  });

  test("a supervisor's own stop timeout forces the services below it", async () => {
    const stuck = new Probe('stuck', { stopTimeoutMs: 60_000 }, { stop: hang });
    const bench = new Bench([new Supervisor({ name: 'nested', stopTimeoutMs: 2_000, services: [stuck] })]);
    await bench.daemon.start();
    expect(await bench.stop()).toBe(2_100);
    expect((await bench.daemon.closed).errors).toMatchObject([{ service: 'stuck' }]);
  });

  test('`shutdown.delayMs` is the time between unready and the first stop, and part of the budget', async () => {
    const a = new Probe('a', {}, { stop: hang });
    const bench = new Bench([a], { shutdown: { delayMs: 2_000, timeoutMs: 5_000 } });
    await bench.daemon.start();
    void bench.daemon.stop().catch(() => {});
    expect(bench.daemon.ready).toBe(false);
    await bench.clock.advance(1_999);
    expect(bench.status('a')).toBe('running');
    await bench.clock.advance(1);
    expect(bench.status('a')).toBe('stopping');
    await bench.finish();
    expect(bench.clock.now()).toBe(5_100);
    expect(() => new Entrypoint([], { shutdown: { delayMs: 5, timeoutMs: 5 } })).toThrow(
      'option "shutdown.delayMs" must be less than the timeout, of which it is a part, received 5',
    );
  });

  test('during a start it waits for the roll-back; the start rejects; the exit code is 0', async () => {
    const journal: string[] = [];
    const a = new Probe('a', {}, {}, journal);
    const b = new Probe(
      'b',
      { needs: [a] },
      { start: ({ signal, clock }) => clock.sleep(60_000, { signal }) },
      journal,
    );
    const bench = new Bench([a, b]);
    const started = bench.daemon.start().catch((error) => error);
    await settle();
    await bench.daemon.stop('enough');
    expect(await started).toBeInstanceOf(EntrypointStopped);
    expect((await started).message).toBe('the entrypoint was stopped: enough');
    expect(journal).toEqual(['+a', '-a']);
    expect(bench.statuses()).toEqual({ a: 'stopped', b: 'stopped' });
    expect(await bench.daemon.closed).toEqual({ exitCode: 0, errors: [] });
  });

  test('a stop that fails in the roll-back of an interrupted start is not exit code 0', async () => {
    const a = new Probe('a', {}, { stop: fails('no') });
    const b = new Probe(
      'b',
      { needs: [a] },
      { start: ({ signal, clock }) => clock.sleep(60_000, { signal }) },
    );
    const bench = new Bench([a, b]);
    const started = bench.daemon.start().catch((error) => error);
    await settle();
    await expect(bench.daemon.stop()).rejects.toThrow(ShutdownError);
    await started;
    expect((await bench.daemon.closed).exitCode).toBe(1);
  });

  test('abort keeps the order, as long as all do as they are told', async () => {
    const journal: string[] = [];
    const a = new Probe('a', {}, {}, journal);
    const b = new Probe('b', { needs: [a] }, { stop: () => settle() }, journal);
    const bench = new Bench([a, b]);
    await bench.daemon.start();
    await bench.daemon.abort();
    expect(journal).toEqual(['+a', '+b', '-b', '-a']);
    expect(await bench.daemon.closed).toEqual({ exitCode: 70, errors: [] });
  });

  test('a stop that failed in a recovery during the start has no part in the exit code', async () => {
    const a = new Probe(
      'a',
      {},
      {
        start: ({ spawn }) => {
          if (a.scopes.length === 1) spawn('work', fails('early'));
        },
        stop: () => {
          if (a.stops.length === 1) throw new Error('once');
        },
      },
    );
    const slow = new Probe('slow', {}, { start: ({ clock }) => clock.sleep(1_000) });
    const bench = new Bench([a, slow]);
    const started = bench.daemon.start();
    await bench.clock.advance(1_000);
    await started;
    await bench.stop();
    expect(bench.trace).toContain('service-stop-failed a');
    expect(await bench.daemon.closed).toEqual({ exitCode: 0, errors: [] });
  });

  test('before a start it ends at once, and a start afterwards is refused', async () => {
    const a = new Probe('a');
    const bench = new Bench([a]);
    await bench.daemon.stop();
    await expect(bench.daemon.start()).rejects.toThrow(EntrypointStopped);
    expect(a.scopes).toEqual([]);
    expect((await bench.daemon.closed).exitCode).toBe(0);
  });

  test('abort forces what a stop is waiting for, also a start that ignores its signal', async () => {
    const stuck = new Probe('stuck', {}, { stop: hang });
    const bench = new Bench([stuck]);
    await bench.daemon.start();
    void bench.daemon.stop().catch(() => {});
    await settle();
    void bench.daemon.abort('again').catch(() => {});
    await bench.clock.advance(100);
    const { exitCode, errors } = await bench.daemon.closed;
    expect(exitCode).toBe(70);
    expect(errors[0]?.message).toContain('(again)');

    const deaf = new Bench([new Probe('deaf', {}, { start: hang })]);
    deaf.daemon.start().catch(() => {});
    await settle();
    void deaf.daemon.abort().catch(() => {});
    await deaf.clock.advance(100);
    expect((await deaf.daemon.closed).exitCode).toBe(70);
  });

  test('a service with nothing to report is named by the method that hangs', async () => {
    class Quiet extends Service {
      override async start() {}
      override stop() {
        return hang();
      }
    }
    const bench = new Bench([new Quiet({ stopTimeoutMs: 1 })]);
    await bench.daemon.start();
    await bench.stop();
    expect((await bench.daemon.closed).errors).toMatchObject([{ service: 'quiet', heldBy: ['stop()'] }]);
  });

  test('a waitingFor that throws changes nothing', async () => {
    const broken = () => {
      throw new Error('broken');
    };
    const a = new Probe('a', { stopTimeoutMs: 1 }, { stop: hang, waitingFor: broken });
    const bench = new Bench([a]);
    await bench.daemon.start();
    await bench.stop();
    expect((await bench.daemon.closed).errors).toMatchObject([{ service: 'a', heldBy: ['stop()'] }]);
  });
});

test('await using stops it at the end of the block', async () => {
  const { entrypoint } = await import('bosun');
  const a = new Probe('a');
  {
    await using daemon = await entrypoint([a], { log: { level: 'silent' }, ownsProcess: false });
    expect(daemon.ready).toBe(true);
  }
  expect(a.stops).toHaveLength(1);
});
