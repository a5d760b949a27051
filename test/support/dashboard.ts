import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from 'bosun/testing';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { launchBrowser } from './browser.ts';
import { Child } from './child.ts';

export const HOSTILE = '<img src=x onerror="window.hacked = true">';
/** Of a noisy machine. */
export const PATIENCE_MS = 30_000;
export const pictures = join(tmpdir(), 'bosun-dashboard');

let browser: Browser;
/** What must not happen on the page. */
let errors: string[];

/** The daemon that is shown, of the test that runs. */
export const at = { adminPort: 0, apiPort: 0 } as { adminPort: number; apiPort: number; daemon: Child };

export const start = async () => {
  const child = new Child('dashboard.ts', [String(at.adminPort), String(at.apiPort)]);
  await child.line('ready in');
  return child;
};

/** Asks the daemon for trouble. */
export const ask = (path: string) => fetch(`http://127.0.0.1:${at.apiPort}${path}`);

export async function open(
  options: BrowserContextOptions = {},
  before?: (page: Page) => Promise<unknown>,
): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.on('pageerror', (error) => errors.push(String(error.stack)));
  page.on('console', (message) => {
    if (/content security policy/i.test(message.text())) errors.push(message.text());
  });
  await before?.(page);
  await page.goto(`http://127.0.0.1:${at.adminPort}/`);
  return page;
}

export const live = (page: Page) => page.locator('body[data-link=live]').waitFor();
export const row = (page: Page, name: string) =>
  page.locator('#services-rows tr').filter({ has: page.getByRole('button', { name, exact: true }) });
export const noticed = (page: Page, text: string) => page.locator('#notice', { hasText: text }).waitFor();
export const event = (page: Page, text: string) => page.locator('#events-list li', { hasText: text }).first();
export const line = (page: Page, text: string) => page.locator('#log-list li', { hasText: text }).first();
export const json = (body: unknown, status = 200) => ({
  status,
  contentType: 'application/json',
  body: JSON.stringify(body),
});

export const frame = (name: string, file: string, line: number) => ({ name, file, line, column: 1 });
/** Of a flame graph. */
const node = (name: string, hits: number, children: object[] = []) => ({
  frame: frame(name, `/srv/${name}.ts`, 3),
  hits,
  children,
});
export const report = {
  at: 0,
  durationMs: 1_000,
  hertz: 1_000,
  samples: 1_000,
  idleSamples: 200,
  bySelf: [
    {
      frame: frame(HOSTILE, '/srv/a.ts', 3),
      selfShare: 0.5,
      totalShare: 0.75,
      service: 'api',
      selfHits: 1,
      totalHits: 1,
    },
  ],
  byTotal: [],
  byService: { api: 600, '': 200 },
  flame: node('main', 800, [node('wide', 600, [node('deep', 500)]), node('narrow', 200)]),
  files: [],
};

/** The daemon's state, as the stream tells it. */
export async function statusEvent(): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${at.adminPort}/api/status`);
  return `event: status\ndata: ${await response.text()}\n`;
}

/** Each test has a daemon of its own, and its pages throw nothing. */
export function useDashboard(): void {
  beforeAll(async () => {
    browser = await launchBrowser();
    await mkdir(pictures, { recursive: true });
  });

  afterAll(() => browser.close());

  beforeEach(async () => {
    errors = [];
    at.adminPort = await freePort();
    at.apiPort = await freePort();
    at.daemon = await start();
  });

  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
    await at.daemon[Symbol.asyncDispose]();
    expect(errors).toEqual([]);
  });
}
