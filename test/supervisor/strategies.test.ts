import type { EntrypointOptions } from 'bosun';
import { settle } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { Bench, fails, Probe } from '../support/probe.ts';

type Strategy = NonNullable<EntrypointOptions['strategy']>;
type Restart = 'always' | 'on-failure' | 'never';
type End = 'clean' | 'failure' | 'aborted';
type Fate = 'untouched' | 'restarted' | 'stopped' | 'failed';

/** What becomes of the service, and of those before and after it, of which two are `never` to be restarted. */
interface Fates {
  readonly subject: Fate;
  readonly before: Fate;
  readonly neverBefore: Fate;
  readonly after: Fate;
  readonly neverAfter: Fate;
  /** Whether the failure took the daemon down. */
  readonly down?: true;
}

const alone = (subject: Fate): Fates => ({
  subject,
  before: 'untouched',
  neverBefore: 'untouched',
  after: 'untouched',
  neverAfter: 'untouched',
});
const all: Fates = {
  subject: 'restarted',
  before: 'restarted',
  neverBefore: 'stopped',
  after: 'restarted',
  neverAfter: 'stopped',
};
const rest: Fates = {
  subject: 'restarted',
  before: 'untouched',
  neverBefore: 'untouched',
  after: 'restarted',
  neverAfter: 'stopped',
};
const down: Fates = {
  subject: 'failed',
  before: 'stopped',
  neverBefore: 'stopped',
  after: 'stopped',
  neverAfter: 'stopped',
  down: true,
};

const grid: readonly (readonly [Strategy, Restart, End, Fates])[] = [
  ['one-for-one', 'always', 'clean', alone('restarted')],
  ['one-for-one', 'always', 'failure', alone('restarted')],
  ['one-for-one', 'always', 'aborted', alone('restarted')],
  ['one-for-one', 'on-failure', 'clean', alone('stopped')],
  ['one-for-one', 'on-failure', 'failure', alone('restarted')],
  ['one-for-one', 'on-failure', 'aborted', alone('restarted')],
  ['one-for-one', 'never', 'clean', alone('stopped')],
  ['one-for-one', 'never', 'failure', down],
  ['one-for-one', 'never', 'aborted', alone('restarted')],
  ['one-for-all', 'always', 'clean', all],
  ['one-for-all', 'always', 'failure', all],
  ['one-for-all', 'always', 'aborted', alone('restarted')],
  ['one-for-all', 'on-failure', 'clean', alone('stopped')],
  ['one-for-all', 'on-failure', 'failure', all],
  ['one-for-all', 'on-failure', 'aborted', alone('restarted')],
  ['one-for-all', 'never', 'clean', alone('stopped')],
  ['one-for-all', 'never', 'failure', down],
  ['one-for-all', 'never', 'aborted', alone('restarted')],
  ['rest-for-one', 'always', 'clean', rest],
  ['rest-for-one', 'always', 'failure', rest],
  ['rest-for-one', 'always', 'aborted', alone('restarted')],
  ['rest-for-one', 'on-failure', 'clean', alone('stopped')],
  ['rest-for-one', 'on-failure', 'failure', rest],
  ['rest-for-one', 'on-failure', 'aborted', alone('restarted')],
  ['rest-for-one', 'never', 'clean', alone('stopped')],
  ['rest-for-one', 'never', 'failure', down],
  ['rest-for-one', 'never', 'aborted', alone('restarted')],
];

/** A service whose work rejects with an error of its own once it is told to end. */
function family(restart: Restart) {
  const work = {
    start: (scope: Probe['scope']) =>
      scope.spawn('work', async (signal) => {
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
        throw new Error('interrupted');
      }),
  };
  return {
    before: new Probe('before', {}, work),
    neverBefore: new Probe('never-before', { restart: 'never' }, work),
    subject: new Probe('subject', { restart }, work),
    after: new Probe('after', {}, work),
    neverAfter: new Probe('never-after', { restart: 'never' }, work),
  };
}

