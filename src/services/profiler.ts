/** Where the main loop spends its time, all the time. */
import { z } from 'zod';
import { OptionsError, toError } from '../errors.ts';
import type { Metric } from '../metrics.ts';
import type { Profile, ProfileFolder } from '../observe/profile/index.ts';
import type { ProfileReport } from '../observe/reports.ts';
import { durationMs } from '../options.ts';
import { type Scope, Service } from '../service.ts';
import type { Host } from '../supervisor/host.ts';
import { hostOf } from '../supervisor/run.ts';

/** Together with the highest rate: what V8 has to give up at once, on the event loop, is that much at most. */
const MAX_INTERVAL_MS = 300_000;

/** Owners of samples that are no services. */
const IDLE = '(idle)';
const NONE = '(none)';

const ProfilerOptions = Service.extend({
  critical: z.boolean().default(false),
  /** From the start, or the last report, to the next; from a second to five minutes. */
  intervalMs: durationMs()
    .refine(
      (ms) => ms >= 1_000 && ms <= MAX_INTERVAL_MS,
      'must be from 1000 (a second) to 300000 (five minutes)',
    )
    .default(60_000),
  /**
   * Samples per second; a number that no timer of the daemon keeps step with. Each report holds up the loop for
   * up to two samples.
   */
  hertz: z.int().min(50).max(500).default(167),
  /** How many functions a report has. */
  top: z.int().min(1).max(1_000).default(10),
  /** Where profiles are written to; it is made when it is not there. Default: none are. */
  dir: z.string().min(1).optional(),
  formats: z
    .array(z.enum(['cpuprofile', 'pprof']))
    .min(1)
    .default(['cpuprofile']),
  /** How many files are kept in `dir`, all formats together, at least one of each; the oldest go. */
  maxFiles: z.int().min(1).default(60),
  /** Of the line with the table. */
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'silent']).default('info'),
});

/**
 * Samples what the main thread runs, at a low rate, and reports each interval which functions and which services
 * took the time: as a table in the log, as the event `profile-taken`, and as files, if it is given a folder.
 *
 * ```yaml
 * profiler: { use: profiler, interval: 1m, dir: /var/lib/daemon/profiles }
 * ```
 *
 * A daemon has one at most; a second one fails to start (`ERR_PROFILER_BUSY`).
 */
export class ProfilerService extends ProfilerOptions {
  #reports = 0;
  #fileErrors = 0;
  #pauseMs = 0;
  readonly #samples = new Map<string, number>();

  /** @throws {OptionsError} `ERR_OPTIONS` */
  constructor(...options: ConstructorParameters<typeof ProfilerOptions>) {
    super(...options);
    const { formats, maxFiles } = this.options;
    if (maxFiles >= formats.length) return;
    const rule = 'must be at least the number of formats: what has been written would be removed at once';
    throw new OptionsError(`${new.target.name} "${this.name}"`, [
      { path: ['maxFiles'], rule, received: maxFiles },
    ]);
  }

  /** @throws {ProfilerBusyError} `ERR_PROFILER_BUSY` when another service profiles this process. */
  override async start(scope: Scope): Promise<void> {
    const profiling = await import('../observe/profile/index.ts');
    const { intervalMs, hertz, top, dir, maxFiles, logLevel } = this.options;
    const folder = dir === undefined ? undefined : new profiling.ProfileFolder(dir, maxFiles);
    const profiler = await profiling.ContinuousProfiler.start({ hertz, windowMs: intervalMs });
    scope.defer(() => profiler.stop());
    scope.spawn('reports', async (signal) => {
      for (;;) {
        await scope.clock.sleep(intervalMs, { signal });
        const captures = profiler.collect();
        // A profile on demand at another rate took all of the interval: nothing is known of it.
        if (captures.length === 0) continue;
        const profile = await profiling.Profile.from(captures, scope.clock.now(), hertz);
        const files = folder === undefined ? [] : await this.#write(profile, folder, scope);
        const report = { ...(await profile.report({ top })), files };
        this.#count(profile, report, hostOf(scope));
        const { flame: _, bySelf, byTotal, ...rest } = report;
        const rows = { bySelf: bySelf.map(profiling.rowFields), byTotal: byTotal.map(profiling.rowFields) };
        scope.log[logLevel]({ profile: { ...rest, ...rows } }, profiling.profileTable(report));
        hostOf(scope).emit({ type: 'profile-taken', report });
      }
    });
  }

  override metrics(): readonly Metric[] {
    return [
      {
        name: 'bosun_profiler_samples_total',
        help: `Samples of the main thread by the service whose code ran; ${IDLE}: none ran, ${NONE}: no service.`,
        type: 'counter',
        samples: [...this.#samples].map(([owner, value]) => ({ labels: { owner }, value })),
      },
      {
        name: 'bosun_profiler_reports_total',
        help: 'Reports of the profiler.',
        type: 'counter',
        samples: [{ value: this.#reports }],
      },
      {
        name: 'bosun_profiler_file_errors_total',
        help: 'Files that could not be written.',
        type: 'counter',
        samples: [{ value: this.#fileErrors }],
      },
      {
        name: 'bosun_profiler_pause_seconds_total',
        help: 'How long beginning to sample and taking the samples have held up the main loop.',
        type: 'counter',
        samples: [{ value: this.#pauseMs / 1000 }],
      },
    ];
  }

  /** Each format for itself: when there is no room for a large one, a small one may still fit. */
  async #write(profile: Profile, folder: ProfileFolder, { log }: Scope): Promise<readonly string[]> {
    const files: string[] = [];
    for (const format of this.options.formats) {
      try {
        files.push(await folder.write(profile, format));
      } catch (thrown) {
        this.#fileErrors += 1;
        log.error({ err: toError(thrown) }, `the profile could not be written to ${folder.path} (${format})`);
      }
    }
    return files;
  }

  #count({ pauseMs }: Profile, { byService, idleSamples }: ProfileReport, { control }: Host): void {
    this.#reports += 1;
    this.#pauseMs += pauseMs;
    const add = (owner: string, hits: number) =>
      this.#samples.set(owner, (this.#samples.get(owner) ?? 0) + hits);
    add(IDLE, idleSamples);
    for (const [service, hits] of Object.entries(byService)) add(service || NONE, hits);
    // Services may come and go under ever new names.
    const kept = new Set([
      IDLE,
      NONE,
      ...Object.keys(byService),
      ...control.services().map(({ name }) => name),
    ]);
    for (const owner of this.#samples.keys()) if (!kept.has(owner)) this.#samples.delete(owner);
  }
}
