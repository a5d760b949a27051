/** Says what blocks the main event loop: which function, of which service, and for how long. */
import { z } from 'zod';
import { BEAT_MS } from '../control/heartbeat.ts';
import type { LoopMeter } from '../control/loop-meter.ts';
import { StackProbe } from '../control/stack-probe.ts';
import { StallCounts } from '../control/stall-counts.ts';
import { acquireWatcher } from '../control/watcher.ts';
import { BosunError } from '../errors.ts';
import type { Metric } from '../metrics.ts';
import { durationMs } from '../options.ts';
import { type Scope, Service } from '../service.ts';
import type { Host } from '../supervisor/host.ts';
import { hostOf } from '../supervisor/run.ts';

/** Below that, the beats by which the loop is watched are too far apart. */
const MIN_THRESHOLD_MS = 2.5 * BEAT_MS;
/** While the daemon starts, modules are loaded, which blocks the loop and harms nobody. */
const STARTING_THRESHOLD_MS = 1_000;

/** The entrypoints that are watched. */
const watched = new WeakSet<Host>();

/** A daemon has one main loop, so one stall detector is enough. */
export class StallDetectorExistsError extends BosunError {
  readonly code = 'ERR_STALL_DETECTOR_EXISTS';
}

/**
 * Watches the main event loop from another thread. When it has been blocked for `thresholdMs`, that is logged
 * while it lasts, with the stack that blocks it, and once more when it is over; then `loop-stalled` is emitted.
 * It watches until all other services have stopped.
 */
export class StallDetectorService extends Service.extend({
  /** Whoever watches the daemon must not be what ends it. */
  critical: z.boolean().default(false),
  /**
   * How late the loop's timers have to be; at least 50 ms. Until the daemon is ready, a second at least, as modules
   * are loaded then.
   */
  thresholdMs: durationMs()
    .refine(
      (ms) => ms >= MIN_THRESHOLD_MS && ms !== Number.POSITIVE_INFINITY,
      `must be finite, and at least ${MIN_THRESHOLD_MS} ms`,
    )
    .default(200),
  /** How many reports the control plane keeps. */
  keep: z.int().min(1).max(1_000).default(50),
}) {
  readonly #counts = new StallCounts();
  /** Of the watcher that it has, or had last. */
  #meter: LoopMeter | undefined;

  override async start(scope: Scope): Promise<void> {
    const host = hostOf(scope);
    const { control } = host;
    const { thresholdMs, keep } = this.options;
    if (watched.has(host)) throw new StallDetectorExistsError('the daemon has a stall detector already');
    watched.add(host);
    const { watcher, release } = acquireWatcher(host, (error) => scope.fail(error));
    const { rpc, heartbeat } = watcher;
    const probe = new StackProbe(heartbeat);
    this.#meter = watcher.meter;
    const endings: (() => void)[] = [];
    const close = async () => {
      for (const end of endings) end();
      await rpc.call('unwatchStalls', undefined).catch(() => {});
      probe[Symbol.dispose]();
      watched.delete(host);
      await release();
    };
    scope.defer(async () => {
      // What holds up the end of the others is to be seen, too.
      if (control.phase === 'stopping') control.atEnd(close);
      else await close();
    });
    watcher.offer({
      stalled: (stall) => {
        this.#counts.add(stall);
        host.emit({ type: 'loop-stalled', stall });
      },
    });
    const starting = control.phase === 'starting';
    // At the next beat: what has blocked the loop up to now was part of the start.
    const lowerAtBeat = () => {
      const ending = heartbeat.onBeat(() => {
        ending();
        rpc.tell('setStallThreshold', thresholdMs);
      });
      endings.push(ending);
    };
    endings.push(control.on(({ type }) => type === 'entrypoint-running' && lowerAtBeat()));
    await rpc.call(
      'watchStalls',
      {
        thresholdMs: starting ? Math.max(thresholdMs, STARTING_THRESHOLD_MS) : thresholdMs,
        keep,
        expression: probe.expression,
        service: this.name,
        log: control.logShare,
      },
      { signal: scope.signal },
    );
  }

  override metrics(): readonly Metric[] {
    return [...this.#counts.metrics(), ...(this.#meter?.metrics() ?? [])];
  }
}
