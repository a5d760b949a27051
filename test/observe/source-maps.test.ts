import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
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
    for (const file of [
      'node:internal/timers',
      'evalmachine.<anonymous>',
      '',
      'file://nas/a.js',
      'file:///a%2Fb.js',
      'file://%',
    ]) {
      const frame = { name: 'f', file, line: 3, column: 1 };
      await expect(maps.original(frame)).resolves.toBe(frame);
    }
    for (const file of [join(folder, 'gone.js'), join(folder, 'broken.js')]) {
      const frame = { name: 'f', file, line: 1, column: 1 };
      await expect(maps.original(frame)).resolves.toEqual(frame);
    }
  });

  /** The source that a script's map names; the map is in `maps/`, and so is a package.json if there is one. */
  async function sourceOf(map: object, inline = false): Promise<string> {
    const scripts = await mkdtemp(join(folder, 'scripts-'));
    await mkdir(join(scripts, 'maps'));
    const text = JSON.stringify({ version: 3, names: [], mappings: 'AAAA', ...map });
    await writeFile(join(scripts, 'maps/a.js.map'), text);
    await writeFile(join(scripts, 'package.json'), '{}');
    const url = inline ? `data:application/json,${encodeURIComponent(text)}` : 'maps/a.js.map';
    await writeFile(join(scripts, 'a.js'), `1;\n//# sourceMappingURL=${url}\n`);
    const { file } = await new SourceMaps().original({
      name: '',
      file: join(scripts, 'a.js'),
      line: 1,
      column: 1,
    });
    return file.startsWith(scripts) ? file.slice(scripts.length + 1) : file;
  }

  it.each([
    ['relative to the map', { sources: ['../src/a.ts'] }, 'src/a.ts'],
    ['below the root of the map', { sourceRoot: '../root', sources: ['a.ts'] }, 'root/a.ts'],
    ['below a root that ends with a slash', { sourceRoot: '/root/', sources: ['a.ts'] }, '/root/a.ts'],
    ['with a path', { sources: ['/src/a.ts'] }, '/src/a.ts'],
    ['with an escaped path', { sources: ['../s%20c/a.ts'] }, 's c/a.ts'],
    ['with a file URL', { sources: ['file:///src/a.ts'] }, '/src/a.ts'],
    ['on another machine', { sources: ['file://nas/src/a.ts'] }, 'file://nas/src/a.ts'],
    ['on the web', { sources: ['https://example.org/a.ts'] }, 'https://example.org/a.ts'],
    ['of webpack, relative to the package', { sources: ['webpack://app/./src/a.ts?1'] }, 'src/a.ts'],
    ['of webpack without a name', { sources: ['webpack:///./src/a.ts'] }, 'src/a.ts'],
    ['of webpack by the root', { sourceRoot: 'webpack://app', sources: ['src/a.ts'] }, 'src/a.ts'],
    [
      'in a section',
      {
        sections: [
          {
            offset: { line: 0, column: 0 },
            map: { version: 3, names: [], mappings: 'AAAA', sources: ['../a.ts'] },
          },
        ],
      },
      'a.ts',
    ],
    ['that the bundler made', { sources: [null] }, 'a.js'],
    ['that cannot be unescaped', { sources: ['webpack://app/100%.ts'] }, '100%.ts'],
  ])('finds a source %s', async (_, map, expected) => {
    expect(await sourceOf(map)).toBe(expected);
  });

  it('finds a source relative to the script when the map is in it', async () => {
    expect(await sourceOf({ sources: ['./src/a.ts'] }, true)).toBe('src/a.ts');
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
