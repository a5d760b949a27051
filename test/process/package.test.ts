import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
let folder: string;
let tarball: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bosun-package-'));
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: root });
  const packed = JSON.parse(stdout.slice(stdout.search(/^\[/m))) as { filename: string }[];
  tarball = join(folder, packed[0]?.filename as string);
}, 120_000);

afterAll(() => rm(folder, { recursive: true }));

test('the package is laid out as its consumers expect', async () => {
  const { messages } = await publint({ pkgDir: root, strict: true });
  const { default: manifest } = await import('../../package.json', { with: { type: 'json' } });
  expect(messages.map((message) => formatMessage(message, manifest))).toEqual([]);
});

test('installed into an empty project, every subpath imports and the command runs', async () => {
  const services = (await readdir(join(root, 'dist/services'), { withFileTypes: true }))
    .filter((entry) => entry.isFile() && entry.name.endsWith('.js'))
    .map((entry) => `bosun/services/${entry.name.replace(/\.js$/, '')}`);
  expect(services).toContain('bosun/services/http');
  await writeFile(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  const imports = ['bosun', 'bosun/policy', 'bosun/testing', ...services];
  await writeFile(
    join(folder, 'main.js'),
    `for (const path of ${JSON.stringify(imports)}) {
       const module = await import(path);
       if (Object.keys(module).length === 0) throw new Error(path + ' exports nothing');
       console.log(path);
     }`,
  );
  await run('npm', ['install', '--no-audit', '--no-fund', tarball], { cwd: folder });
  const { stdout } = await run(process.execPath, ['main.js'], { cwd: folder });
  expect(stdout.trim().split('\n')).toEqual(imports);

  // The control plane's thread and its page are found where they were installed.
  await writeFile(
    join(folder, 'page.js'),
    `import { entrypoint } from 'bosun';
     import { AdminService } from 'bosun/services/admin';
     const admin = new AdminService({ port: 0 });
     await using daemon = await entrypoint([admin], { log: { level: 'silent' }, ownsProcess: false });
     const [url] = admin.addresses;
     for (const path of ['/', '/dashboard/app.js', '/dashboard/style.css', '/dashboard/uplot.js']) {
       console.log(path, (await fetch(url + path)).status);
     }`,
  );
  const page = await run(process.execPath, ['page.js'], { cwd: folder });
  const files = ['/', '/dashboard/app.js', '/dashboard/style.css', '/dashboard/uplot.js'];
  expect(page.stdout.trim().split('\n')).toEqual(files.map((path) => `${path} 200`));

  const help = await run(process.execPath, [join(folder, 'node_modules/.bin/bosun'), '--help'], {
    cwd: folder,
  });
  expect(help.stdout).toContain('bosun run');

  // Its types stand by themselves: those of pg and ws come with it.
  await writeFile(
    join(folder, 'main.ts'),
    `import { service } from 'bosun';
     import { HttpService } from 'bosun/services/http';
     import { PostgresService } from 'bosun/services/postgres';
     import { WebSocketService } from 'bosun/services/websocket';
     class Api extends HttpService.extend({ database: service(PostgresService) }) {
       protected override createApplication() {
         return { fetch: async () => Response.json((await this.options.database.query<{ n: number }>('')).rows[0]?.n) };
       }
     }
     class Rooms extends WebSocketService {}
     const database = new PostgresService({ url: 'embedded' });
     new Rooms({ server: new Api({ database }) });
     // @ts-expect-error the query's rows are typed
     export const text: string | undefined = (await database.query<{ n: number }>('')).rows[0]?.n;`,
  );
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024', '--types', 'node'];
  await run(
    process.execPath,
    [join(root, 'node_modules/.bin/tsc'), ...options, '--lib', 'es2024,esnext.disposable', 'main.ts'],
    {
      cwd: folder,
    },
  );
}, 180_000);
