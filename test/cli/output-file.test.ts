import {
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { OutputError, writeFileWhole } from '../../src/cli/output-file.ts';

let dir: string;
let out: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'bosun-output-'));
  out = join(dir, 'x.heapsnapshot');
});
afterEach(() => rmSync(dir, { recursive: true }));

it('is not written where somebody waits for it: to a file, or through a link, that was there before', async () => {
  writeFileSync(`${out}.partial`, 'waiting', { mode: 0o666 });
  writeFileSync(join(dir, 'theirs'), 'waiting', { mode: 0o666 });
  symlinkSync(join(dir, 'theirs'), out);
  await writeFileWhole(out, (file) => file.writeFile('secret'));
  expect(readFileSync(`${out}.partial`, 'utf8')).toBe('waiting');
  expect(readFileSync(join(dir, 'theirs'), 'utf8')).toBe('waiting');
  expect(lstatSync(out).isFile()).toBe(true);
  expect(statSync(out).mode & 0o777).toBe(0o600);
});

it('is whole when two write it at a time: the last one stays', async () => {
  const first = Promise.withResolvers<void>();
  const second = Promise.withResolvers<void>();
  const slow = writeFileWhole(out, async (file) => {
    await file.writeFile('one');
    first.resolve();
    await second.promise;
    await file.writeFile(' whole');
  });
  await first.promise;
  await writeFileWhole(out, (file) => file.writeFile('two'));
  expect(readFileSync(out, 'utf8')).toBe('two');
  second.resolve();
  await slow;
  expect(readFileSync(out, 'utf8')).toBe('one whole');
  expect(readdirSync(dir)).toEqual(['x.heapsnapshot']);
});

it('fails with one error, and leaves nothing, also when the unfinished file is gone', async () => {
  const failed = writeFileWhole(out, async () => {
    for (const name of readdirSync(dir)) rmSync(join(dir, name));
  });
  await expect(failed).rejects.toThrow(OutputError);
  await expect(failed).rejects.toMatchObject({
    code: 'ERR_OUTPUT',
    message: expect.stringContaining('ENOENT'),
  });
  expect(readdirSync(dir)).toEqual([]);
});
