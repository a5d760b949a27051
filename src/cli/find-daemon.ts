import { readFileSync } from 'node:fs';
import { BosunError, preview, toError } from '../errors.ts';
import { NoDaemonError, type Target } from './client.ts';
import { findConfigFile } from './config-file.ts';

/** Where a daemon is looked for. */
export interface FindOptions {
  /** `--admin`: a URL, or the path of a Unix socket. */
  readonly admin?: string | undefined;
  readonly config?: string | undefined;
  readonly tokenFile?: string | undefined;
}

/** The command line cannot be used. */
export class UsageError extends BosunError {
  readonly code = 'ERR_USAGE';
}

const VARIABLE = 'BOSUN_ADMIN';
const TOKEN_VARIABLE = 'BOSUN_ADMIN_TOKEN';

/**
 * The daemon's control plane: at `--admin`, at `BOSUN_ADMIN`, or where the config's `admin` service serves it. The
 * config's token goes to the config's address alone.
 *
 * @throws {UsageError} `ERR_USAGE`; {ConfigError} `ERR_CONFIG`.
 * @throws {NoDaemonError} `ERR_NO_DAEMON`: there is no saying where it is.
 */
export async function findDaemon(
  { admin, config, tokenFile }: FindOptions,
  env: NodeJS.ProcessEnv,
): Promise<Target> {
  const given = givenToken(tokenFile, env);
  if (admin !== undefined) return { address: parseTarget('--admin', admin), from: '--admin', token: given };
  const variable = env[VARIABLE];
  if (variable && config === undefined) {
    return { address: parseTarget(VARIABLE, variable), from: VARIABLE, token: given };
  }
  const file = findConfigFile(config);
  if (file === undefined) throw nowhere(`there is no config file in ${process.cwd()}`);
  // What reads a config takes longer to load than all else.
  const { adminOf } = await import('./config-admin.ts');
  const found = await adminOf(file, env);
  if ('unloaded' in found) {
    const unseen =
      found.unloaded.length === 0 ? '' : ` (not loaded: ${found.unloaded.map(preview).join(', ')})`;
    throw nowhere(`${file} has no service of the kind "admin", or of a class that extends it${unseen}`);
  }
  if (found.address.path === undefined && found.address.port === 0) {
    throw nowhere(
      `${file} lets its admin service take any free port (port: 0), so that its address is in the daemon's log alone`,
    );
  }
  return { address: found.address, from: file, token: given ?? found.token };
}

function nowhere(why: string): NoDaemonError {
  return new NoDaemonError(`it is not known where the daemon is: neither --admin nor ${VARIABLE} is given, and ${why}.
A daemon is reached through its admin service. In the config:
  services:
    admin: { use: admin, path: /run/my-daemon/admin.sock }
For a daemon that is not run from a config in this directory:
  bosun ps --admin /run/my-daemon/admin.sock      (or --admin http://127.0.0.1:7171, or --config <file>)`);
}

/** `http://127.0.0.1:7171`, `unix:/run/admin.sock`, or the path of a socket. */
function parseTarget(name: string, text: string): Target['address'] {
  const path = /^unix:(.+)$/s.exec(text)?.[1] ?? (/^[a-z]+:\/\//i.test(text) ? undefined : text);
  if (path?.includes('/')) return { path };
  const url = path === undefined && URL.canParse(text) ? new URL(text) : undefined;
  const plain = url?.protocol === 'http:' && url.pathname === '/' && url.search === '' && url.username === '';
  if (url === undefined || !plain) {
    const rule = 'must be http://<host>:<port>, or the path of a Unix socket (with a "/" in it)';
    throw new UsageError(`${name} ${rule}, received ${preview(text)}`);
  }
  return { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(url.port || 80) };
}

function givenToken(file: string | undefined, env: NodeJS.ProcessEnv): string | undefined {
  const token = file === undefined ? env[TOKEN_VARIABLE] || undefined : readToken(file);
  // A header could not carry anything else; the token itself is not shown.
  if (token === undefined || /^[\x21-\x7e]+$/.test(token)) return token;
  const name = file === undefined ? TOKEN_VARIABLE : `--token-file ${preview(file)}`;
  throw new UsageError(`${name} must hold a token: printable ASCII characters, without spaces`);
}

function readToken(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (thrown) {
    throw new UsageError(`--token-file cannot be read: ${toError(thrown).message}`);
  }
}
