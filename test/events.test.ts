import { type BosunEvent, Entrypoint, HookForcedError, type Hooks, Supervisor } from 'bosun';
import { settle } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { Bench, fails, hang, Probe } from './support/probe.ts';

/** The events without `at`, after one that is not of interest. */
const since = (bench: Bench, begin: number) => bench.events.slice(begin).map(({ at: _, ...event }) => event);

describe('events', () => {
  test('a life from start to stop', async () => {
    class Named extends Probe {
      override get addresses() {
        return ['tcp://127.0.0.1:1'];
      }
    }
    const a = new Named('a', {}, { start: ({ clock }) => clock.sleep(70) });
    const b = new Probe(
      'b',
      { needs: [a] },
      { stop: ({ signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve())) },
    );
    const bench = new Bench([a, b], { shutdown: { delayMs: 5, timeoutMs: 100 } });
    const started = bench.daemon.start();
    await bench.clock.advance(70);
    await started;
    await bench.clock.advance(30);
    await bench.stop();
    const forced = expect.objectContaining({ code: 'ERR_SERVICE_STOP_FORCED', service: 'b' });
    expect(bench.events).toEqual([
      { at: 0, type: 'entrypoint-starting', services: 2 },
      { at: 0, type: 'service-starting', service: 'a' },
      { at: 70, type: 'service-running', service: 'a', durationMs: 70, addresses: ['tcp://127.0.0.1:1'] },
      { at: 70, type: 'service-starting', service: 'b' },
      { at: 70, type: 'service-running', service: 'b', durationMs: 0, addresses: [] },
      {
        at: 70,
        type: 'entrypoint-running',
        services: 2,
        durationMs: 70,
        addresses: { a: ['tcp://127.0.0.1:1'] },
      },
      { at: 100, type: 'entrypoint-stopping', cause: 'stop()', delayMs: 5 },
      { at: 105, type: 'service-stopping', service: 'b', reason: 'shutdown' },
      { at: 200, type: 'service-stop-failed', service: 'b', error: forced },
      { at: 200, type: 'service-stopped', service: 'b', reason: 'shutdown', durationMs: 95 },
      { at: 200, type: 'service-stopping', service: 'a', reason: 'shutdown' },
      { at: 200, type: 'service-stopped', service: 'a', reason: 'shutdown', durationMs: 0 },
      { at: 200, type: 'entrypoint-stopped', exitCode: 70, durationMs: 100, errors: [forced] },
    ]);
  });

  test('a failure, a restart, and giving up', async () => {
    const a = new Probe(
      'a',
      {},
      {
        start: () => {
          if (a.scopes.length === 2) throw new Error('second');
        },
      },
    );
    const bench = new Bench([a], { intensity: { maxFailures: 1 } });
    await bench.daemon.start();
    const begin = bench.events.length;
    a.fail('first');
    await bench.finish();
    const first = expect.objectContaining({ message: 'first' });
    const second = expect.objectContaining({
      code: 'ERR_SERVICE_START',
      cause: expect.objectContaining({ message: 'second' }),
    });
    const gaveUp = expect.objectContaining({ code: 'ERR_RESTARTS_EXHAUSTED' });
    expect(since(bench, begin)).toEqual([
      { type: 'service-failed', service: 'a', error: first, origin: 'scope.fail' },
      { type: 'service-stopping', service: 'a', reason: 'failure' },
      { type: 'service-stopped', service: 'a', reason: 'failure', durationMs: 0 },
      { type: 'service-restarting', service: 'a', attempt: 1, pauseMs: 50, error: first },
      { type: 'service-starting', service: 'a' },
      { type: 'service-start-failed', service: 'a', error: second },
      { type: 'service-gave-up', service: 'a', error: gaveUp },
      { type: 'entrypoint-failed', error: gaveUp },
      { type: 'entrypoint-stopping', cause: expect.stringContaining('failed for good'), delayMs: 0 },
      { type: 'entrypoint-stopped', exitCode: 1, durationMs: 0, errors: [] },
    ]);
  });

  test('a start that fails, and one that is cut short', async () => {
    const a = new Probe('a', {}, { start: ({ signal, clock }) => clock.sleep(50, { signal }) });
    const b = new Probe('b', {}, { start: fails('no') });
    const bench = new Bench([a, b]);
    await bench.daemon.start().catch(() => {});
    const error = expect.objectContaining({ service: 'b' });
    expect(since(bench, 0)).toEqual([
      { type: 'entrypoint-starting', services: 2 },
      { type: 'service-starting', service: 'a' },
      { type: 'service-starting', service: 'b' },
      { type: 'service-start-failed', service: 'b', error },
      { type: 'service-stopped', service: 'a', reason: 'rollback', durationMs: 0 },
      { type: 'entrypoint-start-failed', error },
      { type: 'entrypoint-stopping', cause: 'service "b" could not start: no', delayMs: 0 },
      { type: 'entrypoint-stopped', exitCode: 1, durationMs: 0, errors: [] },
    ]);
  });

  test('an abort, live changes and a task that fails', async () => {
    const a = new Probe(
      'a',
      {},
      {
        start: ({ spawn }) => {
          if (a.scopes.length === 1) spawn('work', fails('lost'));
        },
      },
    );
    const bench = new Bench([new Supervisor({ name: 'nested', services: [a] })]);
    await bench.daemon.start();
    await bench.clock.advance(100);
    expect(bench.events.find((event) => event.type === 'service-failed')).toMatchObject({
      service: 'a',
      origin: 'task "work"',
    });
    await bench.daemon.add(new Probe('b'));
    await bench.daemon.remove('b');
    expect(bench.trace.filter((entry) => / b$/.test(entry))).toEqual([
      'service-starting b',
      'service-running b',
      'service-added b',
      'service-stopping b',
      'service-stopped b',
      'service-removed b',
    ]);
    await bench.daemon.abort('enough');
    await bench.daemon.abort('again');
    expect(bench.events.filter((event) => event.type === 'entrypoint-aborting')).toMatchObject([
      { cause: 'enough' },
    ]);
  });

  test('a stray error of a run that has ended is told as such', async () => {
    const { runOf } = await import('../src/supervisor/run.ts');
    const runs: ReturnType<typeof runOf>[] = [];
    const a = new Probe('a', {}, { start: () => void runs.push(runOf()) });
    const bench = new Bench([a]);
    await bench.daemon.start();
    await bench.daemon.restart('a');
    runs[0]?.stray(new Error('late'));
    await settle();
    expect(bench.events.at(-1)).toMatchObject({
      type: 'service-stray-error',
      service: 'a',
      error: { message: 'late' },
    });
    expect(bench.status('a')).toBe('running');
    runs[1]?.stray(new Error('in time'));
    await settle();
    expect(bench.events.find((event) => event.type === 'service-failed')).toMatchObject({
      origin: 'a stray error',
    });
    await bench.stop();
  });

  test('a listener gets one type or all, until it is taken off', async () => {
    const bench = new Bench([new Probe('a')]);
    const running: string[] = [];
    let all = 0;
    bench.daemon.on('service-running', ({ service }) => running.push(service));
    const off = bench.daemon.on('*', () => {
      all += 1;
    });
    await bench.daemon.start();
    expect(running).toEqual(['a']);
    expect(all).toBe(bench.events.length);
    off();
    off();
    await bench.stop();
    expect(all).toBeLessThan(bench.events.length);
  });

  test('a listener that throws, or rejects, disturbs neither the others nor the daemon', async () => {
    const bench = new Bench([new Probe('a')]);
    const seen: BosunEvent[] = [];
    const daemon = new Entrypoint([new Probe('a')], { log: { level: 'silent' }, ownsProcess: false });
    daemon.on('*', () => {
      throw new Error('listener');
    });
    daemon.on('*', async () => {
      throw new Error('async listener');
    });
    daemon.on('*', (event) => seen.push(event));
    await daemon.start();
    await daemon.stop();
    expect(seen.at(-1)).toMatchObject({ type: 'entrypoint-stopped', exitCode: 0 });
    await bench.daemon.stop();
  });
});

