/** The control plane: probes, metrics, an API and a page about the daemon, served off its main thread. */
import { BlockList, isIP, isIPv6 } from 'node:net';
import { z } from 'zod';
import { Collector } from '../control/collect.ts';
import { askHealth } from '../control/health.ts';
import { LinePump } from '../control/line-pump.ts';
import { LoopReader } from '../control/loop-figures.ts';
import { operations } from '../control/operations.ts';
import type { AuditEntry } from '../control/protocol.ts';
import { StatusWriter } from '../control/status.ts';
import { linkSystemd } from '../control/systemd.ts';
import { acquireWatcher } from '../control/watcher.ts';
import { OptionsError } from '../errors.ts';
import { type Address, formatAddress } from '../net/listen.ts';
import { portNumber, refusePathWithPort } from '../net/listen-options.ts';
import { limitMs, secret } from '../options.ts';
import { type Logger, type Scope, Service } from '../service.ts';
import { hostOf } from '../supervisor/run.ts';

const defaults = { host: '127.0.0.1', port: 7171 };

const MIN_TOKEN_LENGTH = 16;

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

  /** @throws {RemoteError} `ERR_LISTEN` */
  override async start(scope: Scope): Promise<void> {
    const host = hostOf(scope);
    const { control } = host;
    const lease = acquireWatcher(host, (error) => scope.fail(error));
    const { watcher } = lease;
    const { rpc } = watcher;
    const writer = new StatusWriter(control, this.name);
    const collector = new Collector(host);
    const { host: name, port, path, token, hosts, snapshotDir } = this.options;
    const { maxConnections, livenessLimitMs, healthTimeoutMs } = this.options;
    const reader = new LoopReader(host);
    watcher.offer({
      figures: () => reader.read(),
      health: () => askHealth(host, healthTimeoutMs),
      collect: () => collector.collect(),
      ...operations({ service: this.name, scope, snapshotDir }),
      audit: (entry) => logAction(scope.log, entry),
      refused: (entry) => logRefusal(scope.log, entry),
    });
    linkSystemd(host, healthTimeoutMs);
    let due: NodeJS.Immediate | undefined;
    const tellStatus = () => {
      clearImmediate(due);
      due = undefined;
      rpc.tell('status', writer.status());
    };
    const unfollow = control.on((event) => {
      rpc.tell('event', writer.event(event));
      // A thousand services that start at a time are one change; that the daemon stops is known at once.
      if (event.type.startsWith('entrypoint-')) tellStatus();
      else due ??= setImmediate(tellStatus);
    });
    const pump = new LinePump(control, (lines) => rpc.tell('lines', lines));
    tellStatus();
    scope.defer(async () => {
      // Everybody else is to be seen until the end.
      if (control.phase === 'stopping') control.atEnd(close);
      else await close();
    });
    const close = async () => {
      unfollow();
      clearImmediate(due);
      pump.close();
      collector.close();
      reader[Symbol.dispose]();
      this.#address = undefined;
      await rpc.call('unlisten', undefined).catch(() => {});
      await lease.release();
    };
    this.#address = await rpc.call(
      'listen',
      { host: name, port, path, token, hosts, maxConnections, livenessLimitMs, healthTimeoutMs },
      { signal: scope.signal },
    );
  }

  override get addresses(): readonly string[] {
    return this.#address === undefined ? [] : [formatAddress(this.#address, 'http')];
  }
}

function logAction(log: Logger, entry: AuditEntry): void {
  const { method, path, remote, userAgent, status, durationMs, error } = entry;
  const who = userAgent === undefined ? remote : `${remote} (${userAgent})`;
  const what = `${method} ${path} by ${who}: ${status} in ${durationMs} ms`;
  log.info(entry, error === undefined ? what : `${what}: ${error}`);
}

function logRefusal(log: Logger, entry: AuditEntry): void {
  const { method, path, remote, status, error, unsaid = 0 } = entry;
  const more = unsaid === 0 ? '' : `; ${unsaid} more were refused before it`;
  log.warn(entry, `refused ${method} ${path} by ${remote}: ${status}, ${error}${more}`);
}
