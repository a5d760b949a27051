import {
  type BosunEvent,
  Entrypoint,
  type EntrypointOptions,
  type Scope,
  Service,
  type StopReason,
  service,
} from 'bosun';
import { FakeClock, settle } from 'bosun/testing';
import { z } from 'zod';

/** What a probe does when it is started and stopped, beside keeping its journal. */
export interface Behaviour {
  start?: (scope: Scope) => Promise<void> | void;
  stop?: (reason: StopReason) => Promise<void> | void;
  waitingFor?: () => readonly string[];
}

const Base = Service.extend({ needs: z.array(service(Service)).default([]) });

type ProbeOptions = Omit<NonNullable<ConstructorParameters<typeof Base>[0]>, 'name'>;

/** A service that records what is done with it, and does what it is told. */
export class Probe extends Base {
  /** `+name` when it has started, `-name` when it is stopped; shared by the probes of a test. */
  readonly journal: string[];
  readonly behaviour: Behaviour;
  readonly stops: StopReason[] = [];
  readonly scopes: Scope[] = [];

  constructor(name: string, options: ProbeOptions = {}, behaviour: Behaviour = {}, journal: string[] = []) {
    super({ name, ...options });
    this.behaviour = behaviour;
    this.journal = journal;
  }

  /** The scope of its last start. */
  get scope(): Scope {
    const scope = this.scopes.at(-1);
    if (scope === undefined) throw new Error(`${this.name} was never started`);
    return scope;
  }

  override async start(scope: Scope): Promise<void> {
    this.scopes.push(scope);
    await this.behaviour.start?.(scope);
    this.journal.push(`+${this.name}`);
  }

  override async stop(reason: StopReason): Promise<void> {
    this.journal.push(`-${this.name}`);
    this.stops.push(reason);
    await this.behaviour.stop?.(reason);
  }

  override waitingFor(): readonly string[] {
    return this.behaviour.waitingFor?.() ?? [];
  }

  /** Lets its present run fail. */
  fail(message = `${this.name} broke`): void {
    this.scope.fail(new Error(message));
  }
}

/** An entrypoint on a fake clock, that leaves the process alone and keeps what it emits. */
export class Bench {
  readonly clock = new FakeClock();
  readonly events: BosunEvent[] = [];
  readonly daemon: Entrypoint;

  constructor(services: readonly Service[], options: EntrypointOptions = {}) {
    this.daemon = new Entrypoint(services, {
      log: { level: 'silent' },
      ownsProcess: false,
      clock: this.clock,
      random: () => 0.5,
      ...options,
    });
    this.daemon.on('*', (event) => this.events.push(event));
  }

  /** The state of a service, in a word. */
  status(name: string): string | undefined {
    return this.daemon.services.find((service) => service.name === name)?.state.status;
  }

  statuses(): Record<string, string> {
    return Object.fromEntries(this.daemon.services.map(({ name, state }) => [name, state.status]));
  }

  /** The types of the events so far, those of services with the name. */
  get trace(): string[] {
    return this.events.map((event) => ('service' in event ? `${event.type} ${event.service}` : event.type));
  }

  /** Stops it, moving the clock on as far as that takes. Gives the milliseconds that took. */
  async stop(): Promise<number> {
    const begun = this.clock.now();
    this.daemon.stop().catch(() => {});
    await this.finish();
    return this.clock.now() - begun;
  }

  /** Moves the clock on until the daemon has ended. */
  async finish(limitMs = 3_600_000): Promise<void> {
    let over = false;
    void this.daemon.closed.then(() => {
      over = true;
    });
    const end = this.clock.now() + limitMs;
    await settle();
    while (!over) {
      const step = this.clock.untilNext;
      if (step === undefined || this.clock.now() + step > end) {
        throw new Error(`the daemon does not end: ${JSON.stringify(this.statuses())}`);
      }
      await this.clock.advance(step);
    }
  }
}

/** A promise with its resolve and reject, and whether it is pending. */
export function barrier(): { promise: Promise<void>; open: () => void; fail: (error: Error) => void } {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  promise.catch(() => {});
  return { promise, open: resolve, fail: reject };
}

/** A start or stop that never ends, whatever it is told. */
export const hang = (): Promise<void> => new Promise(() => {});

/** A start or stop that fails. */
export const fails = (message: string) => async (): Promise<void> => {
  throw new Error(message);
};
