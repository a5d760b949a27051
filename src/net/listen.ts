import { lookup } from 'node:dns/promises';
import { lstat, stat, unlink } from 'node:fs/promises';
import { connect, isIP, isIPv6, type Server } from 'node:net';
import { dirname } from 'node:path';
import { toError } from '../errors.ts';
import { ListenError } from './errors.ts';

/** Where something listens: a host and port, or the path of a Unix socket. */
export type Address =
  | { readonly host: string; readonly port: number; readonly path?: undefined }
  | { readonly path: string };

/** Where a server is to listen. With `path` (a Unix socket) host and port are not used. */
export interface ListenOptions {
  readonly host?: string | undefined;
  /** 0 takes any free port. */
  readonly port?: number | undefined;
  readonly path?: string | undefined;
}

/**
 * Makes a server (of net, tls, http or https) listen; resolves, with the address it has got, when it accepts
 * connections. A Unix socket that a killed daemon has left behind is replaced when nobody answers on it.
 *
 * @throws {ListenError} `ERR_LISTEN`
 * @throws `signal.reason` when the signal aborts first; the server is closed then.
 */
export async function listen(server: Server, options: ListenOptions, signal: AbortSignal): Promise<Address> {
  const target = targetOf(options);
  try {
    await listenOnce(server, target, signal);
  } catch (thrown) {
    signal.throwIfAborted();
    const error = toError(thrown);
    if (target.path === undefined || codeOf(error) !== 'EADDRINUSE') throw await listenError(error, target);
    await removeStale(target.path, error);
    await listenOnce(server, target, signal).catch(async (again) => {
      signal.throwIfAborted();
      throw await listenError(toError(again), target);
    });
  }
  const bound = server.address();
  if (bound === null || typeof bound === 'string') return target;
  return { host: bound.address, port: bound.port };
}

/** `127.0.0.1:8080`, `[::1]:8080` or `/run/app.sock`; with a scheme `http://127.0.0.1:8080`, `unix:/run/app.sock`. */
export function formatAddress(address: Address, scheme?: string): string {
  if (address.path !== undefined) return scheme === undefined ? address.path : `unix:${address.path}`;
  const host = isIPv6(address.host) ? `[${address.host}]` : address.host;
  return `${scheme === undefined ? '' : `${scheme}://`}${host}:${address.port}`;
}

/** An error of `listen` or `bind`, as one that says what an operator can do about it. */
export async function listenError(cause: Error, target: Address): Promise<ListenError> {
  const address = formatAddress(target);
  const where =
    target.path === undefined ? `port ${target.port} on ${target.host}` : `the Unix socket ${target.path}`;
  switch (codeOf(cause)) {
    case 'EADDRINUSE':
      return new ListenError(address, 'in-use', `${where} is in use`, { cause });
    case 'EACCES':
    case 'EPERM':
      // libuv reports a missing directory as EACCES.
      if (target.path !== undefined && !(await exists(dirname(target.path)))) {
        const message = `${where} cannot be made: there is no directory ${dirname(target.path)}`;
        return new ListenError(address, 'no-directory', message, { cause });
      }
      return new ListenError(
        address,
        'permission-denied',
        target.path === undefined && target.port < 1024
          ? `${where} is privileged: take one from 1024 on, or grant CAP_NET_BIND_SERVICE`
          : `no permission to listen on ${where}`,
        { cause },
      );
    case 'EADDRNOTAVAIL':
      return new ListenError(address, 'not-available', `${where}: this machine has no such address`, {
        cause,
      });
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new ListenError(address, 'host-not-found', `${where}: the host name cannot be resolved`, {
        cause,
      });
    default:
      return new ListenError(address, 'other', `cannot listen on ${where}: ${cause.message}`, { cause });
  }
}

function targetOf({ host = '127.0.0.1', port = 0, path }: ListenOptions): Address {
  return path === undefined ? { host, port } : { path };
}

async function listenOnce(server: Server, target: Address, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const resolved = await untilAborted(resolveHost(target), signal);
  await new Promise<void>((resolve, reject) => {
    const settle = () => {
      server.off('listening', onListening);
      server.off('error', onError);
      signal.removeEventListener('abort', onAbort);
    };
    const onListening = () => {
      settle();
      resolve();
    };
    const onError = (error: Error) => {
      settle();
      reject(error);
    };
    const onAbort = () => {
      settle();
      server.close();
      reject(signal.reason);
    };
    server.once('listening', onListening);
    server.once('error', onError);
    signal.addEventListener('abort', onAbort, { once: true });
    server.listen(resolved);
  });
}

/** Node looks names up too, but listens afterwards even when the server has been closed meanwhile. */
async function resolveHost(target: Address): Promise<Address> {
  if (target.path !== undefined || isIP(target.host) !== 0) return target;
  return { host: (await lookup(target.host)).address, port: target.port };
}

function untilAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Removes the socket of a daemon that is gone. @throws {ListenError} `ERR_LISTEN` when there is none such. */
export async function removeStale(path: string, cause: Error): Promise<void> {
  const present = await lstat(path).catch(() => undefined);
  if (present !== undefined && !present.isSocket()) {
    throw new ListenError(path, 'path-taken', `${path} exists and is not a socket`, { cause });
  }
  const refusal = await refusalOf(path);
  if (refusal === 'ENOENT') return;
  if (refusal !== 'ECONNREFUSED') throw await listenError(cause, { path });
  await unlink(path).catch(async (error) => {
    if (codeOf(error) !== 'ENOENT') throw await listenError(error, { path });
  });
}

/** The code with which a connection is refused; `undefined` when somebody answers. */
function refusalOf(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once('error', (error) => resolve(codeOf(error)));
  });
}

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;
