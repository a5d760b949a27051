import { Entrypoint, type EntrypointOptions, entrypoint } from 'bosun';
import { CacheService } from 'bosun/services/cache';
import { FakeClock, settle } from 'bosun/testing';
import { describe, expect, it } from 'vitest';

const quiet: EntrypointOptions = { log: { level: 'silent' }, ownsProcess: false };

/** Loads the number of its loads, or does what it is told to. */
class Counter extends CacheService<number> {
  loads = 0;
  work: (signal: AbortSignal) => unknown = () => {};

  protected override async load(signal: AbortSignal) {
    const load = ++this.loads;
    await this.work(signal);
    return load;
  }
}

describe('a cache', () => {
  it('has its first value when it has started, and loads anew at the interval', async () => {
    const clock = new FakeClock();
    const counter = new Counter({ intervalMs: 1_000 });
    await using _daemon = await entrypoint([counter], { ...quiet, clock });
    expect(counter.get()).toBe(1);
    await clock.advance(999);
    expect(counter.get()).toBe(1);
    expect(counter.ageMs).toBe(999);
    await clock.advance(1);
    expect(counter.get()).toBe(2);
    expect(counter.ageMs).toBe(0);
    await clock.advance(5_000);
    expect(counter.get()).toBe(7);
  });

  it('serves the last value while it loads, and counts the interval from the end of a load', async () => {
    const clock = new FakeClock();
    const counter = new Counter({ intervalMs: 1_000 });
    await using _daemon = await entrypoint([counter], { ...quiet, clock });
    counter.work = (signal) => clock.sleep(300, { signal });
    await clock.advance(1_299);
    expect([counter.loads, counter.get()]).toEqual([2, 1]);
    await clock.advance(1);
    expect(counter.get()).toBe(2);
    await clock.advance(999);
    expect(counter.loads).toBe(2);
    await clock.advance(1);
    expect(counter.loads).toBe(3);
  });

  it('keeps the last value when a load fails, counts that, and recovers', async () => {
    const clock = new FakeClock();
    const counter = new Counter({ intervalMs: 1_000 });
    await using daemon = await entrypoint([counter], { ...quiet, clock });
    counter.work = () => {
      throw new Error('no source');
    };
    await clock.advance(2_000);
    expect(counter.get()).toBe(1);
    expect(counter.statistics).toEqual({ loads: 3, errors: 2 });
    expect(daemon.services[0]?.state.status).toBe('running');
    counter.work = () => {};
    await clock.advance(1_000);
    expect(counter.get()).toBe(4);
  });

  it('fails its start with the first load', async () => {
    const counter = new Counter({ intervalMs: 1_000 });
    counter.work = () => {
      throw new Error('no source');
    };
    const daemon = new Entrypoint([counter], quiet);
    await expect(daemon.start()).rejects.toMatchObject({ cause: { message: 'no source' } });
    await daemon.closed;
  });

  it('starts without a value when it is told to; get() says why there is none', async () => {
    const clock = new FakeClock();
    const counter = new Counter({ intervalMs: 1_000, waitForFirst: false });
    counter.work = async () => {
      await clock.sleep(10);
      throw new Error('no source');
    };
    await using _daemon = await entrypoint([counter], { ...quiet, clock });
    expect(() => counter.get()).toThrow(
      expect.objectContaining({ code: 'ERR_CACHE_EMPTY', message: 'cache "counter" has no value yet' }),
    );
    await clock.advance(10);
    expect(() => counter.get()).toThrow('cache "counter" has no value yet: no source');
    expect(counter.health()).toEqual({ ok: false, detail: 'no value yet: no source' });
    expect(counter.ageMs).toBeUndefined();
  });

  it('lets getOrWait wait for the first value, over loads that fail', async () => {
    const clock = new FakeClock();
    const counter = new Counter({ intervalMs: 1_000, waitForFirst: false });
    counter.work = async () => {
      await clock.sleep(10);
      if (counter.loads === 1) throw new Error('no source');
    };
    await using _daemon = await entrypoint([counter], { ...quiet, clock });
    const waiting = Promise.all([counter.getOrWait(), counter.getOrWait()]);
    await clock.advance(1_020);
    expect(await waiting).toEqual([2, 2]);
    expect(await counter.getOrWait()).toBe(2);
  });

  it('ends a wait promptly when its signal aborts, and leaves no listener', async () => {
    const counter = new Counter({ intervalMs: 1_000, waitForFirst: false });
    counter.work = (signal) => new Promise((_, reject) => signal.addEventListener('abort', reject));
    await using _daemon = await entrypoint([counter], quiet);
    const { signal, abort } = countingSignal();
    const waiting = counter.getOrWait({ signal });
    expect(signal.listeners).toBe(1);
    abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    expect(signal.listeners).toBe(0);
    await expect(counter.getOrWait({ signal })).rejects.toThrow('enough');
  });

  it('ends a wait when it stops', async () => {
    const counter = new Counter({ intervalMs: 1_000, waitForFirst: false });
    counter.work = (signal) => new Promise((_, reject) => signal.addEventListener('abort', reject));
    await using daemon = await entrypoint([counter], quiet);
    const waiting = expect(counter.getOrWait()).rejects.toMatchObject({ code: 'ERR_SERVICE_STOPPED' });
    await daemon.stop();
    await waiting;
    await expect(counter.getOrWait()).rejects.toMatchObject({ code: 'ERR_SERVICE_STOPPED' });
    await expect(counter.refresh()).rejects.toMatchObject({ code: 'ERR_SERVICE_STOPPED' });
    expect(counter.statistics.errors).toBe(0);
  });

  it('has one load at a time: refresh() joins the one under way', async () => {
    const clock = new FakeClock();
    const counter = new Counter({ intervalMs: 1_000 });
    await using _daemon = await entrypoint([counter], { ...quiet, clock });
    counter.work = () => clock.sleep(50);
    await clock.advance(1_000);
    const joined = Promise.all([counter.refresh(), counter.refresh()]);
    await clock.advance(50);
    expect(await joined).toEqual([2, 2]);
    const another = counter.refresh();
    await clock.advance(50);
    expect(await another).toBe(3);
  });

  it('rejects a refresh() with the error of the load', async () => {
    const counter = new Counter({ intervalMs: 1_000 });
    await using _daemon = await entrypoint([counter], quiet);
    counter.work = () => {
      throw new Error('no source');
    };
    await expect(counter.refresh()).rejects.toThrow('no source');
    expect(counter.get()).toBe(1);
  });

  it('is unhealthy when the value is too old, and serves it all the same', async () => {
    const clock = new FakeClock();
    const counter = new Counter({ intervalMs: 1_000, maxAgeMs: 1_500 });
    await using _daemon = await entrypoint([counter], { ...quiet, clock });
    counter.work = () => {
      throw new Error('no source');
    };
    await clock.advance(1_500);
    expect(counter.health()).toEqual({ ok: true });
    await clock.advance(1);
    expect(counter.health()).toEqual({
      ok: false,
      detail: 'the value is 1501 ms old, more than 1500 ms: no source',
    });
    expect(counter.get()).toBe(1);
  });

  it('waits at its stop for the load under way, which it aborts', async () => {
    const counter = new Counter({ intervalMs: 1_000 });
    const daemon = new Entrypoint([counter], quiet);
    await daemon.start();
    const order: string[] = [];
    counter.work = async (signal) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      await settle();
      order.push('tidied up');
      signal.throwIfAborted();
    };
    const refreshing = counter.refresh().catch((error: unknown) => error);
    await daemon.stop();
    expect(order).toEqual(['tidied up']);
    expect(await refreshing).toMatchObject({ code: 'ERR_SERVICE_STOPPED' });
    expect(counter.get()).toBe(1);
  });

  it('keeps its value over a restart, and has none before its start', async () => {
    const counter = new Counter({ intervalMs: 1_000 });
    await expect(counter.getOrWait()).rejects.toMatchObject({ code: 'ERR_SERVICE_STOPPED' });
    expect(() => counter.get()).toThrow('no value yet');
    await using daemon = await entrypoint([counter], quiet);
    const gate = Promise.withResolvers<void>();
    counter.work = () => gate.promise;
    const restarted = daemon.restart('counter');
    await settle();
    expect(counter.get()).toBe(1);
    gate.resolve();
    await restarted;
    expect(counter.get()).toBe(2);
  });

  it.each([
    [{ intervalMs: -1 }, 'intervalMs'],
    [{ intervalMs: 1, waitForFirst: 'yes' }, 'waitForFirst'],
    [{ intervalMs: 1, maxAgeMs: Number.NaN }, 'maxAgeMs'],
  ])('refuses %j', (options, option) => {
    expect(() => new Counter(options as { intervalMs: number })).toThrow(`option "${option}"`);
  });
});

function countingSignal() {
  const controller = new AbortController();
  let listeners = 0;
  const { signal } = controller;
  const { addEventListener, removeEventListener } = signal;
  const counted = Object.defineProperties(signal, {
    listeners: { get: () => listeners },
    addEventListener: {
      value(...args: Parameters<typeof addEventListener>) {
        listeners += 1;
        addEventListener.apply(signal, args);
      },
    },
    removeEventListener: {
      value(...args: Parameters<typeof removeEventListener>) {
        listeners -= 1;
        removeEventListener.apply(signal, args);
      },
    },
  }) as AbortSignal & { readonly listeners: number };
  return { signal: counted, abort: (reason: Error) => controller.abort(reason) };
}