function fateOf(bench: Bench, probe: Probe): Fate {
  const status = bench.status(probe.name);
  if (status === 'running') return probe.scopes.length > 1 ? 'restarted' : 'untouched';
  if (status === 'stopped' || status === 'failed') return status;
  throw new Error(`${probe.name} is ${status}`);
}

test('the grid has a cell for every strategy, restart kind and end', () => {
  expect(new Set(grid.map(([strategy, restart, end]) => `${strategy} ${restart} ${end}`)).size).toBe(27);
});

test.each(grid)('%s, restart: %s, %s end', async (strategy, restart, end, fates) => {
  const probes = family(restart);
  const bench = new Bench(Object.values(probes), { strategy });
  await bench.daemon.start();
  if (end === 'clean') probes.subject.scope.finish();
  else if (end === 'failure') probes.subject.fail();
  else await bench.daemon.restart('subject');
  await bench.clock.advance(100);
  const { down: isDown, ...expected } = fates;
  const actual = Object.fromEntries(
    Object.entries(probes).map(([key, probe]) => [key, fateOf(bench, probe)]),
  );
  expect(actual).toEqual(expected);
  // Who was only told to end has not failed, whatever its work rejected with.
  const failed = bench.events.flatMap((event) => (event.type === 'service-failed' ? [event.service] : []));
  expect(failed).toEqual(end === 'failure' ? ['subject'] : []);
  if (isDown)
    expect(await bench.daemon.closed).toMatchObject({ exitCode: 1, errors: [{ service: 'subject' }] });
  else expect(bench.daemon.ready).toBe(true);
  await bench.stop();
  expect((await bench.daemon.closed).exitCode).toBe(isDown ? 1 : 0);
});

describe('a bystander', () => {
  test.each([
    ['always', 'restarted'],
    ['on-failure', 'restarted'],
    ['never', 'stopped'],
  ] as const)(
    'with restart: %s is %s with its group, and that is no failure of its own',
    async (restart, fate) => {
      for (const strategy of ['one-for-all', 'rest-for-one'] as const) {
        const probes = family(restart);
        const bench = new Bench(Object.values(probes), { strategy, intensity: { maxFailures: 1 } });
        await bench.daemon.start();
        probes.before.fail();
        await bench.clock.advance(100);
        expect(fateOf(bench, probes.subject)).toBe(fate);
        expect(probes.subject.stops.map(({ kind }) => kind)).toEqual(['restart']);
        expect(bench.daemon.services.find(({ name }) => name === 'subject')?.lastError).toBeUndefined();
        await bench.stop();
      }
    },
  );

  test('that had finished is started again with its group, as in OTP', async () => {
    const probes = family('on-failure');
    const bench = new Bench(Object.values(probes), { strategy: 'one-for-all' });
    await bench.daemon.start();
    probes.subject.scope.finish();
    await settle();
    expect(bench.status('subject')).toBe('stopped');
    probes.after.fail();
    await bench.clock.advance(100);
    expect(bench.status('subject')).toBe('running');
    await bench.stop();
  });

  test('that is critical: false and had failed for good stays failed', async () => {
    const lost = new Probe('lost', { critical: false, restart: 'never' });
    const a = new Probe('a');
    const bench = new Bench([lost, a], { strategy: 'one-for-all' });
    await bench.daemon.start();
    lost.fail();
    await settle();
    a.fail();
    await bench.clock.advance(100);
    expect(bench.statuses()).toEqual({ lost: 'failed', a: 'running' });
    await bench.stop();
  });

  test('is told of the restart, the culprit of its failure', async () => {
    const a = new Probe('a');
    const b = new Probe('b');
    const bench = new Bench([a, b], { strategy: 'one-for-all' });
    await bench.daemon.start();
    b.fail('lost');
    await bench.clock.advance(100);
    expect(a.stops).toMatchObject([{ kind: 'restart', error: undefined }]);
    expect(b.stops).toMatchObject([{ kind: 'failure', error: { message: 'lost' } }]);
    await bench.stop();
  });
});

