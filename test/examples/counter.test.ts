import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { entrypoint } from 'bosun';
import { HttpService } from 'bosun/services/http';
import { type Browser, chromium, type Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { Counter } from '../../examples/catalogue/counter.ts';
import { RawPeer } from '../services/websocket/peers.ts';

const executablePath = '/usr/bin/chromium';
const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
const missing = !existsSync(executablePath) && process.env.CI !== 'true';

class Site extends HttpService {
  protected override async createApplication() {
    const page = await readFile(new URL('../../examples/catalogue/counter.html', import.meta.url));
    return { fetch: () => new Response(page, { headers: { 'content-type': 'text/html' } }) };
  }
}

async function serve(port: number) {
  const site = new Site({ port });
  const counter = new Counter({ server: site, path: '/ws/counter' });
  const daemon = await entrypoint([site, counter], { log: { level: 'silent' }, ownsProcess: false });
  return { daemon, counter, url: site.addresses[0] ?? '' };
}

async function open(browser: Browser, url: string, errors: Error[]): Promise<Page> {
  const page = await browser.newPage();
  page.on('pageerror', (error) => errors.push(error));
  await page.goto(url);
  return page;
}

const shows = async (count: number, pages: readonly Page[]) => {
  const shown = (page: Page) =>
    page.locator('[data-state=connected] #count', { hasText: new RegExp(`^${count}$`) }).waitFor();
  await Promise.all(pages.map(shown));
};

test('every open page shows how many there are', { timeout: 60_000 }, async ({ skip }) => {
  skip(missing, `there is no ${executablePath}`);
  const errors: Error[] = [];
  const before = await serve(0);
  const browser = await chromium.launch({ executablePath, args });
  try {
    const first = await open(browser, before.url, errors);
    await shows(1, [first]);
    const second = await open(browser, before.url, errors);
    await shows(2, [first, second]);
    const third = await open(browser, before.url, errors);
    await shows(3, [first, second, third]);

    // A client that breaks the protocol comes and goes, and the pages stay.
    await using broken = await RawPeer.connect(before.counter.addresses[0] ?? '');
    await shows(4, [first, second, third]);
    broken.socket.write(Buffer.from([0xff, 0xff]));
    await shows(3, [first, second, third]);

    await third.close();
    await shows(2, [first, second]);

    await before.daemon.stop();
    for (const page of [first, second]) {
      await page.locator('[data-state=disconnected] #status', { hasText: 'Disconnected' }).waitFor();
    }
    const after = await serve(Number(new URL(before.url).port));
    await using _daemon = after.daemon;
    await shows(2, [first, second]);
    expect(after.counter.clients.size).toBe(2);
    expect(errors).toEqual([]);
  } finally {
    await browser.close();
    await before.daemon.stop();
  }
});
