import {
  byteCount,
  durationMs,
  IllegalTransitionError,
  OptionsError,
  type Scope,
  Service,
  Supervisor,
  service,
} from 'bosun';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import {
  isService,
  isServiceClass,
  referencedClass,
  type ServiceState,
  servicesIn,
  transition,
} from '../src/service.ts';
import { Bench, Probe } from './support/probe.ts';

class Poller extends Service.extend({
  url: z.url(),
  intervalMs: durationMs().default(1_000),
  limitBytes: byteCount().default(1_024),
  mode: z.enum(['fast', 'thorough']).default('fast'),
  headers: z.strictObject({ agent: z.string().min(3).optional() }).prefault({}),
  peers: z.array(z.strictObject({ port: z.int().min(0).max(65_535) })).default([]),
}) {
  async start() {}
}

const problemsOf = (make: () => unknown) => {
  try {
    make();
  } catch (error) {
    if (error instanceof OptionsError) return error;
    throw error;
  }
  throw new Error('no error');
};

describe('options', () => {
  test("are validated and completed by the constructor; the defaults are the base's", () => {
    expect(new Poller({ url: 'http://a.example' }).options).toEqual({
      name: 'poller',
      url: 'http://a.example',
      intervalMs: 1_000,
      limitBytes: 1_024,
      mode: 'fast',
      headers: {},
      peers: [],
      restart: 'on-failure',
      startTimeoutMs: 30_000,
      stopTimeoutMs: 10_000,
      critical: true,
      after: [],
    });
  });

  test('all problems are reported at once, with class, option, rule and value', () => {
    const error = problemsOf(
      () =>
        new Poller({
          name: 'one two',
          intervalMs: -1,
          limitBytes: '5 MB',
          mode: 'fsat',
          headers: { agent: 'x', agnet: 'y' },
          peers: [{ port: 1 }, { port: 70_000 }],
          restrat: 'always',
          colour: 'red',
        } as never),
    );
    expect(error.code).toBe('ERR_OPTIONS');
    expect(error.owner).toBe('Poller "one two"');
    expect(error.message.split('; ')).toEqual([
      'Poller "one two": option "name" must be made of letters, digits and _ . : -, received "one two"',
      'option "url" is required',
      'option "intervalMs" must be a number of milliseconds of at least 0 (or Infinity), received -1',
      'option "limitBytes" must be a number of bytes of at least 0 (or Infinity), received "5 MB"',
      'option "mode" must be one of "fast", "thorough", received "fsat" (did you mean "fast"?)',
      'option "headers.agent" must be at least 3 characters long, received "x"',
      'option "headers.agnet" does not exist, received "y" (did you mean "agent"?)',
      'option "peers.1.port" must be at most 65535, received 70000',
      'option "restrat" does not exist, received "always" (did you mean "restart"?)',
      expect.stringMatching(
        /^option "colour" does not exist \(there are: .*restartWith.*url.*\), received "red"$/,
      ),
    ]);
    expect(error.problems).toContainEqual({
      path: ['peers', 1, 'port'],
      rule: 'must be at most 65535',
      received: 70_000,
    });
  });

  test.each([
    [undefined, 'Poller: option "url" is required'],
    [null, 'Poller: options must be an object, received null'],
    ['text', 'Poller: options must be an object, received "text"'],
    [[], 'Poller: options must be an object, received []'],
    [{ url: 1 }, 'Poller: option "url" must be a string, received 1'],
    [{ url: 'nowhere' }, 'Poller: option "url" must be a url, received "nowhere"'],
    [{ url: 'http://a', name: 5 }, 'Poller: option "name" must be a string, received 5'],
    [{ url: 'http://a', intervalMs: Number.NaN }, 'received NaN'],
    [{ url: 'http://a', critical: 'yes' }, 'option "critical" must be a boolean, received "yes"'],
    [{ url: 'http://a', after: 'b' }, 'option "after" must be an array, received "b"'],
    [{ url: 'http://a', peers: [{}] }, 'option "peers.0.port" is required'],
    [{ url: 'http://a', intervalMs: () => 5 }, 'received function intervalMs'],
    [{ url: 'http://a', intervalMs: new Map() }, 'received an instance of Map'],
    [{ url: 'http://a', intervalMs: 5n }, 'received 5n'],
    [{ url: 'http://a', mode: 'x'.repeat(200) }, `received "${'x'.repeat(76)}...`],
  ])('bad options %# are refused with what they should have been', (options, message) => {
    expect(() => new Poller(options as never)).toThrow(message as string);
  });

  test('parsed options construct an equal service again', () => {
    const first = new Poller({ url: 'http://a.example', peers: [{ port: 1 }], after: ['b'], name: 'x' });
    const second = new Poller(first.options);
    expect(second.options).toEqual(first.options);
    expect(new Poller(second.options).options).toEqual(first.options);
    const nested = new Supervisor({ name: 'nested', services: [first] });
    expect(new Supervisor(nested.options).options).toEqual(nested.options);
  });

  test('are frozen', () => {
    const { options } = new Poller({ url: 'http://a.example' });
    expect(() => Object.assign(options, { url: 'x' })).toThrow(TypeError);
  });

  test('a subclass adds options, and may give one another default', () => {
    class Hasty extends Poller.extend({ intervalMs: durationMs().default(5), depth: z.int().default(2) }) {}
    expect(new Hasty({ url: 'http://a.example' }).options).toMatchObject({
      intervalMs: 5,
      depth: 2,
      mode: 'fast',
    });
    expect(Object.keys(Poller.schema.shape)).not.toContain('depth');
    expect(new Hasty({ url: 'http://a.example' })).toBeInstanceOf(Poller);
  });

  test("a subclass without a schema of its own takes its parent's options", () => {
    class Quiet extends Poller {}
    expect(new Quiet({ url: 'http://a.example' }).options.mode).toBe('fast');
    expect(() => new Quiet({} as never)).toThrow('Quiet: option "url" is required');
  });
});

