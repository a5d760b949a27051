import type { ServiceClass } from '../service.ts';

/** The services that come with Bosun, by the names that a config file uses. Each is loaded when it is used. */
export const kinds: Readonly<Record<string, () => Promise<ServiceClass>>> = {
  supervisor: async () => (await import('../supervisor/supervisor.ts')).Supervisor,
};
