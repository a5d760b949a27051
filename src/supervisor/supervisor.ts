import { z } from 'zod';
import { ServiceStopped, ShutdownError } from '../errors.ts';
import { durationMs } from '../options.ts';
import { isService, type Scope, Service, type StopReason } from '../service.ts';
import { Children } from './children.ts';
import type { ServiceInfo } from './host.ts';
import { Life } from './life.ts';
import { supervisionShape } from './restart-policy.ts';
import { checkNames, checkUnused, heldServices } from './tree.ts';

const Base = Service.extend({
  services: z.array(z.custom<Service>(isService, 'must be a service')),
  ...supervisionShape,
  // The services' own timeouts bound it, as in OTP (`shutdown: infinity`).
  startTimeoutMs: durationMs().default(Number.POSITIVE_INFINITY),
  stopTimeoutMs: durationMs().default(Number.POSITIVE_INFINITY),
});

/**
 * A service made of services. It starts them in the order of their dependencies, restarts what fails, and
 * stops them in reverse. When the failures exceed its `intensity` it fails itself, and the supervisor above
 * it decides. It ends when all its services have ended.
 *
 * The rules are OTP's (https://www.erlang.org/doc/system/sup_princ.html), with two differences. The budget
 * is shared by the critical services; one that is not critical has a budget of its own, and stays `failed`
 * when that is spent. And a service with `restart: never` that fails takes its supervisor down, unless it is
 * not critical: OTP's `temporary` is `restart: never` with `critical: false`.
 */
export class Supervisor extends Base {
  readonly #children: Children;
  #life: Life | undefined;

  /**
   * @throws {OptionsError} `ERR_OPTIONS`
   * @throws {DuplicateServiceError} `ERR_DUPLICATE_SERVICE`
   * @throws {DependencyCycleError} `ERR_DEPENDENCY_CYCLE`
   */
  constructor(...args: ConstructorParameters<typeof Base>) {
    super(...args);
    this.#children = new Children(this.options.services, this.options.intensity);
  }

  /** The services directly below, at present. @internal */
  get [heldServices](): readonly Service[] {
    return this.#children.inOrder.map((child) => child.service);
  }

  override async start(scope: Scope): Promise<void> {
    this.#life = new Life(this, this.#children, scope);
    await this.#life.start();
  }

  /** @throws {ShutdownError} `ERR_SHUTDOWN`: what failed to stop or had to be forced. */
  override async stop(reason: StopReason): Promise<void> {
    const errors = await this.#running.stop(reason);
    if (errors.length > 0) throw new ShutdownError(errors);
  }

  override waitingFor(): readonly string[] {
    return this.#children.inOrder
      .filter(({ state }) => state.status === 'starting' || state.status === 'stopping')
      .map((child) => `service "${child.name}"`);
  }

  /** Copies of what is known of every service below, in start order. */
  get services(): ServiceInfo[] {
    return [...this.#children.graph].flatMap(([child, dependencies]) => [
      {
        name: child.name,
        type: child.service.constructor.name,
        state: { ...child.state },
        restarts: child.restarts,
        failures: child.failures,
        stopFailures: child.stopFailures,
        lastStartMs: child.lastStartMs,
        lastStopMs: child.lastStopMs,
        lastError: child.lastError,
        lastErrorAt: child.lastErrorAt,
        critical: child.service.options.critical,
        dependencies: [...dependencies].map((dependency) => dependency.name),
        supervisor: this.name,
        addresses: child.addresses,
      },
      ...(child.service instanceof Supervisor ? child.service.services : []),
    ]);
  }

  /**
   * Adds a service and starts it, when the services it depends on are not being restarted; resolves when it
   * runs. When it cannot start, it is not added. Before the supervisor is started, it is only added.
   *
   * @throws {DuplicateServiceError} `ERR_DUPLICATE_SERVICE`
   * @throws {DependencyCycleError} `ERR_DEPENDENCY_CYCLE`
   * @throws {MissingDependencyError} `ERR_MISSING_DEPENDENCY`
   * @throws {StartError} `ERR_SERVICE_START`
   * @throws {ServiceStopped} `ERR_SERVICE_STOPPED` when the supervisor is stopping.
   */
  async add(service: Service): Promise<void> {
    checkNames([this.#life?.host.root ?? this, service]);
    const child = this.#children.add(service);
    await this.#life?.add(child);
  }

  /**
   * Stops a service and takes it out.
   *
   * @throws {UnknownServiceError} `ERR_UNKNOWN_SERVICE`
   * @throws {ServiceInUseError} `ERR_SERVICE_IN_USE` when others depend on it.
   * @throws {ShutdownError} `ERR_SHUTDOWN` when its stop failed or was forced; it is out all the same.
   * @throws {ServiceStopped} `ERR_SERVICE_STOPPED` when the supervisor is stopping.
   */
  async remove(name: string): Promise<void> {
    const child = this.#children.find(name);
    checkUnused(this.#life?.host.root ?? this, child.service);
    if (this.#life === undefined) this.#children.drop(child);
    else await this.#life.remove(child);
  }

  /**
   * Stops a service, if it runs, and starts it afresh: its budget and its backoff begin anew, and a pause
   * before a restart that is under way ends. `alone` leaves out the services that ask to be restarted with it.
   *
   * @throws {UnknownServiceError} `ERR_UNKNOWN_SERVICE`
   * @throws {StartError} `ERR_SERVICE_START` when it could not start; its restart policy goes on.
   * @throws {ServiceStopped} `ERR_SERVICE_STOPPED` when the supervisor is stopping.
   */
  async restart(name: string, { alone = false }: { readonly alone?: boolean } = {}): Promise<void> {
    await this.#running.restart(this.#children.find(name), alone);
  }

  /** @throws {ServiceStopped} `ERR_SERVICE_STOPPED` */
  get #running(): Life {
    if (this.#life === undefined) throw new ServiceStopped(this.name, 'it has not been started');
    return this.#life;
  }
}
