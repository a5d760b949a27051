import { createServer, type Server } from 'node:net';
import { type Scope, Service, type StopReason, Supervisor } from 'bosun';
import { contractCases, freePort } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

class Trivial extends Service.extend({ port: z.int().default(0) }) {
  async start(_scope: Scope): Promise<void> {}
}

describe.each([
  { type: 'a trivial service', make: () => new Trivial(), badOptions: [null, { port: 'x' }, { name: '' }] },
  {
    type: 'a supervisor',
    make: () =>
      new Supervisor({ name: 'nested', services: [new Trivial(), new Trivial({ name: 'second' })] }),
    badOptions: [{}, { services: [5] }, { services: [], strategy: 'one' }],
  },
])('$type', (subject) => {
  for (const { name, run } of contractCases(subject)) test(name, run);
});

/** Each breaks the contract in a way of its own. */
class Listener extends Trivial {
  protected server: Server | undefined;
  override async start() {
    const server = createServer();
    this.server = server;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  }
  override async stop(_reason: StopReason) {
    const { server } = this;
    await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
  }
}

describe('the contract is broken by a service that', () => {
  const verdicts = async (make: () => Service, badOptions: unknown[] = []) => {
    const failed: string[] = [];
    for (const { name, run } of contractCases({ make, badOptions })) {
      await run().catch(() => failed.push(name));
    }
    return failed;
  };
  const leaks: Server[] = [];

  test('nothing is wrong with: no case fails', async () => {
    expect(await verdicts(() => new Listener())).toEqual([]);
  });

  test('leaves its server open', async () => {
    class Leaky extends Listener {
      override async stop() {
        if (this.server) leaks.push(this.server);
      }
    }
    expect(await verdicts(() => new Leaky())).toContain(
      'starts, is healthy while it runs, and stops without an error',
    );
    for (const server of leaks) server.close();
  });

  test('is not healthy, or fails to stop', async () => {
    class Sick extends Trivial {
      override health = () => ({ ok: false, detail: 'sick' });
    }
    expect(await verdicts(() => new Sick())).toEqual([
      'starts, is healthy while it runs, and stops without an error',
    ]);
    class Bad extends Trivial {
      override stop() {
        throw new Error('no');
      }
    }
    expect(await verdicts(() => new Bad())).toContain('can be stopped while it starts');
  });

  test('ignores that its stop is forced', async () => {
    class Stuck extends Trivial {
      override stop() {
        return new Promise<void>(() => {});
      }
    }
    expect(await verdicts(() => new Stuck({ stopTimeoutMs: 10 }))).toContain(
      'ends at once when its stop is forced',
    );
  });

  test('cannot be started again', async () => {
    class Once extends Trivial {
      #used = false;
      override async start() {
        if (this.#used) throw new Error('used');
        this.#used = true;
      }
    }
    expect(await verdicts(() => new Once())).toEqual(['can be restarted, again and again']);
  });

  test('takes what it must refuse', async () => {
    expect(await verdicts(() => new Trivial(), [{ port: 5 }])).toEqual(['refuses bad options (1 of 1)']);
  });
});

test('freePort gives a port that can be listened on', async () => {
  const port = await freePort();
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', () => resolve()));
  expect(port).toBeGreaterThan(1_023);
  await new Promise((resolve) => server.close(resolve));
});
