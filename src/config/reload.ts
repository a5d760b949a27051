import type { Entrypoint } from '../entrypoint.ts';
import { BosunError, toError } from '../errors.ts';
import type { Logger, Service } from '../service.ts';
import { logLevelOf } from '../settings.ts';
import { compose } from './compose.ts';
import { flatten } from './definition.ts';
import type { Config } from './load.ts';
import { ConfigError, renderProblems } from './problems.ts';
import { describePlan, planReload } from './reload-plan.ts';
import { configSettings, type Settings } from './settings.ts';

/** The config was reloaded, but for services that could not be started: they are left out. */
export class ReloadIncompleteError extends BosunError {
  readonly code = 'ERR_RELOAD_INCOMPLETE';
  readonly services: readonly string[];

  constructor(services: readonly string[]) {
    super(`these services could not be started by the reload, and are left out: ${services.join(', ')}`);
    this.services = services;
  }
}

/**
 * Brings a running daemon from one config to the next. A config with problems changes nothing. Services are
 * taken out and put in one by one; one that does not start stays out, and the next reload tries it again.
 */
export class Reloader {
  /** What runs: its settings are those in force, also when the file has others by now. */
  #config: Config;
  readonly #load: () => Promise<Config>;
  readonly #instances: Map<string, Service>;
  #busy: Promise<void> = Promise.resolve();

  /** `instances` are the services of `config`; `load` reads the config anew. */
  constructor(config: Config, instances: ReadonlyMap<string, Service>, load: () => Promise<Config>) {
    this.#config = config;
    this.#instances = new Map(instances);
    this.#load = load;
  }

  /**
   * Reloads, after the reloads before it.
   *
   * @throws {ConfigError} `ERR_CONFIG`: nothing was changed.
   * @throws {ReloadIncompleteError} `ERR_RELOAD_INCOMPLETE`
   */
  reload(entrypoint: Entrypoint): Promise<void> {
    const reloaded = this.#busy.then(() => this.#reload(entrypoint));
    this.#busy = reloaded.catch(() => {});
    return reloaded;
  }

  async #reload(entrypoint: Entrypoint): Promise<void> {
    await entrypoint.start().catch(() => {});
    const { log } = entrypoint;
    try {
      const next = await this.#load();
      if (!entrypoint.ready) return;
      await this.#apply(entrypoint, next);
    } catch (thrown) {
      if (thrown instanceof ConfigError) {
        const { problems } = thrown;
        log.error({ problems }, `the config was not reloaded:\n${renderProblems(problems)}`);
      }
      throw thrown;
    } finally {
      log.info('reload ended');
    }
  }

  async #apply(entrypoint: Entrypoint, next: Config): Promise<void> {
    const { log } = entrypoint;
    const plan = planReload(this.#config, next);
    const kept = new Map(this.#instances);
    const outgoing = this.#config.services.filter(({ name }) => plan.stop.includes(name));
    for (const { name } of flatten(outgoing)) kept.delete(name);
    // Before anything is stopped: a constructor that throws changes nothing.
    const instances = compose(next.services, kept);
    log.info({ plan }, `reload: ${describePlan(plan) ?? 'nothing has changed'}`);
    this.#applySettings(plan.settings, next.settings, log);
    for (const name of plan.stop) {
      await attempt(
        () => entrypoint.remove(name),
        (err) => log.error({ err, service: name }, 'removed, not cleanly'),
      );
    }
    const missing = new Set<string>();
    for (const name of plan.start) {
      const service = instances.get(name) as Service;
      await attempt(
        () => entrypoint.add(service),
        (err) => {
          missing.add(name);
          log.error({ err, service: name }, 'could not be started by the reload; it is left out');
        },
      );
    }
    const services = next.services.filter(({ name }) => !missing.has(name));
    this.#config = { ...this.#config, services };
    this.#instances.clear();
    for (const { name } of flatten(services)) this.#instances.set(name, instances.get(name) as Service);
    if (missing.size > 0) throw new ReloadIncompleteError([...missing]);
  }

  /** The level of the log changes at once; what else has changed stays as it is, until a restart. */
  #applySettings(changed: readonly string[], next: Settings, log: Logger): void {
    const { settings } = this.#config;
    for (const setting of changed) {
      if (setting !== 'log.level') log.warn({ setting }, `a change of ${setting} needs a restart`);
    }
    if (!changed.includes('log.level')) return;
    const { level: _, ...rest } = settings.log ?? {};
    const level = next.log?.level;
    const inForce = { ...settings, log: level === undefined ? rest : { ...rest, level } };
    this.#config = { ...this.#config, settings: inForce };
    log.level = logLevelOf(configSettings.parse(inForce));
  }
}

async function attempt(operation: () => Promise<void>, onError: (error: Error) => void): Promise<void> {
  try {
    await operation();
  } catch (thrown) {
    onError(toError(thrown));
  }
}
