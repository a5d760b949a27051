import { getEventListeners } from 'node:events';
import { ContextClosedError, ContextTimeoutError } from 'bosun';
import { FakeClock, settle } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { ContextStore } from '../src/context.ts';
import { Bench, Probe } from './support/probe.ts';

const open = () => {
  const clock = new FakeClock();
  return { clock, store: new ContextStore(clock) };
};

describe('context', () => {
  test('get waits until the key is set, for every waiter, and later ones get it at once', async () => {
    const { store } = open();
    const waiters = [store.get('a'), store.get('a')];
    store.set('a', 1);
    expect(await Promise.all([...waiters, store.get('a')])).toEqual([1, 1, 1]);
  });

  test('setting again replaces; a value may be undefined', async () => {
    const { store } = open();
    store.set('a', 1);
    store.set('a', undefined);
    expect(await store.get('a')).toBeUndefined();
  });

  test("one waiter's timeout or abort never disturbs another", async () => {
    const { clock, store } = open();
    const patient = store.get('a');
    const hasty = store.get('a', { timeoutMs: 1_000 });
    const controller = new AbortController();
    const aborted = store.get('a', { signal: controller.signal, timeoutMs: 5_000 });
    const reason = new Error('changed my mind');
    controller.abort(reason);
    await expect(aborted).rejects.toBe(reason);
    const late = expect(hasty).rejects.toThrow(ContextTimeoutError);
    await clock.advance(1_000);
    await late;
    store.set('a', 'here');
    expect(await patient).toBe('here');
    expect(clock.pending).toBe(0);
  });

  test('a timeout names the key and the time; 0 rejects at once, unless the key is set', async () => {
    const { store } = open();
    await expect(store.get('a', { timeoutMs: 0 })).rejects.toMatchObject({
      code: 'ERR_CONTEXT_TIMEOUT',
      key: 'a',
      message: 'context key "a" was not set within 0 ms',
    });
    store.set('a', 1);
    expect(await store.get('a', { timeoutMs: 0 })).toBe(1);
  });

  test('an aborted signal rejects at once with its reason, also when the key is set', async () => {
    const { store } = open();
    store.set('a', 1);
    await expect(store.get('a', { signal: AbortSignal.abort('no') })).rejects.toBe('no');
  });

  test('a close rejects what is pending and names the key; what is set can still be read', async () => {
    const { store } = open();
    store.set('a', 1);
    const pending = store.get('b');
    store.close(new Error('it is over'));
    await expect(pending).rejects.toThrow(ContextClosedError);
    await expect(pending).rejects.toThrow('context key "b" was not set in time: it is over');
    await expect(store.get('c')).rejects.toMatchObject({ code: 'ERR_CONTEXT_CLOSED', key: 'c' });
    expect(await store.get('a')).toBe(1);
  });

  test('a thousand gets with one long-lived signal leave no listener', async () => {
    const { clock, store } = open();
    const { signal } = new AbortController();
    const timedOut = Array.from({ length: 500 }, () =>
      store.get('a', { signal, timeoutMs: 1 }).catch(() => {}),
    );
    const served = Array.from({ length: 500 }, () => store.get('b', { signal }));
    expect(getEventListeners(signal, 'abort')).toHaveLength(1_000);
    await clock.advance(1);
    store.set('b', 1);
    await Promise.all([...timedOut, ...served]);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    expect(clock.pending).toBe(0);
  });
});

describe('the context of a service', () => {
  test('is shared, and a get there ends with the run and names the key', async () => {
    const results: unknown[] = [];
    const a = new Probe(
      'a',
      {},
      {
        start: ({ spawn, context }) => {
          spawn('one', async () => void results.push(await context.get('one')));
          spawn('two', async () => void results.push(await context.get('two').catch((error) => error)));
        },
      },
    );
    const b = new Probe('b', { needs: [a] }, { start: ({ context }) => context.set('one', 'from b') });
    const bench = new Bench([a, b]);
    await bench.daemon.start();
    await settle();
    expect(results).toEqual(['from b']);
    await bench.stop();
    expect(results[1]).toBeInstanceOf(ContextClosedError);
    expect((results[1] as Error).message).toBe(
      'context key "two" was not set in time: service "a" is stopping (shutdown)',
    );
    await expect(a.scope.context.get('one')).rejects.toThrow(ContextClosedError);
  });

  test("takes a signal and a timeout of the caller's, and leaves no listener", async () => {
    const a = new Probe('a');
    const bench = new Bench([a]);
    await bench.daemon.start();
    const { context, signal: own } = a.scope;
    const before = getEventListeners(own, 'abort').length;
    const controller = new AbortController();
    const aborted = context.get('x', { signal: controller.signal });
    const timedOut = expect(context.get('x', { timeoutMs: 10 })).rejects.toThrow(ContextTimeoutError);
    controller.abort(new Error('mine'));
    await expect(aborted).rejects.toThrow('mine');
    await bench.clock.advance(10);
    await timedOut;
    expect(getEventListeners(own, 'abort')).toHaveLength(before);
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    await bench.stop();
  });
});

test("a get of the entrypoint's own that is pending rejects at shutdown", async () => {
  const bench = new Bench([new Probe('a')]);
  await bench.daemon.start();
  const pending = bench.daemon.context.get('never');
  const rejected = expect(pending).rejects.toThrow(
    'context key "never" was not set in time: the entrypoint was stopped',
  );
  await bench.daemon.stop();
  await rejected;
});
