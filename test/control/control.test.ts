import { entrypoint, type Scope, Service } from 'bosun';
import { FakeClock } from 'bosun/testing';
import { describe, expect, it } from 'vitest';
import { StatusWriter } from '../../src/control/status.ts';
import type { BosunEvent } from '../../src/events.ts';
import type { Control } from '../../src/supervisor/host.ts';
import { hostOf } from '../../src/supervisor/run.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

class Operator extends Service {
  control!: Control;

  override start(scope: Scope): void {
    this.control = hostOf(scope).control;
  }
}

class Worker extends Service {
  starts = 0;
  stopped = false;

  override start(): void {
    this.starts += 1;
  }

  override stop(): void {
    this.stopped = true;
  }
}

describe('what operates the daemon', () => {
  it('sees the phase, the services and the events', async () => {
    const operator = new Operator();
    const events: BosunEvent['type'][] = [];
    const daemon = await entrypoint([operator, new Worker()], quiet);
    const end = operator.control.on((event) => events.push(event.type));
    expect(operator.control.phase).toBe('ready');
    expect(operator.control.services().map(({ name }) => name)).toEqual(['operator', 'worker']);
    await operator.control.restart('worker');
    expect(events).toEqual(['service-stopping', 'service-stopped', 'service-starting', 'service-running']);
    end();
    await daemon.stop();
    expect(operator.control.phase).toBe('closed');
    expect(events).toHaveLength(4);
  });

  it('restarts a service by name, and rejects for one that is not there', async () => {
    const operator = new Operator();
    const worker = new Worker();
    await using _daemon = await entrypoint([operator, worker], quiet);
    await operator.control.restart('worker');
    expect(worker.starts).toBe(2);
    await expect(operator.control.restart('wroker')).rejects.toMatchObject({ code: 'ERR_UNKNOWN_SERVICE' });
  });

  it('reloads as SIGHUP does, and is told what went wrong', async () => {
    const operator = new Operator();
    const reasons = [undefined, new Error('line 3: no such kind')];
    await using _daemon = await entrypoint([operator], {
      ...quiet,
      hooks: {
        reload: () => {
          const reason = reasons.shift();
          if (reason !== undefined) throw reason;
        },
      },
    });
    await expect(operator.control.reload()).resolves.toBeUndefined();
    await expect(operator.control.reload()).rejects.toThrow('line 3: no such kind');
  });

  it('is called at the end when all services have stopped, and a failure there counts', async () => {
    const operator = new Operator();
    const worker = new Worker();
    const daemon = await entrypoint([operator, worker], quiet);
    let sawStopped: boolean | undefined;
    operator.control.atEnd(() => {
      sawStopped = worker.stopped;
    });
    operator.control.atEnd(() => {
      throw new Error('the port is stuck');
    });
    await expect(daemon.stop()).rejects.toMatchObject({
      code: 'ERR_SHUTDOWN',
      errors: [{ message: 'the port is stuck' }],
    });
    expect(sawStopped).toBe(true);
    await expect(daemon.closed).resolves.toMatchObject({ exitCode: 1 });
  });

  it('is not called without end: what does not come to one is left behind, and the others are called', async () => {
    const operator = new Operator();
    const clock = new FakeClock();
    const daemon = await entrypoint([operator], { ...quiet, clock, shutdown: { timeoutMs: 1_000 } });
    const called: string[] = [];
    operator.control.atEnd(() => new Promise(() => {}));
    operator.control.atEnd(async () => void called.push('the other'));
    const stop = daemon.stop();
    stop.catch(() => {});
    await clock.advance(999);
    expect(daemon.ready).toBe(false);
    expect(called).toEqual([]);
    await clock.advance(200);
    await expect(stop).rejects.toMatchObject({
      code: 'ERR_SHUTDOWN',
      errors: [{ code: 'ERR_SERVICE_STOP_FORCED', afterMs: 1_100, abandoned: true }],
    });
    expect(called).toEqual(['the other']);
  });

  it('knows when a service failed last, also when it was not there to see it', async () => {
    const operator = new Operator();
    const broken = new Worker({ name: 'broken', critical: false, restart: 'never' });
    broken.start = () => {
      throw new Error('no disk');
    };
    const clock = new FakeClock(1_000);
    await using _daemon = await entrypoint([broken, operator], { ...quiet, clock });
    await clock.advance(5_000);
    const [service] = new StatusWriter(operator.control).status().services;
    expect(service?.lastError).toMatchObject({ code: 'ERR_SERVICE_START', at: 1_000 });
  });

  it('says that there is nothing to reload', async () => {
    const operator = new Operator();
    await using _daemon = await entrypoint([operator], quiet);
    await expect(operator.control.reload()).rejects.toMatchObject({ code: 'ERR_NO_RELOAD' });
  });
});