describe('the default name', () => {
  const nameOf = (Class: new () => Service) => new Class().name;
  const named = (name: string) => {
    class X extends Service {
      async start() {}
    }
    Object.defineProperty(X, 'name', { value: name });
    return X;
  };

  test.each([
    ['TcpEchoService', 'tcp-echo'],
    ['HTTPServer', 'http-server'],
    ['Http2Service', 'http2'],
    ['Service', 'service'],
    ['A', 'a'],
    ['$Odd', 'odd'],
    ['', 'service'],
    ['_', '_'],
  ])('of class %j is %j', (className, name) => {
    expect(nameOf(named(className))).toBe(name);
    const Class = named(className);
    expect(new Class(new Class().options).name).toBe(name);
  });

  test('is replaced by the option', () => {
    expect(new Poller({ url: 'http://a.example', name: 'eu.poller:1' }).name).toBe('eu.poller:1');
  });
});

describe('service(Class)', () => {
  class Database extends Service {
    async start() {}
  }
  class Api extends Service.extend({ database: service(Database), spare: service(Database).optional() }) {
    async start() {}
  }

  test('takes an instance of the class, or of one below it, and nothing else', () => {
    class Better extends Database {}
    const better = new Better();
    expect(new Api({ database: better }).options.database).toBe(better);
    expect(() => new Api({ database: new Probe('x') as never })).toThrow(
      'option "database" must be a service of class Database, received an instance of Probe',
    );
    expect(() => new Api({ database: 'database' as never })).toThrow('received "database"');
  });

  test('tells its class, through the wrappers too', async () => {
    const { unwrap } = await import('../src/options.ts');
    expect(referencedClass(Api.schema.shape.database)).toBe(Database);
    expect(referencedClass(unwrap(Api.schema.shape.spare))).toBe(Database);
    expect(referencedClass(z.string())).toBeUndefined();
  });

  test('services are found in options however deep, once, and in no instance of a class', () => {
    const a = new Database();
    const loop: Record<string, unknown> = { list: [{ a }, [a]], map: new Map([['b', new Database()]]) };
    loop.loop = loop;
    expect([...servicesIn(loop)]).toEqual([a]);
  });

  test('tells services and their classes from other things', () => {
    expect([isService(new Database()), isService({}), isService(null)]).toEqual([true, false, false]);
    expect([
      isServiceClass(Database),
      isServiceClass(class {}),
      isServiceClass(() => {}),
      isServiceClass(new Database()),
    ]).toEqual([true, false, false, false]);
  });
});

describe('states', () => {
  const error = new Error('x');
  const states: Record<ServiceState['status'], ServiceState> = {
    created: { status: 'created' },
    starting: { status: 'starting', since: 0 },
    running: { status: 'running', since: 0 },
    stopping: { status: 'stopping', since: 0 },
    stopped: { status: 'stopped', since: 0 },
    failed: { status: 'failed', since: 0, error },
    'backing-off': { status: 'backing-off', since: 0, error, nextTryAt: 1 },
  };
  const legal: Record<ServiceState['status'], readonly ServiceState['status'][]> = {
    created: ['starting'],
    starting: ['running', 'stopping', 'failed'],
    running: ['stopping'],
    stopping: ['stopped', 'failed'],
    stopped: ['starting', 'backing-off'],
    failed: ['starting', 'backing-off'],
    'backing-off': ['starting', 'stopped', 'backing-off'],
  };

  test('every pair is legal or throws', () => {
    for (const from of Object.values(states)) {
      for (const to of Object.values(states)) {
        const go = () => transition('x', from, to);
        if (legal[from.status].includes(to.status)) expect(go()).toBe(to);
        else expect(go).toThrow(IllegalTransitionError);
      }
    }
    expect(() => transition('x', states.running, states.starting)).toThrow(
      'service "x" cannot go from running to starting',
    );
  });
});

describe('scope', () => {
  test('a task spawned, and a clean-up deferred, after the end: the one never runs, the other at once', async () => {
    const a = new Probe('a');
    const bench = new Bench([a]);
    await bench.daemon.start();
    const scope: Scope = a.scope;
    await bench.stop();
    let spawned = false;
    let cleaned = false;
    scope.spawn('late', () => {
      spawned = true;
    });
    scope.defer(() => {
      cleaned = true;
    });
    scope.fail(new Error('late'));
    scope.finish();
    expect([spawned, cleaned]).toEqual([false, true]);
    expect(bench.status('a')).toBe('stopped');
  });

  test('its members work without the scope, and its log carries the service', async () => {
    const lines: unknown[] = [];
    const a = new Probe(
      'a',
      {},
      {
        start: ({ log, finish, defer, spawn }) => {
          lines.push(log.bindings());
          defer(() => lines.push('cleaned'));
          spawn('work', () => void lines.push('worked'));
          finish();
        },
      },
    );
    const bench = new Bench([a, new Probe('rest')]);
    await bench.daemon.start();
    await bench.stop();
    expect(lines).toEqual([expect.objectContaining({ service: 'a' }), 'worked', 'cleaned']);
  });

  test("a service's addresses are those while it runs; a getter that throws has none", async () => {
    class Broken extends Probe {
      override get addresses(): readonly string[] {
        throw new Error('not bound');
      }
    }
    const bench = new Bench([new Broken('a')]);
    await bench.daemon.start();
    expect(bench.daemon.services[0]).toMatchObject({ state: { status: 'running' }, addresses: [] });
    await bench.stop();
  });
});
