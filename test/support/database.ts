import type { EntrypointOptions, Scope } from 'bosun';
import { type PostgresClient, PostgresService, type Queryable } from 'bosun/services/postgres';
import { pino } from 'pino';
import { type TestPostgres, until } from './postgres.ts';

/** For daemons of tests. */
export const quiet: EntrypointOptions = { log: { level: 'silent' }, ownsProcess: false };

/** A service that keeps what it logs. */
export class LoggedPostgres extends PostgresService {
  readonly lines: { readonly level: number; readonly msg: string }[] = [];

  override start(scope: Scope): Promise<void> {
    const write = (line: string) => void this.lines.push(JSON.parse(line));
    return super.start({ ...scope, log: pino({}, { write }) });
  }
}

let names = 0;

type Options = Partial<ConstructorParameters<typeof PostgresService>[0]>;

/** A service for a server, with a name of its own. */
export const databaseOf = (server: TestPostgres, options: Options = {}) =>
  new LoggedPostgres({ url: server.url, name: `database-${process.pid}-${++names}`, ...options });

const pidsWhere = async (server: TestPostgres, database: PostgresService, condition: string) => {
  const { rows } = await server.query(
    `SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND ${condition} ORDER BY pid`,
    [`bosun-${database.name}`],
  );
  return rows.map((row) => row.pid as number);
};

/** The server's processes for a service. */
export const connectionsOf = (server: TestPostgres, database: PostgresService) =>
  pidsWhere(server, database, 'true');

/** Those that run a query whose text begins so. */
export const runningOf = (server: TestPostgres, database: PostgresService, text: string) =>
  pidsWhere(server, database, `state = 'active' AND query LIKE '${text}%'`);

/** Resolves when a service's query that begins so runs on the server. */
export const running = async (server: TestPostgres, database: PostgresService, text: string) =>
  await until(async () => (await runningOf(server, database, text)).length > 0);

/** Ends the connections of a service from the server's side. */
export const terminate = async (server: TestPostgres, database: PostgresService) =>
  await server.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1', [
    `bosun-${database.name}`,
  ]);

export const pidOf = async (client: Queryable | PostgresClient) =>
  (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid as number;

/** Stops a process of the server until it is disposed of. */
export function halt(pid: number): Disposable {
  process.kill(pid, 'SIGSTOP');
  return { [Symbol.dispose]: () => void process.kill(pid, 'SIGCONT') };
}
