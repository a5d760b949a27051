import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from 'bosun';
import { freePort } from 'bosun/testing';
import pg from 'pg';
import { pino } from 'pino';
import { type EmbeddedServer, startEmbeddedServer } from '../../src/services/postgres/embedded.ts';
import { temporaryFolder } from './postgres.ts';

/** A PostgreSQL that can be killed and frozen with all of its processes, and comes back where it was. */
export interface MortalPostgres extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** The user whom its files belong to. */
  readonly uid: number;
  /** Runs a query on a connection of its own. */
  query(text: string, values?: unknown[]): Promise<pg.QueryResult>;
  /** kill -9, as by the system when memory runs out; resolves when all its processes are gone. */
  kill(): Promise<void>;
  /** Starts it again after `kill`, on the same port and data; resolves when it takes connections. */
  restart(): Promise<void>;
  /** SIGSTOP: connections stay, new ones are accepted by the kernel, and nothing answers. */
  freeze(): Promise<void>;
  thaw(): void;
}

export async function startMortalPostgres(
  settings: Readonly<Record<string, string>> = {},
): Promise<MortalPostgres> {
  const folder = await temporaryFolder();
  const port = await freePort();
  const launch = () =>
    startEmbeddedServer({
      dataDir: folder.path,
      clock: systemClock,
      log: pino({ level: 'silent' }),
      signal: new AbortController().signal,
      onWait: () => {},
      // A killed process loses nothing that it has written, so there is no need to wait for the disk.
      settings: { fsync: 'off', full_page_writes: 'off', port: String(port), ...settings },
    });
  let server: EmbeddedServer = await launch();
  const { uid } = await stat(join(folder.path, 'cluster'));
  let frozen: readonly number[] = [];
  const { user, password, database } = server;
  const url = `postgres://${user}:${password}@127.0.0.1:${port}/${database}`;
  const admin = new pg.Pool({ connectionString: url, max: 1, application_name: 'test' });
  admin.on('error', () => {});
  /** Stops the parent first, so that it starts no other child meanwhile. */
  const stopAll = async () => {
    signal(server.pid, 'SIGSTOP');
    const pids = [server.pid, ...(await childrenOf(server.pid))];
    for (const pid of pids) signal(pid, 'SIGSTOP');
    return pids;
  };
  const thaw = () => {
    for (const pid of frozen) signal(pid, 'SIGCONT');
    frozen = [];
  };
  return {
    port,
    url,
    uid,
    query: (text, values) => admin.query(text, values),
    async kill() {
      const { exited } = server;
      const pids = await stopAll();
      for (const pid of pids) signal(pid, 'SIGKILL');
      await exited;
    },
    async restart() {
      server = await launch();
    },
    async freeze() {
      frozen = await stopAll();
    },
    thaw,
    async [Symbol.asyncDispose]() {
      thaw();
      await admin.end();
      await server.stop(new AbortController().signal);
      await folder[Symbol.asyncDispose]();
    },
  };
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function childrenOf(parent: number): Promise<number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0);
  const parents = await Promise.all(
    pids.map(async (pid) => {
      const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
      // The name, in brackets, may hold anything; the state and the parent follow it.
      return Number(status.slice(status.lastIndexOf(')') + 2).split(' ')[1]);
    }),
  );
  return pids.filter((_, i) => parents[i] === parent);
}
