/** The control plane: probes, metrics, an API and a page about the daemon, served off its main thread. */
import { BlockList, isIP, isIPv6 } from 'node:net';
import { z } from 'zod';
import { acquirePlane, type PlaneLease } from '../control/feed.ts';
import { linkSystemd } from '../control/systemd.ts';
import { OptionsError } from '../errors.ts';
import { type Address, formatAddress } from '../net/listen.ts';
import { portNumber, refusePathWithPort } from '../net/listen-options.ts';
import { limitMs, secret } from '../options.ts';
import { type Health, type Scope, Service } from '../service.ts';
import { hostOf } from '../supervisor/run.ts';

const defaults = { host: '127.0.0.1', port: 7171 };

const MIN_TOKEN_LENGTH = 16;
/** Between two attempts to listen where somebody else does; each is twice as long as the one before. */
const MIN_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 30_000;
/** How long the end may wait for the thread; then that is ended as it is. */
const CLOSE_TIMEOUT_MS = 1_000;

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8);
loopback.addAddress('::1', 'ipv6');

const isLoopback = (host: string) =>
  host === 'localhost' || (isIP(host) !== 0 && loopback.check(host, isIPv6(host) ? 'ipv6' : 'ipv4'));

const hostName = () =>
  z
    .string()
    .refine(
      (host) => isIP(host) !== 0 || /^[\w-]+(\.[\w-]+)*$/.test(host),
      'must be a host name or an address, without scheme and port',
    );

const AdminOptions = Service.extend({
  /** Whoever watches the daemon must not be what ends it. */
  critical: z.boolean().default(false),
  /** Any that is not a loopback address takes a `token`. */
  host: hostName().default(defaults.host),
  /** 0 takes any free port. */
  port: portNumber().default(defaults.port),
  /** A Unix socket, in place of host and port; only the daemon's own user may connect. */
  path: z.string().min(1).optional(),
  /** Who has it may see and do all: `Authorization: Bearer ...`. Without it, whoever can connect. */
  token: secret(
    z
      .string()
      .regex(/^[\x21-\x7e]+$/, 'must be made of printable ASCII characters, without spaces')
      .min(MIN_TOKEN_LENGTH, `must be at least ${MIN_TOKEN_LENGTH} characters long`),
  ).optional(),
  /** Further names by which it may be called, as a proxy or a published port makes clients do. */
  hosts: z.array(hostName()).default([]),
  /** One more closes the connection that has been idle for longest. */
  maxConnections: z.int().min(1).default(100),
  /** How long the main loop may be blocked before `/livez` says no. */
  livenessLimitMs: limitMs().default(5_000),
  /** How long the services may take to say how they are, before `/readyz` says no. */
  healthTimeoutMs: limitMs().default(1_000),
  /** Where heap snapshots are written. Default: a folder below the system's for temporary files. */
  snapshotDir: z.string().min(1).optional(),
});

/**
 * Serves the control plane: what the daemon does can be seen, and operated, while its main loop is blocked, too.
 * It is there until all other services have stopped. Under systemd it also tells that how the daemon is doing.
 */
export class AdminService extends AdminOptions {
  #address: Address | undefined;
  /** Why it does not serve. */
  #inUse: string | undefined;

  /** @throws {OptionsError} `ERR_OPTIONS` */
  constructor(...options: ConstructorParameters<typeof AdminOptions>) {
    super(...options);
    const owner = `${new.target.name} "${this.name}"`;
    const { host, path, token } = this.options;
    refusePathWithPort(owner, this.options, defaults);
    if (path !== undefined || token !== undefined || isLoopback(host)) return;
    const rule = 'must be a loopback address, or "token" must be set: anyone could operate the daemon';
    throw new OptionsError(owner, [{ path: ['host'], rule, received: host }]);
  }

  /** @throws {RemoteError} `ERR_LISTEN`; an address in use is tried again until it is free. */
  override async start(scope: Scope): Promise<void> {
    const host = hostOf(scope);
    const { control } = host;
    const plane = acquirePlane(host, (error) => scope.fail(error));
    const ending = new AsyncDisposableStack();
    ending.defer(() => plane.release());
    scope.defer(async () => {
      // Everybody else is to be seen until the end.
      if (control.phase === 'stopping') control.atEnd(() => ending.disposeAsync());
      else await ending.disposeAsync();
    });
    linkSystemd(host, this.options.healthTimeoutMs);
    ending.defer(async () => {
      this.#address = undefined;
      this.#inUse = undefined;
      plane.tell();
      await plane.rpc.call('unlisten', this.name, { timeoutMs: CLOSE_TIMEOUT_MS }).catch(() => {});
    });
    if (await this.#listen(plane, scope)) return;
    scope.log.warn(`${this.#inUse}; it is tried again until it is free`);
    scope.spawn('listen', async (signal) => {
      for (let pauseMs = MIN_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
        await scope.clock.sleep(pauseMs, { signal });
        if (await this.#listen(plane, scope)) break;
      }
      scope.log.info(`serving at ${this.addresses}`);
      plane.tell();
    });
  }

  /** Whether it does; when somebody else listens there, it does not. */
  async #listen({ rpc }: PlaneLease, { signal }: Scope): Promise<boolean> {
    const { host, port, path, token, hosts, snapshotDir } = this.options;
    const { maxConnections, livenessLimitMs, healthTimeoutMs } = this.options;
    const limits = { maxConnections, livenessLimitMs, healthTimeoutMs };
    const options = { server: this.name, host, port, path, token, hosts, snapshotDir, ...limits };
    const { address, inUse } = await rpc.call('listen', options, { signal });
    this.#address = address;
    this.#inUse = inUse;
    return address !== undefined;
  }

  override get addresses(): readonly string[] {
    return this.#address === undefined ? [] : [formatAddress(this.#address, 'http')];
  }

  override health(): Health {
    return this.#inUse === undefined ? { ok: true } : { ok: false, detail: this.#inUse };
  }
}