describe('what a failure is', () => {
  test('an AbortError while the signal is not aborted is one', async () => {
    const a = new Probe(
      'a',
      {},
      {
        start: ({ spawn }) =>
          spawn('work', async () => {
            throw new DOMException('This operation was aborted', 'AbortError');
          }),
      },
    );
    const bench = new Bench([a]);
    await bench.daemon.start();
    await settle();
    expect(bench.events.find((event) => event.type === 'service-failed')).toMatchObject({
      service: 'a',
      error: { name: 'AbortError' },
      origin: 'task "work"',
    });
    await bench.stop();
  });

  test('a rejection of any kind after the signal has aborted is none', async () => {
    const a = new Probe(
      'a',
      {},
      {
        start: ({ spawn, signal }) =>
          spawn('work', async () => {
            await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
            throw new TypeError('half of it is gone');
          }),
      },
    );
    const bench = new Bench([a]);
    await bench.daemon.start();
    await bench.stop();
    expect(bench.trace.filter((entry) => entry.includes('failed'))).toEqual([]);
    expect(await bench.daemon.closed).toEqual({ exitCode: 0, errors: [] });
  });

  test('the first of several counts', async () => {
    const a = new Probe('a', { restart: 'never' });
    const bench = new Bench([a]);
    await bench.daemon.start();
    a.fail('first');
    a.fail('second');
    a.scope.finish();
    await bench.finish();
    expect((await bench.daemon.closed).errors[0]?.message).toBe(
      'service "a" failed for good (it is not to be restarted): first',
    );
  });

  test('something thrown that is no Error is reported as such', async () => {
    const a = new Probe('a', { restart: 'never' });
    const bench = new Bench([a]);
    await bench.daemon.start();
    a.scope.fail('plain text');
    await bench.finish();
    expect((await bench.daemon.closed).errors[0]?.cause).toMatchObject({
      code: 'ERR_NON_ERROR_THROWN',
      value: 'plain text',
    });
  });

  test('a failure while the tree is stopping is told, and changes nothing', async () => {
    const a = new Probe('a');
    const b = new Probe('b', { needs: [a] }, { stop: () => a.fail('too late') });
    const bench = new Bench([a, b]);
    await bench.daemon.start();
    await bench.stop();
    expect(bench.trace).toContain('service-failed a');
    expect(bench.trace.filter((entry) => entry.includes('restarting'))).toEqual([]);
    expect((await bench.daemon.closed).exitCode).toBe(0);
  });
});

