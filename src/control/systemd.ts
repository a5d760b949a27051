import { hrtime } from 'node:process';
import { systemClock, type Timer } from '../clock.ts';
import type { BosunEvent } from '../events.ts';
import type { Host } from '../supervisor/host.ts';
import { essential } from './essential.ts';
import { askHealth } from './health.ts';
import type { SystemdOptions } from './protocol.ts';
import { acquireWatcher, type Watcher, type WatcherLease } from './watcher.ts';

/** How long changes of the services are gathered before systemd is told: each message is a process. */
const GATHER_MS = 1_000;
/** How long after the end of its thread another one is begun. */
const AGAIN_MS = 1_000;
/** Of the time in which the thread wants to know how the services are, what they may take. */
const HEALTH_SHARE = 0.8;
/** How long the last messages may take. */
const FLUSH_MS = 1_000;

let taken: SystemdOptions | undefined;

/** Reads it once, and takes it out of the environment: children are not to speak for the daemon. */
export function takeSystemdOptions(env: NodeJS.ProcessEnv = process.env): SystemdOptions | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC, WATCHDOG_PID } = env;
  if (socket === undefined || socket === '') return taken;
  const watched = WATCHDOG_PID === undefined || Number(WATCHDOG_PID) === process.pid;
  const watchdogMs = watched && Number(WATCHDOG_USEC) > 0 ? Number(WATCHDOG_USEC) / 1_000 : undefined;
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
  taken = { socket, watchdogMs };
  return taken;
}

const links = new WeakMap<Host, SystemdLink>();

/**
 * Tells systemd how the daemon is doing, if it asked for that, until the daemon has ended: also when the service that
 * began it is not there any more.
 */
export function linkSystemd(host: Host, healthTimeoutMs: number): void {
  const options = takeSystemdOptions();
  if (options === undefined || links.has(host)) return;
  links.set(host, new SystemdLink(host, options, healthTimeoutMs));
}

class SystemdLink {
  readonly #host: Host;
  readonly #options: SystemdOptions;
  readonly #healthTimeoutMs: number;
  #lease: WatcherLease;
  #timer: Timer | undefined;
  #again: Timer | undefined;
  #said = '';
  #warned = false;
  #ended = false;

  constructor(host: Host, options: SystemdOptions, healthTimeoutMs: number) {
    this.#host = host;
    this.#options = options;
    this.#healthTimeoutMs = healthTimeoutMs;
    this.#lease = this.#acquire();
    const { control } = host;
    const unfollow = control.on((event) => this.#onEvent(event));
    control.atEnd(async () => {
      this.#ended = true;
      unfollow();
      this.#timer?.cancel();
      this.#again?.cancel();
      await this.#lease.watcher.rpc.call('notify', [], { timeoutMs: FLUSH_MS }).catch(() => {});
      await this.#lease.release();
    });
  }

  /** The thread, and another one should it end before the daemon does. */
  #acquire(): WatcherLease {
    const lease = acquireWatcher(this.#host, () => {
      // One that cannot run must not be begun again and again.
      this.#again = systemClock.setTimer(() => {
        if (!this.#ended) this.#lease = this.#acquire();
      }, AGAIN_MS);
      this.#again.unref();
    });
    const { watcher } = lease;
    watcher.offer({
      vital: (limitMs) => this.#vital(limitMs),
      notifyFailed: (message) => this.#warn(message),
    });
    watcher.rpc.tell('linkSystemd', this.#options);
    this.#sayPhase(watcher);
    return lease;
  }

  #onEvent(event: BosunEvent): void {
    switch (event.type) {
      case 'entrypoint-running':
        this.#tell('READY=1');
        break;
      case 'entrypoint-stopping':
        this.#tell('STOPPING=1', event.cause);
        break;
      case 'entrypoint-reload-requested':
        // What systemd compares with the time of its own signal.
        this.#tell('RELOADING=1', 'reloading', `MONOTONIC_USEC=${hrtime.bigint() / 1_000n}`);
        break;
      case 'entrypoint-reloaded':
        if (this.#host.control.phase === 'ready') this.#tell('READY=1');
        break;
      default:
        if (!event.type.startsWith('service-') || this.#host.control.phase === 'stopping') return;
        this.#timer ??= systemClock
          .setTimer(() => {
            this.#timer = undefined;
            this.#sayStatus();
          }, GATHER_MS)
          .unref();
    }
  }

  #tell(state: string, what?: string, ...more: readonly string[]): void {
    this.#said = statusText(this.#host, what);
    this.#lease.watcher.rpc.tell('notify', [state, ...more, `STATUS=${this.#said}`]);
  }

  /** To a thread that has just begun: what was told to the one before it may not have come to systemd. */
  #sayPhase({ rpc }: Watcher): void {
    const { phase } = this.#host.control;
    this.#said = statusText(this.#host);
    const state = phase === 'ready' ? ['READY=1'] : phase === 'stopping' ? ['STOPPING=1'] : [];
    rpc.tell('notify', [...state, `STATUS=${this.#said}`]);
  }

  #sayStatus(): void {
    const text = statusText(this.#host);
    if (text === this.#said) return;
    this.#said = text;
    this.#lease.watcher.rpc.tell('notify', [`STATUS=${text}`]);
  }

  /** What is wrong with a service that the daemon cannot do without. */
  async #vital(limitMs: number): Promise<string | undefined> {
    const { control } = this.#host;
    if (control.phase !== 'ready') return undefined;
    const names = new Set([...essential(control.services())].map(({ name }) => name));
    const healthLimitMs = HEALTH_SHARE * Math.min(limitMs, this.#healthTimeoutMs);
    const health = await askHealth(this.#host, healthLimitMs, (name) => names.has(name));
    const [unwell] = Object.entries(health).filter(([, { ok }]) => !ok);
    return unwell && `${unwell[0]}: ${unwell[1].detail ?? 'not well'}`;
  }

  #warn(message: string): void {
    if (this.#warned) return;
    this.#warned = true;
    this.#host.loggerFor('systemd').warn(`systemd cannot be told of the daemon: ${message}`);
  }
}

/** One line for `systemctl status`. */
function statusText({ control }: Host, what?: string): string {
  const services = control.services();
  const running = services.filter(({ state }) => state.status === 'running').length;
  const others = services
    .filter(({ state }) => state.status === 'failed' || state.status === 'backing-off')
    .map(({ name, state }) => `${name} ${state.status}`);
  const count = `${running} of ${services.length} services running`;
  const begin = what ?? (control.phase === 'ready' ? undefined : control.phase);
  const text = `${begin === undefined ? '' : `${begin}; `}${[count, ...others].join(', ')}`;
  return text.replace(/\s+/g, ' ').slice(0, 500);
}
