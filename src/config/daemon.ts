import { Entrypoint } from '../entrypoint.ts';
import type { Service } from '../service.ts';
import { compose } from './compose.ts';
import type { Config } from './load.ts';
import { Reloader } from './reload.ts';

/**
 * The daemon that a config describes, not started. SIGHUP makes it `load` the config again and apply what has
 * changed.
 *
 * @throws {ConfigError} `ERR_CONFIG`: what constructors threw.
 */
export function createDaemon(config: Config, load: () => Promise<Config>): Entrypoint {
  const instances = compose(config.services);
  const reloader = new Reloader(config, instances, load);
  const services = config.services.map(({ name }) => instances.get(name) as Service);
  return new Entrypoint(services, {
    ...config.settings,
    hooks: { reload: (daemon) => reloader.reload(daemon) },
  });
}
