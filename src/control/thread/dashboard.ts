import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { extname } from 'node:path';
import { packageFile } from '../../package-files.ts';
import { Refusal, type Reply } from './reply.ts';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
};

/** The page's files; there are no others. */
const own = [
  'index.html',
  'style.css',
  'app.js',
  'actions.js',
  'api.js',
  'dialog.js',
  'dom.js',
  'events.js',
  'flame.js',
  'format.js',
  'log.js',
  'memory.js',
  'plots.js',
  'profile.js',
  'services.js',
  'stalls.js',
  'strip.js',
];
const uplot: Readonly<Record<string, string>> = {
  'uplot.js': 'uplot/dist/uPlot.esm.js',
  'uplot.css': 'uplot/dist/uPlot.min.css',
};

/** Nothing but the page's own files and API: what the daemon says can do nothing, should it ever get into the page. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const files = new Map<string, Promise<Buffer>>();

/**
 * One of the dashboard's files, kept in memory. They say nothing of the daemon.
 *
 * @throws {Refusal} 404 `ERR_NOT_FOUND`
 */
export async function dashboardFile(name: string): Promise<Reply> {
  const path = pathOf(name);
  if (path === undefined) throw new Refusal(404, 'ERR_NOT_FOUND', 'the dashboard has no such file');
  let file = files.get(name);
  if (file === undefined) {
    file = readFile(path);
    files.set(name, file);
    // It may be there next time.
    file.catch(() => files.delete(name));
  }
  return {
    headers: { 'content-type': types[extname(name)] as string, 'content-security-policy': policy },
    body: await file,
  };
}

function pathOf(name: string): string | undefined {
  if (own.includes(name)) return packageFile(`control/dashboard/${name}`);
  const library = Object.hasOwn(uplot, name) ? uplot[name] : undefined;
  return library === undefined ? undefined : createRequire(import.meta.url).resolve(library);
}
