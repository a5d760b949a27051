import { readdir, readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { entrypoint } from 'bosun';
import { AdminService } from 'bosun/services/admin';
import { expect, test } from 'vitest';

const folder = new URL('../../src/control/dashboard/', import.meta.url);

async function serve() {
  const admin = new AdminService({ port: 0 });
  const daemon = await entrypoint([admin], { log: { level: 'silent' }, ownsProcess: false });
  return { url: admin.addresses[0] ?? '', [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose]() };
}

test('every file of the page is served, of its type, under a strict policy', async () => {
  await using served = await serve();
  const files = (await readdir(folder)).filter((name) => /\.(html|css|js)$/.test(name));
  const types: Readonly<Record<string, string>> = { '.html': 'html', '.css': 'css', '.js': 'javascript' };
  for (const name of [...files, 'uplot.js', 'uplot.css']) {
    const response = await fetch(`${served.url}/dashboard/${name}`);
    expect([name, response.status]).toEqual([name, 200]);
    expect(response.headers.get('content-type')).toContain(types[extname(name)]);
    expect(response.headers.get('cache-control')).toBe('no-store');
    const policy = response.headers.get('content-security-policy');
    expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'");
    expect(policy).toContain("require-trusted-types-for 'script'; trusted-types 'none'");
    expect(policy).not.toContain('unsafe');
    await response.body?.cancel();
  }
  const page = await fetch(`${served.url}/`);
  expect(await page.text()).toBe(await readFile(new URL('index.html', folder), 'utf8'));
});

test('nothing else is served', async () => {
  await using served = await serve();
  const names = [
    'tsconfig.json',
    '..%2f..%2fservice.ts',
    '%2e%2e%2fhealth.ts',
    'constructor',
    '__proto__',
    '',
  ];
  for (const name of names) {
    const response = await fetch(`${served.url}/dashboard/${name}`);
    // 400: a path that leads out of the folder is none.
    expect([name, response.status]).toEqual([
      name,
      name.startsWith('..') || name.startsWith('%2e') ? 400 : 404,
    ]);
    await response.body?.cancel();
  }
});

/** The colours of a theme: its own, over those of the light one. */
async function themes(): Promise<Readonly<Record<'light' | 'dark', ReadonlyMap<string, string>>>> {
  const style = await readFile(new URL('style.css', folder), 'utf8');
  const blocks = [...style.matchAll(/:root \{([^}]*)\}/g)].map(([, block]) => {
    const colours = [...(block ?? '').matchAll(/(--[\w-]+): (#[0-9a-f]{6});/g)];
    return colours.map(([, name, colour]): [string, string] => [name as string, colour as string]);
  });
  const [light = [], dark = []] = blocks;
  return { light: new Map(light), dark: new Map([...light, ...dark]) };
}

/** https://www.w3.org/TR/WCAG22/#dfn-relative-luminance */
function luminance(colour: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const share = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one: string, other: string): number {
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

const grounds = ['--bg', '--surface', '--raised'];
const texts = ['--ink', '--dim', '--accent', '--ok', '--warn', '--bad'];
const pairs: readonly (readonly [text: string, ground: string, least: number])[] = [
  ...grounds.flatMap((ground) => texts.map((text) => [text, ground, 4.5] as const)),
  ['--on-accent', '--accent', 4.5],
  ['--on-bad', '--bad-fill', 4.5],
  ['--on-warn', '--warn-fill', 4.5],
  ...['own', 'library', 'node', 'native', 'found'].map(
    (kind) => ['--flame-ink', `--flame-${kind}`, 4.5] as const,
  ),
  // What is no text: lines of plots, the edges of fields.
  ['--plot-1', '--surface', 3],
  ['--plot-2', '--surface', 3],
  ['--edge', '--surface', 3],
  ['--edge', '--bg', 3],
];

test.for(['light', 'dark'] as const)(
  'every text of the %s theme stands out from its ground (WCAG AA)',
  async (theme) => {
    const colours = (await themes())[theme];
    const poor = pairs.flatMap(([text, ground, least]) => {
      const ratio = contrast(colours.get(text) as string, colours.get(ground) as string);
      return ratio >= least ? [] : [`${text} on ${ground}: ${ratio.toFixed(2)}`];
    });
    expect(poor).toEqual([]);
  },
);

test('the themes have the same colours, and all of them are checked', async () => {
  const { light, dark } = await themes();
  expect(light.size).toBeGreaterThan(20);
  expect([...dark.keys()].sort()).toEqual([...light.keys()].sort());
  const same = [...light].filter(([name, colour]) => dark.get(name) === colour).map(([name]) => name);
  expect(same.sort()).toEqual(['--on-bad']);
  const checked = new Set(pairs.flat());
  expect([...light.keys()].filter((name) => !checked.has(name))).toEqual(['--line']);
});
