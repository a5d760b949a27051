import { chmod, link, lstat, mkdtemp, rm, stat, unlink } from 'node:fs/promises';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { toError } from '../errors.ts';
import { ListenError } from './errors.ts';
import { listen, removeStale } from './listen.ts';

/** A Unix socket that somebody listens on. */
export interface PrivateSocket {
  /** Removes its file, unless another has taken its place. */
  remove(): Promise<void>;
}

const STICKY = 0o1000;
const WRITABLE_BY_ANYONE = 0o002;

/**
 * Makes a server listen on a Unix socket that nobody but its owner may connect to, at no moment: it is made in a
 * folder that is closed to others, and then linked to its place. The socket of a daemon that is gone is replaced.
 *
 * @throws {ListenError} `ERR_LISTEN`: also when anyone may put files into the folder.
 * @throws `signal.reason` when the signal aborts first; then nothing is left.
 */
export async function listenPrivately(
  server: Server,
  path: string,
  signal: AbortSignal,
): Promise<PrivateSocket> {
  const folder = dirname(path);
  const { mode } = await stat(folder).catch((error) => {
    throw new ListenError(path, 'no-directory', `${path} cannot be made: there is no directory ${folder}`, {
      cause: error,
    });
  });
  if ((mode & WRITABLE_BY_ANYONE) !== 0 && (mode & STICKY) === 0) {
    const message = `${path} would not be safe: anyone may replace it, as anyone may write to ${folder}`;
    throw new ListenError(path, 'permission-denied', message);
  }
  const closed = await mkdtemp(join(folder, '.b')).catch((error) => {
    throw new ListenError(path, 'permission-denied', `no permission to listen on the Unix socket ${path}`, {
      cause: error,
    });
  });
  try {
    const made = join(closed, 's');
    await listen(server, { path: made }, signal);
    await chmod(made, 0o600);
    const { ino } = await stat(made);
    await link(made, path).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST')
        throw new ListenError(path, 'other', toError(error).message, { cause: error });
      await removeStale(path, Object.assign(new Error('it exists'), { code: 'EADDRINUSE' }));
      await link(made, path);
    });
    const remove = async () => {
      const present = await lstat(path).catch(() => undefined);
      if (present?.ino === ino) await unlink(path).catch(() => {});
    };
    if (signal.aborted) await remove();
    signal.throwIfAborted();
    return { remove };
  } catch (thrown) {
    server.close();
    throw thrown;
  } finally {
    await rm(closed, { recursive: true, force: true });
  }
}
