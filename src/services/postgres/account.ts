import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { EmbeddedPostgresError } from './errors.ts';

const execute = promisify(execFile);

/** The user that PostgreSQL's programs run as; `undefined`: the daemon's own. */
export type Account = OtherUser | undefined;

interface OtherUser {
  readonly uid: number;
  readonly gid: number;
  /** Whether it has to enter folders that are closed to it. */
  readonly overridesAccess: boolean;
}

/** What an account has to reach. */
export interface Reach {
  readonly dataDir: string;
  readonly cluster: string;
  /** The server's executable. */
  readonly postgres: string;
}

/**
 * PostgreSQL refuses to run as root. Root's server runs as the owner of the data, or else as the user
 * `postgres`, or else as `nobody`. Where a folder above the data or the executables is closed to that user, as
 * root's home is, it gets the capability to enter it, if the system lets it have it.
 *
 * @throws {EmbeddedPostgresError} `ERR_EMBEDDED_POSTGRES` when there is no such user.
 */
export async function accountFor({ dataDir, cluster, postgres }: Reach): Promise<Account> {
  if (process.getuid?.() !== 0) return undefined;
  const owner = await stat(cluster).catch(() => undefined);
  const { uid, gid } = owner ?? (await unprivilegedUser());
  // A new data folder will be its own.
  const folder = owner === undefined ? dirname(dataDir) : cluster;
  const plain = { uid, gid, overridesAccess: false };
  if (await reaches(plain, folder, postgres)) return plain;
  const overriding = { uid, gid, overridesAccess: true };
  return (await reaches(overriding, folder, postgres)) ? overriding : plain;
}

async function unprivilegedUser(): Promise<{ readonly uid: number; readonly gid: number }> {
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

/** Tries it, as modes alone do not tell (access control lists, a container's missing capabilities). */
async function reaches(account: Account, folder: string, postgres: string): Promise<boolean> {
  const script = 'cd "$1" && exec "$2" --version';
  const { file, args, ids } = commandAs(account, '/bin/sh', ['-c', script, 'sh', folder, postgres]);
  try {
    await execute(file, args, { ...ids, cwd: '/', env: environment() });
    return true;
  } catch {
    return false;
  }
}

/** How a program is started as that user: the `ids` are options of `spawn`. */
export function commandAs(account: Account, program: string, args: readonly string[]) {
  if (account === undefined) return { file: program, args, ids: {} };
  const { uid, gid } = account;
  if (!account.overridesAccess) return { file: program, args, ids: { uid, gid } };
  const ids = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
  // An ambient capability survives exec. PostgreSQL looks for its programs with access(2), which leaves out
  // the capabilities of all but root unless this secure bit is set.
  const capability = [
    '--inh-caps=+dac_override',
    '--ambient-caps=+dac_override',
    '--securebits=+no_setuid_fixup',
  ];
  return { file: 'setpriv', args: [...ids, ...capability, program, ...args], ids: {} };
}

/** Names the other user in a message: most failures are folders that it cannot enter. */
export function describeAccount(account: Account): string {
  if (account === undefined) return '';
  if (account.overridesAccess) return ` (as user ${account.uid} with DAC_OVERRIDE)`;
  return ` (as user ${account.uid}, who needs access to every folder above the data and above node_modules: move them, or give root the program setpriv of util-linux and the capabilities DAC_OVERRIDE and SETPCAP)`;
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