describe('a group restart', () => {
  test('stops in reverse order and starts in order', async () => {
    const journal: string[] = [];
    const a = new Probe('a', {}, {}, journal);
    const b = new Probe('b', { needs: [a] }, {}, journal);
    const c = new Probe('c', { needs: [b] }, {}, journal);
    const bench = new Bench([a, b, c], { strategy: 'one-for-all' });
    await bench.daemon.start();
    journal.length = 0;
    b.fail();
    await bench.clock.advance(100);
    expect(journal).toEqual(['-c', '-b', '-a', '+a', '+b', '+c']);
    await bench.stop();
  });

  const slowly = async () => {
    for (let turn = 0; turn < 50; turn++) await null;
  };

  test('keeps the order across members that are not restarted', async () => {
    const journal: string[] = [];
    const a = new Probe('a', {}, { start: slowly }, journal);
    const between = new Probe('between', { needs: [a], restart: 'never' }, {}, journal);
    const c = new Probe('c', { needs: [between] }, {}, journal);
    const bench = new Bench([a, between, c], { strategy: 'one-for-all' });
    await bench.daemon.start();
    journal.length = 0;
    a.fail();
    await bench.clock.advance(100);
    expect(journal).toEqual(['-c', '-between', '-a', '+a', '+c']);
    await bench.stop();
  });

  test('counts members that fail at once as one failure', async () => {
    const a = new Probe('a');
    const b = new Probe('b');
    const bench = new Bench([a, b], { strategy: 'one-for-all', intensity: { maxFailures: 1 } });
    await bench.daemon.start();
    a.fail();
    b.fail();
    await bench.clock.advance(100);
    expect(bench.statuses()).toEqual({ a: 'running', b: 'running' });
    expect([a.scopes.length, b.scopes.length]).toEqual([2, 2]);
    await bench.stop();
  });

  test('that fails half-way is tried again as a whole, and counts each time', async () => {
    let broken = true;
    const a = new Probe('a');
    const b = new Probe(
      'b',
      { needs: [a] },
      {
        start: () => {
          if (broken && b.scopes.length > 1) throw new Error('not yet');
        },
      },
    );
    const bench = new Bench([a, b], { strategy: 'one-for-all', backoff: { jitter: 'none' } });
    await bench.daemon.start();
    a.fail();
    await bench.clock.advance(100);
    expect(bench.statuses()).toEqual({ a: 'backing-off', b: 'backing-off' });
    broken = false;
    await bench.clock.advance(100);
    expect(bench.statuses()).toEqual({ a: 'running', b: 'running' });
    expect(a.scopes).toHaveLength(3);
    await bench.stop();
  });

  test('with rest-for-one: an earlier member that fails in the pause widens it, and nobody is left out', async () => {
    const probes = ['a', 'b', 'c'].map((name) => new Probe(name));
    const [a, , c] = probes as [Probe, Probe, Probe];
    const bench = new Bench(probes, { strategy: 'rest-for-one', backoff: { jitter: 'none' } });
    await bench.daemon.start();
    c.fail();
    await settle();
    expect(bench.statuses()).toEqual({ a: 'running', b: 'running', c: 'backing-off' });
    a.fail();
    await settle();
    expect(bench.statuses()).toEqual({ a: 'backing-off', b: 'backing-off', c: 'backing-off' });
    await bench.clock.advance(100);
    expect(bench.statuses()).toEqual({ a: 'running', b: 'running', c: 'running' });
    await bench.stop();
  });

  test('with rest-for-one: a later member that fails in the pause does not shorten it', async () => {
    const probes = ['a', 'b', 'c'].map((name) => new Probe(name));
    const bench = new Bench(probes, { strategy: 'rest-for-one', backoff: { jitter: 'none' } });
    await bench.daemon.start();
    probes[2]?.fail();
    await settle();
    probes[1]?.fail();
    await bench.clock.advance(99);
    expect(bench.statuses()).toEqual({ a: 'running', b: 'backing-off', c: 'backing-off' });
    await bench.clock.advance(1);
    expect(bench.statuses()).toEqual({ a: 'running', b: 'running', c: 'running' });
    await bench.stop();
  });

  test('goes on without a member that is not critical and has failed for good', async () => {
    const a = new Probe('a');
    const b = new Probe(
      'b',
      { critical: false },
      {
        start: () => {
          if (b.scopes.length > 1) throw new Error('never again');
        },
      },
    );
    const bench = new Bench([a, b], { strategy: 'one-for-all', intensity: { maxFailures: 2 } });
    await bench.daemon.start();
    b.fail();
    await bench.clock.advance(10_000);
    expect(bench.statuses()).toEqual({ a: 'running', b: 'failed' });
    await bench.stop();
  });

  test('that began while the others were still being started waits for them', async () => {
    const a = new Probe(
      'a',
      {},
      {
        start: ({ spawn }) => {
          if (a.scopes.length === 1) spawn('work', fails('early'));
        },
      },
    );
    const slow = new Probe('slow', {}, { start: ({ clock }) => clock.sleep(1_000) });
    const bench = new Bench([a, slow], { strategy: 'one-for-all' });
    const started = bench.daemon.start();
    await bench.clock.advance(999);
    expect(bench.statuses()).toEqual({ a: 'running', slow: 'starting' });
    await bench.clock.advance(1);
    await started;
    await bench.clock.advance(2_000);
    expect(bench.statuses()).toEqual({ a: 'running', slow: 'running' });
    expect([a.scopes.length, slow.scopes.length]).toEqual([2, 2]);
    await bench.stop();
  });
});
