import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { extensions, type Profile, type ProfileFormat } from './profile.ts';

/** The names sort by time, and those of two processes in one folder differ. */
const finished = /^profile-.+-\d+(\.cpuprofile|\.pb\.gz)$/;
const unfinished = /^\.profile-.+\.tmp$/;

/** After that long, an unfinished file's writer has died. */
const ABANDONED_MS = 3_600_000;

const stampOf = (at: number): string => new Date(at).toISOString().replaceAll(':', '');

/** A folder of profiles, of which the newest are kept. */
export class ProfileFolder {
  readonly path: string;
  readonly #maxFiles: number;

  /** `maxFiles` counts the files of all formats together, whichever process wrote them. */
  constructor(path: string, maxFiles: number) {
    this.path = path;
    this.#maxFiles = maxFiles;
  }

  /**
   * Makes room, so that there are never too many, and writes a profile, readable for the process's user alone. The
   * file has its name only once it is complete.
   *
   * @returns its path.
   * @throws what the file system says: `ENOSPC`, `EACCES`.
   */
  async write(profile: Profile, format: ProfileFormat): Promise<string> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    await this.#prune(profile.at);
    const name = `profile-${stampOf(profile.at)}-${process.pid}${extensions[format]}`;
    await this.#writeWhole(name, await profile.encode(format));
    return join(this.path, name);
  }

  async #writeWhole(name: string, content: Buffer): Promise<void> {
    const temporary = join(this.path, `.${name}.tmp`);
    try {
      await using file = await open(temporary, 'w', 0o600);
      await file.writeFile(content);
      await rename(temporary, join(this.path, name));
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  /** Leaves room for one. */
  async #prune(now: number): Promise<void> {
    const names = await readdir(this.path);
    const kept = names.filter((name) => finished.test(name)).sort();
    const old = kept.slice(0, Math.max(0, kept.length - this.#maxFiles + 1));
    const oldest = `.profile-${stampOf(now - ABANDONED_MS)}`;
    const abandoned = names.filter((name) => unfinished.test(name) && name < oldest);
    for (const name of [...old, ...abandoned]) {
      await rm(join(this.path, name), { force: true });
    }
  }
}
