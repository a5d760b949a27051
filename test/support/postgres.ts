import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from 'bosun';
import pg from 'pg';
import { pino } from 'pino';
import { startEmbeddedServer } from '../../src/services/postgres/embedded.ts';

/** A folder in the system's temporary folder; disposing of it removes it. */
export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'bosun-'));
  // Root's server runs as another user.
  await chmod(path, 0o755);
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 3 }),
  };
}

/** A PostgreSQL server of a test file. */
export interface TestPostgres extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly password: string;
  readonly url: string;
  /** Runs a query on a connection of its own. */
  query(text: string, values?: unknown[]): Promise<pg.QueryResult>;
}

/**
 * Starts an empty PostgreSQL on a free port; takes about half a second. For a test file's `beforeAll`; dispose of
 * it in `afterAll`.
 */
export async function startPostgres(): Promise<TestPostgres> {
  const folder = await temporaryFolder();
  const server = await startEmbeddedServer({
    dataDir: folder.path,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    signal: new AbortController().signal,
    onWait: () => {},
    settings: { fsync: 'off', full_page_writes: 'off' },
  });
  const { host, port, user, password, database } = server;
  const url = `postgres://${user}:${password}@${host}:${port}/${database}`;
  const admin = new pg.Pool({ connectionString: url, max: 1, application_name: 'test' });
  // Its connection may still be about to close when the server stops.
  admin.on('error', () => {});
  return {
    host,
    port,
    password,
    url,
    query: (text, values) => admin.query(text, values),
    async [Symbol.asyncDispose]() {
      await admin.end();
      await server.stop(new AbortController().signal);
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Lets the event loop turn until the condition holds; the test's own time-out bounds it. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}
