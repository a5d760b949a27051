/** Work that is repeated at an interval. */
import { z } from 'zod';
import { toError } from '../errors.ts';
import { counter, gauge, type Metric } from '../metrics.ts';
import { durationMs } from '../options.ts';
import { type Scope, Service } from '../service.ts';

/** What a periodic service has done since it was constructed, restarts included. */
export interface PeriodicStatistics {
  /** Calls that have ended, those that failed included. */
  readonly runs: number;
  readonly errors: number;
  /** When the last call began, in milliseconds since the epoch. */
  readonly lastRunAt: number | undefined;
  /** How long the last call that has ended took. */
  readonly lastDurationMs: number | undefined;
  /** Whether a call is under way. */
  readonly running: boolean;
}

/**
 * Calls `callback` at an interval, never twice at a time: the interval counts from the end of a call to the
 * beginning of the next (as aiomisc's PeriodicService does).
 *
 * ```ts
 * class Sweeper extends PeriodicService.extend({ database: service(PostgresService) }) {
 *   protected override async callback() {
 *     await this.options.database.query('DELETE FROM sessions WHERE expires_at < now()');
 *   }
 * }
 * new Sweeper({ database, intervalMs: 60_000 });
 * ```
 */
export abstract class PeriodicService extends Service.extend({
  /** From the end of one call to the next; 0: at once, in a later turn; `Infinity`: there is only one call. */
  intervalMs: durationMs(),
  /** From the start of the service to the first call; the start does not wait for it. */
  initialDelayMs: durationMs().default(0),
  /** An error of the callback is logged and the next call comes as ever, or it is a failure of the service. */
  onError: z.enum(['log', 'fail']).default('log'),
}) {
  #runs = 0;
  #errors = 0;
  #lastRunAt: number | undefined;
  #lastDurationMs: number | undefined;
  #running = false;

  /**
   * The work. `signal` aborts when the service stops, which waits for the call to end. `scope.finish()` ends
   * the service, `scope.fail(error)` fails it whatever `onError` says.
   */
  protected abstract callback(signal: AbortSignal, scope: Scope): unknown;

  override start(scope: Scope): Promise<void> | void {
    scope.spawn('callback', async (signal) => {
      await scope.clock.sleep(this.options.initialDelayMs, { signal });
      for (;;) {
        await this.#call(signal, scope);
        await scope.clock.sleep(this.options.intervalMs, { signal });
      }
    });
  }

  /** A copy. */
  get statistics(): PeriodicStatistics {
    return {
      runs: this.#runs,
      errors: this.#errors,
      lastRunAt: this.#lastRunAt,
      lastDurationMs: this.#lastDurationMs,
      running: this.#running,
    };
  }

  override metrics(): readonly Metric[] {
    const { runs, errors, lastRunAt, lastDurationMs, running } = this.statistics;
    const seconds = (ms: number | undefined) => (ms === undefined ? [] : [{ value: ms / 1_000 }]);
    return [
      counter('bosun_periodic_runs_total', 'Calls that have ended, failed ones included.', runs),
      counter('bosun_periodic_errors_total', 'Calls that failed.', errors),
      gauge('bosun_periodic_running', 'Whether a call is under way.', running ? 1 : 0),
      gauge(
        'bosun_periodic_last_run_time_seconds',
        'When the last call began, since the epoch.',
        seconds(lastRunAt),
      ),
      gauge(
        'bosun_periodic_last_duration_seconds',
        'How long the last call that has ended took.',
        seconds(lastDurationMs),
      ),
    ];
  }

  async #call(signal: AbortSignal, scope: Scope): Promise<void> {
    const begun = scope.clock.now();
    this.#lastRunAt = begun;
    this.#running = true;
    try {
      await this.callback(signal, scope);
    } catch (thrown) {
      // What ends because it was told to is no error.
      if (signal.aborted) return;
      this.#errors += 1;
      if (this.options.onError === 'fail') throw thrown;
      scope.log.error({ err: toError(thrown) }, 'the callback failed');
    } finally {
      this.#running = false;
      this.#runs += 1;
      this.#lastDurationMs = scope.clock.now() - begun;
    }
  }
}
