import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Worker } from 'node:worker_threads';
import { transform } from 'esbuild';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { originalFrames } from '../../src/observe/original-frames.ts';
import type { Frame } from '../../src/observe/reports.ts';
import { SourceMaps } from '../../src/observe/source-maps.ts';
import { workerEntry } from '../../src/package-files.ts';
import { temporaryFolder } from '../support/postgres.ts';

vi.mock('../../src/package-files.ts', { spy: true });

let threads = 0;
const onWorker = (_: Worker) => {
  threads += 1;
};
beforeEach(() => {
  threads = 0;
  process.on('worker', onWorker);
});
afterEach(() => {
  process.off('worker', onWorker);
});

/** Frames in a built file: each line of it. */
async function build(folder: string, sourcemap: 'inline' | false): Promise<Frame[]> {
  const source = `${'\n'.repeat(40)}export const one = (n: number): number => n + 1;\nexport const two = 2;\n`;
  const options = { loader: 'ts', format: 'cjs', sourcefile: 'author.ts', sourcemap } as const;
  const path = join(folder, `built-${sourcemap}.cjs`);
  await writeFile(path, (await transform(source, options)).code);
  const lines = (await readFile(path, 'utf8')).split('\n');
  return lines.map((_, i) => ({ name: `f${i}`, file: pathToFileURL(path).href, line: i + 1, column: 1 }));
}

describe('the original frames', () => {
  it('are those that the source maps tell, looked up in a thread', async () => {
    await using folder = await temporaryFolder();
    const frames = await build(folder.path, 'inline');
    const originals = await originalFrames(frames);
    const maps = new SourceMaps();
    expect(originals).toEqual(await Promise.all(frames.map((frame) => maps.original(frame))));
    expect(originals).toContainEqual(
      expect.objectContaining({ file: join(folder.path, 'author.ts'), line: 41 }),
    );
    expect(threads).toBe(1);
  });

  it('are looked up once', async () => {
    await using folder = await temporaryFolder();
    const mapped = await build(folder.path, 'inline');
    const plain = await build(folder.path, false);
    const [first, ...others] = [...mapped.slice(0, 4), ...plain] as [Frame, ...Frame[]];
    const originals = await originalFrames(others);
    expect(await originalFrames(others)).toEqual(originals);
    expect(threads).toBe(1);
    // Another place of a file without a map needs no look, one of a file with a map does.
    expect(await originalFrames([{ ...(plain[0] as Frame), column: 9 }])).toMatchObject([{ column: 9 }]);
    expect(threads).toBe(1);
    await originalFrames([first]);
    expect(threads).toBe(2);
  });

  it('of Node and of files that are gone stay as they are', async () => {
    const frames = ['node:internal/timers', 'evalmachine.<anonymous>', '', '/gone.js'].map((file) => ({
      name: 'f',
      file,
      line: 3,
      column: 1,
    }));
    expect(await originalFrames(frames)).toEqual(frames);
  });

  it('stay as they are when there can be no thread, and are looked up the next time', async () => {
    await using folder = await temporaryFolder();
    const frames = await build(folder.path, 'inline');
    const file = join(folder.path, 'built-inline.cjs');
    for (const entry of [join(folder.path, 'gone.js'), 'not absolute']) {
      vi.mocked(workerEntry).mockReturnValueOnce(entry);
      expect(await originalFrames(frames)).toEqual(frames.map((frame) => ({ ...frame, file })));
    }
    expect((await originalFrames(frames)).map((frame) => frame.file)).toContain(
      join(folder.path, 'author.ts'),
    );
  });
});
