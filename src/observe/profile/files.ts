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
  readonly #formats: readonly ProfileFormat[];
  readonly #maxFiles: number;

  /** `maxFiles` counts the files of all formats together, whichever process wrote them. */
  constructor(path: string, formats: readonly ProfileFormat[], maxFiles: number) {
    this.path = path;
    this.#formats = formats;
    this.#maxFiles = maxFiles;
  }

  /**
   * Writes a profile in each format, readable for the process's user alone, and removes what there are too many
   * of. A file has its name only once it is complete.
   *
   * @returns the paths.
   * @throws what the file system says: `ENOSPC`, `EACCES`.
   */
  async write(profile: Profile): Promise<readonly string[]> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    const paths: string[] = [];
    for (const format of this.#formats) {
      const name = `profile-${stampOf(profile.at)}-${process.pid}${extensions[format]}`;
      await this.#writeWhole(name, await profile.encode(format));
      paths.push(join(this.path, name));
    }
    await this.#prune(profile.at);
    return paths;
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

  async #prune(now: number): Promise<void> {
    const names = await readdir(this.path);
    const old = names.filter((name) => finished.test(name)).sort();
    const oldest = `.profile-${stampOf(now - ABANDONED_MS)}`;
    const abandoned = names.filter((name) => unfinished.test(name) && name < oldest);
    for (const name of [...old.slice(0, -this.#maxFiles), ...abandoned]) {
      await rm(join(this.path, name), { force: true });
    }
  }
}
