/** The control plane: probes, metrics, an API and a page about the daemon, served off its main thread. */
import { z } from 'zod';
import { askHealth } from '../control/health.ts';
import { LinePump } from '../control/line-pump.ts';
import { LoopReader } from '../control/loop-figures.ts';
import { StatusWriter } from '../control/status.ts';
import { acquireWatcher } from '../control/watcher.ts';
import { type Address, formatAddress, portNumber } from '../net/listen.ts';
import { durationMs } from '../options.ts';
import { type Scope, Service } from '../service.ts';
import { hostOf } from '../supervisor/run.ts';

/**
 * Serves the control plane: what the daemon does can be seen, and operated, while its main loop is blocked, too.
 * It is there until all other services have stopped.
 */
export class AdminService extends Service.extend({
  /** Whoever watches the daemon must not be what ends it. */
  critical: z.boolean().default(false),
  host: z.string().default('127.0.0.1'),
  port: portNumber().default(0),
  /** A Unix socket, in place of host and port. */
  path: z.string().min(1).optional(),
  /** How long the main loop may be blocked before `/livez` says no. */
  livenessLimitMs: durationMs().default(5_000),
  /** How long the services may take to say how they are, before `/readyz` says no. */
  healthTimeoutMs: durationMs().default(1_000),
}) {
  #address: Address | undefined;

  override async start(scope: Scope): Promise<void> {
    const host = hostOf(scope);
    const { control } = host;
    const lease = acquireWatcher(host);
    const { watcher } = lease;
    const { rpc } = watcher;
    const writer = new StatusWriter(control);
    const { healthTimeoutMs } = this.options;
    const reader = new LoopReader(host);
    watcher.offer({
      figures: () => reader.read(),
      health: () => askHealth(host, healthTimeoutMs),
      restart: (name) => control.restart(name),
      reload: () => control.reload(),
    });
    void watcher.ended.then((error) => scope.fail(error));
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
      reader[Symbol.dispose]();
      this.#address = undefined;
      await rpc.call('unlisten', undefined).catch(() => {});
      await lease.release();
    };
    const { host: name, port, path, livenessLimitMs } = this.options;
    this.#address = await rpc.call(
      'listen',
      { host: name, port, path, livenessLimitMs, healthTimeoutMs },
      { signal: scope.signal },
    );
  }

  override get addresses(): readonly string[] {
    return this.#address === undefined ? [] : [formatAddress(this.#address, 'http')];
  }
}
