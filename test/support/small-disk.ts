import { execFile } from 'node:child_process';
import { chown, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { temporaryFolder } from './postgres.ts';

const execute = promisify(execFile);

/** A file system of its own, which can be filled up. */
export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
  /** Leaves no room on it. */
  fill(): Promise<void>;
  free(): Promise<void>;
}

/** Takes the rights of root, and a system that lets it mount. */
export async function mountSmallDisk(bytes: number, uid: number): Promise<SmallDisk> {
  const folder = await temporaryFolder();
  try {
    await execute('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', folder.path]);
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
  await chown(folder.path, uid, 0);
  const filler = join(folder.path, 'filler');
  return {
    path: folder.path,
    async fill() {
      await writeFile(filler, Buffer.alloc(bytes)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOSPC') throw error;
      });
    },
    free: () => rm(filler),
    async [Symbol.asyncDispose]() {
      // Lazily: the server's processes may hold files on it still.
      await execute('umount', ['--lazy', folder.path]);
      await folder[Symbol.asyncDispose]();
    },
  };
}
