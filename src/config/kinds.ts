import type { ServiceClass } from '../service.ts';

/** The services that come with Bosun, by the names that a config file uses. Each is loaded when it is used. */
export const kinds: Readonly<Record<string, () => Promise<ServiceClass>>> = {
  admin: async () => (await import('../services/admin.ts')).AdminService,
  'memory-tracer': async () => (await import('../services/memory-tracer.ts')).MemoryTracerService,
  postgres: async () => (await import('../services/postgres.ts')).PostgresService,
  profiler: async () => (await import('../services/profiler.ts')).ProfilerService,
  'stall-detector': async () => (await import('../services/stall-detector.ts')).StallDetectorService,
  supervisor: async () => (await import('../supervisor/supervisor.ts')).Supervisor,
  'tcp-echo': async () => (await import('../services/tcp-echo.ts')).TcpEchoService,
};
