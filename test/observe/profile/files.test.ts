import { chmod, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it, vi } from 'vitest';
import { Profile, ProfileFolder } from '../../../src/observe/profile/index.ts';
import { temporaryFolder } from '../../support/postgres.ts';
import { captureOf } from '../../support/raw-profile.ts';
import { mountSmallDisk } from '../../support/small-disk.ts';

const AT = Date.UTC(2026, 0, 2, 3, 4, 5);
const stamp = '2026-01-02T030405.000Z';

const profileAt = (at: number) => Profile.from([captureOf([{ functions: ['main'], hits: 5 }])], at, 100);

describe('a folder of profiles', () => {
  it('is made, and gets a file of each format that its user alone can read', async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, 'deep', 'profiles');
    const profiles = new ProfileFolder(path, 10);
    const profile = await profileAt(AT);
    const files = [await profiles.write(profile, 'cpuprofile'), await profiles.write(profile, 'pprof')];
    const base = join(path, `profile-${stamp}-${process.pid}`);
    expect(files).toEqual([`${base}.cpuprofile`, `${base}.pb.gz`]);
    expect((await readdir(path)).sort()).toEqual(files.map((file) => file.slice(path.length + 1)));
    for (const file of files) expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    expect(JSON.parse(await readFile(`${base}.cpuprofile`, 'utf8')).samples).toHaveLength(5);
    expect(gunzipSync(await readFile(`${base}.pb.gz`)).length).toBeGreaterThan(0);
  });

  it('keeps the newest files, and what is not its own', async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'profile-of-a-person.txt'), '');
    await writeFile(join(folder.path, '0.cpuprofile'), '');
    const profiles = new ProfileFolder(folder.path, 2);
    for (const minutes of [1, 0, 2, 3]) {
      await profiles.write(await profileAt(AT + minutes * 60_000), 'cpuprofile');
      expect((await readdir(folder.path)).length).toBeLessThanOrEqual(4);
    }
    const ours = (await readdir(folder.path)).filter((name) => name.startsWith('profile-2026'));
    expect(ours.map((name) => name.slice(8, 25)).sort()).toEqual(['2026-01-02T030605', '2026-01-02T030705']);
    expect(await readdir(folder.path)).toEqual(
      expect.arrayContaining(['profile-of-a-person.txt', '0.cpuprofile']),
    );
  });

  it('keeps no more when only some can be written', async () => {
    await using folder = await temporaryFolder();
    const profiles = new ProfileFolder(folder.path, 2);
    for (let minute = 0; minute < 5; minute++) {
      const profile = await profileAt(AT + minute * 60_000);
      await profiles.write(profile, 'pprof');
      vi.spyOn(profile, 'encode').mockRejectedValue(new Error('too large'));
      await expect(profiles.write(profile, 'cpuprofile')).rejects.toThrow('too large');
    }
    expect((await readdir(folder.path)).length).toBeLessThanOrEqual(2);
  });

  it('is rid of what a dead process left unfinished, not of what another one writes now', async () => {
    await using folder = await temporaryFolder();
    const left = '.profile-2026-01-02T020000.000Z-1.cpuprofile.tmp';
    const current = '.profile-2026-01-02T030000.000Z-2.cpuprofile.tmp';
    for (const name of [left, current]) await writeFile(join(folder.path, name), 'x');
    await new ProfileFolder(folder.path, 2).write(await profileAt(AT), 'cpuprofile');
    const names = await readdir(folder.path);
    expect(names).toContain(current);
    expect(names).not.toContain(left);
  });

  it('says when it cannot be written to, and can be again later', async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, 'profiles');
    const profiles = new ProfileFolder(path, 2);
    await writeFile(path, 'in the way');
    await expect(profiles.write(await profileAt(AT), 'cpuprofile')).rejects.toMatchObject({ code: 'EEXIST' });
    await rm(path);
    expect(await readFile(await profiles.write(await profileAt(AT), 'cpuprofile'), 'utf8')).toContain(
      'nodes',
    );
  });

  it('leaves nothing half-written on a full disk', async ({ skip }) => {
    const mounted = await mountSmallDisk(65_536, 0).catch((error: Error) => {
      if (process.env.CI === 'true' && process.getuid?.() === 0) throw error;
      return skip(`it takes root, who may mount a file system: ${error.message}`);
    });
    await using disk = mounted;
    await chmod(disk.path, 0o700);
    await disk.fill();
    const profiles = new ProfileFolder(disk.path, 2);
    await expect(profiles.write(await profileAt(AT), 'cpuprofile')).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await readdir(disk.path)).toEqual(['filler']);
    await disk.free();
    expect(await readFile(await profiles.write(await profileAt(AT), 'cpuprofile'), 'utf8')).toContain(
      'nodes',
    );
  });
});
