/** The services that come with Bosun, by the names that a config file uses. Each is loaded when it is used. */
export const kinds: Readonly<Record<string, () => Promise<Readonly<Record<string, unknown>>>>> = {
  postgres: () => import('../services/postgres.ts'),
  'tcp-echo': () => import('../services/tcp-echo.ts'),
  supervisor: () => import('../supervisor/supervisor.ts'),
};
