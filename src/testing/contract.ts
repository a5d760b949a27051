/** What every service has to hold to, as cases for any test runner. */
import assert from 'node:assert/strict';
import { Entrypoint } from '../entrypoint.ts';
import { EntrypointStopped, OptionsError, StopForcedError } from '../errors.ts';
import { type Service, type ServiceClass, servicesIn } from '../service.ts';

/** The service that the contract is tried on. */
export interface ContractSubject {
  /** Makes it anew, with those it depends on in its options; each case takes one. */
  readonly make: () => Service | Promise<Service>;
  /** Options that its class must refuse. */
  readonly badOptions?: readonly unknown[];
  /**
   * Gives the running service something that keeps its stop from ending, such as an open connection. What it
   * returns is called at the end.
   */
  readonly hold?: (service: Service) => Promise<() => unknown>;
}

/** One requirement, in a sentence, and the way to check it; rejects with an `AssertionError`. */
export interface ContractCase {
  readonly name: string;
  readonly run: () => Promise<void>;
}

/**
 * The contract of services: start, readiness, stop, stop twice, abort while starting, hung stop, restart, bad
 * options, and nothing left over.
 *
 * ```ts
 * for (const { name, run } of contractCases({ make: () => new Echo({ port: 0 }) })) test(name, run);
 * ```
 */
export function contractCases({ make, badOptions = [], hold }: ContractSubject): readonly ContractCase[] {
  const started = async (work: (daemon: Entrypoint, service: Service) => Promise<void>) => {
    const before = openResources();
    const service = await make();
    const daemon = daemonOf(service);
    await daemon.start();
    try {
      await work(daemon, service);
    } finally {
      await daemon.stop().catch(() => {});
    }
    await assertNothingLeft(before);
  };
  return [
    {
      name: 'starts, is healthy while it runs, and stops without an error',
      run: () =>
        started(async (daemon, service) => {
          assert.equal(infoOf(daemon, service).state.status, 'running');
          const health = await service.health();
          assert.equal(health.ok, true, health.detail ?? 'it is not healthy');
          await daemon.stop();
          assert.deepEqual(await daemon.closed, { exitCode: 0, errors: [] });
          assert.equal(infoOf(daemon, service).state.status, 'stopped');
        }),
    },
    {
      name: 'can be stopped twice: the second stop is the first',
      run: () =>
        started(async (daemon) => {
          const first = daemon.stop();
          assert.equal(daemon.stop(), first);
          await first;
          assert.equal(daemon.stop(), first);
        }),
    },
    {
      name: 'can be stopped while it starts',
      run: async () => {
        const before = openResources();
        const daemon = daemonOf(await make());
        const starting = new Promise<void>((resolve) => daemon.on('service-starting', () => resolve()));
        const start = daemon.start().then(
          () => undefined,
          (error: unknown) => error,
        );
        await starting;
        await daemon.stop();
        const error = await start;
        assert.ok(
          error === undefined || error instanceof EntrypointStopped,
          `it rejected with ${String(error)}`,
        );
        assert.deepEqual(await daemon.closed, { exitCode: 0, errors: [] });
        await assertNothingLeft(before);
      },
    },
    {
      name: 'ends at once when its stop is forced',
      run: () =>
        started(async (daemon, service) => {
          const release = await hold?.(service);
          await daemon.abort().catch(() => {});
          await release?.();
          const { errors } = await daemon.closed;
          const abandoned = errors.filter((error) => error instanceof StopForcedError && error.abandoned);
          assert.deepEqual(abandoned, [], 'it was left behind');
        }),
    },
    {
      name: 'can be restarted, again and again',
      run: () =>
        started(async (daemon, service) => {
          const { addresses } = infoOf(daemon, service);
          for (let restarts = 1; restarts <= 3; restarts++) {
            await daemon.restart(service.name);
            const info = infoOf(daemon, service);
            assert.equal(info.state.status, 'running');
            assert.equal(info.restarts, restarts);
            assert.equal(info.addresses.length, addresses.length);
          }
        }),
    },
    {
      name: 'can be made again from its own options',
      run: async () => {
        const { options, constructor: Class } = await make();
        assert.deepEqual(new (Class as ServiceClass)(options).options, options);
      },
    },
    ...[undefined, ...badOptions].map((bad, i) => ({
      name:
        i === 0
          ? 'refuses an option that does not exist'
          : `refuses bad options (${i} of ${badOptions.length})`,
      run: async () => {
        const { options, constructor: Class } = await make();
        const given = i === 0 ? { ...options, noSuchOption: true } : bad;
        assert.throws(
          () => new (Class as ServiceClass)(given),
          (error) => error instanceof OptionsError && error.message.startsWith(Class.name),
          'an OptionsError that names the class',
        );
      },
    })),
  ];
}

function daemonOf(service: Service): Entrypoint {
  const services = new Set<Service>();
  const add = (one: Service) => {
    if (services.has(one)) return;
    services.add(one);
    // The services of a supervisor come with it.
    if (!('services' in one)) servicesIn(one.options).forEach(add);
  };
  add(service);
  return new Entrypoint([...services], { log: { level: 'silent' }, ownsProcess: false });
}

function infoOf(daemon: Entrypoint, service: Service) {
  const info = daemon.services.find(({ name }) => name === service.name);
  assert.ok(info, `${service.name} is gone`);
  return info;
}

function openResources(): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const type of process.getActiveResourcesInfo()) counts.set(type, (counts.get(type) ?? 0) + 1);
  return counts;
}

/** Handles take a few turns to close; sockets of a peer's as well. */
async function assertNothingLeft(before: ReadonlyMap<string, number>): Promise<void> {
  let left: string[] = [];
  for (let turn = 0; turn < 200; turn++) {
    left = [...openResources()].flatMap(([type, count]) => {
      const more = count - (before.get(type) ?? 0);
      return more > 0 && type !== 'Immediate' ? [`${more} ${type}`] : [];
    });
    if (left.length === 0) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(left, [], 'it leaves something open');
}
