import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Frame } from '../../src/observe/reports.ts';
import { SourceMaps } from '../../src/observe/source-maps.ts';

const source = `interface Options { readonly size: number }

export function leak({ size }: Options): Buffer {
  return Buffer.alloc(size);
}
`;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bosun-maps-'));
  await writeFile(join(folder, 'leak.ts'), source);
});
afterAll(() => rm(folder, { recursive: true }));

/** Where `Buffer.alloc` stands in the built file. */
async function built(name: string, sourcemap: boolean | 'inline'): Promise<Frame> {
  const outfile = join(folder, name);
  await build({
    entryPoints: [join(folder, 'leak.ts')],
    outfile,
    sourcemap,
    minify: true,
    format: 'esm',
    write: true,
  });
  const { readFile } = await import('node:fs/promises');
  const lines = (await readFile(outfile, 'utf8')).split('\n');
  const line = lines.findIndex((text) => text.includes('Buffer.alloc'));
  const column = (lines[line] as string).indexOf('Buffer.alloc') + 1;
  return { name: 'leak', file: pathToFileURL(outfile).href, line: line + 1, column };
}

describe('SourceMaps', () => {
  it.each([
    ['beside the file', true],
    ['inline', 'inline'],
  ] as const)('finds the author’s line by a map %s', async (_where, sourcemap) => {
    const frame = await built(`${String(sourcemap)}.js`, sourcemap);
    await expect(new SourceMaps().original(frame)).resolves.toMatchObject({
      file: join(folder, 'leak.ts'),
      line: 4,
    });
  });

  it('leaves the position where there is no map, and says the path', async () => {
    const frame = await built('none.js', false);
    await expect(new SourceMaps().original(frame)).resolves.toEqual({
      ...frame,
      file: join(folder, 'none.js'),
    });
  });

  it('leaves frames of Node, of files that are gone, and of broken maps', async () => {
    await writeFile(join(folder, 'broken.js'), '1;\n//# sourceMappingURL=broken.js.map\n');
    await writeFile(join(folder, 'broken.js.map'), '{');
    const maps = new SourceMaps();
    for (const file of ['node:internal/timers', 'evalmachine.<anonymous>', '']) {
      const frame = { name: 'f', file, line: 3, column: 1 };
      await expect(maps.original(frame)).resolves.toBe(frame);
    }
    for (const file of [join(folder, 'gone.js'), join(folder, 'broken.js')]) {
      const frame = { name: 'f', file, line: 1, column: 1 };
      await expect(maps.original(frame)).resolves.toEqual(frame);
    }
  });

  it('keeps the maps that it has room for, and leaves frames of other files', async () => {
    const million = { version: 3, names: [], sources: ['a.ts'], mappings: 'AAAA;'.repeat(200_000) };
    const twoMillion = {
      version: 3,
      sections: Array(2).fill({ offset: { line: 0, column: 0 }, map: million }),
    };
    const maps = new SourceMaps();
    const fileOf = async (name: string, map: object) => {
      const file = join(folder, name);
      await writeFile(file, `1;\n//# sourceMappingURL=${name}.map\n`);
      await writeFile(`${file}.map`, JSON.stringify(map));
      const frame = { name: 'f', file, line: 1, column: 1 };
      return (await maps.original(frame)).file;
    };
    expect(await fileOf('first.js', million)).toBe(join(folder, 'a.ts'));
    expect(await fileOf('too-large.js', twoMillion)).toBe(join(folder, 'too-large.js'));
    expect(await fileOf('second.js', million)).toBe(join(folder, 'a.ts'));
    expect(await fileOf('third.js', million)).toBe(join(folder, 'third.js'));
  });
});