describe('hooks', () => {
  const recorder = (journal: string[], broken: Partial<Hooks> = {}): Hooks => ({
    preStart: () => void journal.push('preStart'),
    postStart: async () => void journal.push('postStart'),
    preStop: () => void journal.push('preStop'),
    postStop: async () => void journal.push('postStop'),
    ...broken,
  });

  test('are called and awaited at their turns, with the entrypoint', async () => {
    const journal: string[] = [];
    const bench = new Bench([new Probe('a', {}, {}, journal)], {
      hooks: recorder(journal, {
        preStart: async (daemon) => {
          daemon.context.set('setting', 1);
          await settle();
          journal.push(`preStart, ready: ${daemon.ready}`);
        },
      }),
    });
    await bench.daemon.start();
    expect(await bench.daemon.context.get('setting')).toBe(1);
    await bench.stop();
    expect(journal).toEqual(['preStart, ready: false', '+a', 'postStart', 'preStop', '-a', 'postStop']);
  });

  test('a preStart that throws starts nothing; start rejects with its error', async () => {
    const journal: string[] = [];
    const preStart = fails('no');
    const bench = new Bench([new Probe('a', {}, {}, journal)], { hooks: recorder(journal, { preStart }) });
    await expect(bench.daemon.start()).rejects.toThrow('no');
    expect(journal).toEqual(['postStop']);
    expect(await bench.daemon.closed).toMatchObject({ exitCode: 1, errors: [{ message: 'no' }] });
  });

  test('a postStart that throws stops what had started, before start rejects', async () => {
    const journal: string[] = [];
    const postStart = fails('no');
    const bench = new Bench([new Probe('a', {}, {}, journal)], { hooks: recorder(journal, { postStart }) });
    await expect(bench.daemon.start()).rejects.toThrow('no');
    expect(journal).toEqual(['preStart', '+a', 'preStop', '-a', 'postStop']);
    expect((await bench.daemon.closed).exitCode).toBe(1);
  });

  test('a preStop or postStop that throws is told, and the stop goes on', async () => {
    const journal: string[] = [];
    const hooks = { preStop: fails('pre'), postStop: fails('post') };
    const bench = new Bench([new Probe('a', {}, {}, journal)], { hooks: recorder(journal, hooks) });
    await bench.daemon.start();
    await bench.daemon.stop();
    expect(journal).toEqual(['preStart', '+a', 'postStart', '-a']);
    expect(bench.events.filter((event) => event.type === 'hook-failed')).toMatchObject([
      { hook: 'preStop', error: { message: 'pre' } },
      { hook: 'postStop', error: { message: 'post' } },
    ]);
    expect((await bench.daemon.closed).exitCode).toBe(0);
  });

  test("one that hangs has the shutdown's budget, and is reported", async () => {
    const journal: string[] = [];
    const bench = new Bench([new Probe('a', {}, {}, journal)], {
      hooks: recorder(journal, { preStop: hang }),
      shutdown: { timeoutMs: 3_000 },
    });
    await bench.daemon.start();
    expect(await bench.stop()).toBe(3_100);
    expect(journal).toContain('-a');
    const { exitCode, errors } = await bench.daemon.closed;
    expect(exitCode).toBe(70);
    expect(errors).toEqual([expect.any(HookForcedError)]);
    expect(errors[0]?.message).toBe('the preStop hook was left behind: shutdown.timeoutMs: 3000');
  });

  test('a hanging preStart or postStart does not keep a stop from ending', async () => {
    for (const hook of ['preStart', 'postStart']) {
      const bench = new Bench([new Probe('a')], { hooks: { [hook]: hang }, shutdown: { timeoutMs: 1_000 } });
      bench.daemon.start().catch(() => {});
      await settle();
      expect(await bench.stop()).toBe(1_100);
      expect((await bench.daemon.closed).exitCode).toBe(70);
    }
  });

  test('a service that fails for good while postStart is at work takes the daemon down', async () => {
    const a = new Probe('a', { restart: 'never' });
    const bench = new Bench([a], { hooks: { postStart: ({ closed }) => void closed.then(() => {}) } });
    await bench.daemon.start();
    a.fail('gone');
    await bench.finish();
    expect((await bench.daemon.closed).exitCode).toBe(1);
  });
});
