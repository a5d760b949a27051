import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { MemoryReport } from 'bosun/services/memory-tracer';
import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';
import { Child } from '../support/child.ts';

const fixture = fileURLToPath(new URL('fixtures/memory-leaks.ts', import.meta.url));

interface Reported {
  readonly leaked: number;
  readonly report: MemoryReport;
}

/** Two reports of a program that leaks. */
async function reportsOf(kind: string): Promise<[Reported, Reported]> {
  await using child = new Child('memory-leaks.ts', [kind], ['--expose-gc']);
  const { stdout, stderr, code } = await child.exit;
  expect(stderr).toBe('');
  expect(code).toBe(0);
  const reports = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Reported);
  expect(reports).toHaveLength(2);
  return reports as [Reported, Reported];
}

/** What one leaked item takes, heap and buffers, measured without a tracer. */
async function truthOf(kind: string): Promise<number> {
  await using child = new Child('memory-leaks.ts', [kind, 'truth'], ['--expose-gc']);
  const { stdout } = await child.exit;
  return (JSON.parse(stdout) as { bytes: number }).bytes;
}

async function lineOf(file: string, text: string): Promise<number> {
  return (await readFile(file, 'utf8')).split('\n').findIndex((line) => line.includes(text)) + 1;
}

describe('a leak is the top row of both of the first two reports, with its line and what it takes:', () => {
  test.each([
    ['buffers', 'leaking.push(randomBytes(128))'],
    ['objects', 'leaking.push({ id'],
    ['closures', "emitter.on('tick'"],
    ['timers', 'setTimeout(() => remember(id)'],
    ['map', 'cache.set(key'],
  ])('%s', async (kind, text) => {
    const [reports, truth, line] = await Promise.all([reportsOf(kind), truthOf(kind), lineOf(fixture, text)]);
    for (const { report } of reports) {
      const [top] = report.rows;
      expect(top?.stack).toHaveLength(1);
      expect(top?.stack[0]).toMatchObject({ file: fixture, line });
      expect(top?.bytesDiff).toBeGreaterThan(0);
      expect(top?.objectsDiff).toBeGreaterThan(0);
    }
    const [first, second] = reports;
    const perItem = (second.report.rows[0]?.bytesDiff ?? 0) / (second.leaked - first.leaked);
    expect(perItem).toBeGreaterThan(truth * 0.75);
    expect(perItem).toBeLessThan(truth * 1.25);
  });
});

test('a leak in a minified bundle is reported with the line that its author wrote', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'bosun-memory-'));
  try {
    const source = join(folder, 'source.ts');
    await writeFile(
      source,
      `interface Session { readonly id: number; readonly user: { readonly name: string } }

const sessions: Session[] = [];

export function leak(id: number): void {
  const name: string = 'user ' + (id % 7);
  if (name === '') throw new Error('no name');
  sessions.push({ id, user: { name } });
}
`,
    );
    const bundle = join(folder, 'bundle.mjs');
    await build({
      entryPoints: [source],
      outfile: bundle,
      bundle: true,
      minify: true,
      sourcemap: true,
      format: 'esm',
    });
    const reports = await reportsOf(pathToFileURL(bundle).href);
    for (const { report } of reports) {
      expect(report.rows[0]?.stack[0]).toMatchObject({ file: source, line: 8 });
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
