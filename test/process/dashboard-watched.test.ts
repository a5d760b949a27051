import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from 'bosun/testing';
import { expect, test } from 'vitest';
import { launchBrowser, noBrowser } from '../support/browser.ts';
import { Child } from '../support/child.ts';

const PATIENCE_MS = 60_000;
const token = 'only-for-this-one-test';

test('profile, heap snapshot, stalls and memory of a daemon that asks for a token', {
  timeout: 240_000,
}, async ({ skip }) => {
  skip(noBrowser, 'there is no Chromium');
  const adminPort = await freePort();
  const apiPort = await freePort();
  const folder = await mkdtemp(join(tmpdir(), 'bosun-dashboard-'));
  const arguments_ = [String(adminPort), String(apiPort), token, folder];
  await using daemon = new Child('dashboard-watched.ts', arguments_);
  await daemon.line('ready in');
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(String(error.stack)));
    await page.goto(`http://127.0.0.1:${adminPort}/`);
    await page.locator('#token').fill(token);
    await page.keyboard.press('Enter');
    await page.locator('body[data-link=live]').waitFor();
    const ask = (path: string) => fetch(`http://127.0.0.1:${apiPort}${path}`);

    await ask('/block?ms=1500');
    const stall = page.locator('#stalls-list li', { hasText: 'api: ' }).first();
    await stall.locator('summary').click();
    await stall.locator('pre', { hasText: 'spin' }).waitFor();
    const requests = async () => {
      await ask('/');
      return await page.locator('#plots .key', { hasText: 'over HTTP' }).textContent();
    };
    await expect.poll(requests, { timeout: PATIENCE_MS, interval: 100 }).toMatch(/^[1-9]/);
    await page.locator('#memory-rows tr').first().waitFor();

    await page.getByRole('button', { name: 'Profile…' }).click();
    await page.getByLabel('Seconds').fill('2');
    await page.keyboard.press('Enter');
    await page.locator('#dialog-outcome', { hasText: 'Under way' }).waitFor();
    for (let i = 0; i < 10; i++) await ask('/block?ms=100');
    await page.locator('#notice', { hasText: 'Profiled for 2 s.' }).waitFor();
    await page.locator('#profile-rows tr', { hasText: 'spin' }).filter({ hasText: 'api' }).first().waitFor();

    await page.getByRole('button', { name: 'Heap snapshot…' }).click();
    await page.getByRole('button', { name: 'Write' }).click();
    const link = page.getByRole('link', { name: /^Download .*\.heapsnapshot$/ });
    await link.waitFor();
    const [download] = await Promise.all([page.waitForEvent('download'), link.click()]);
    const [written = ''] = await readdir(folder);
    expect(download.suggestedFilename()).toBe(written);
    const snapshot = JSON.parse(await readFile(await download.path(), 'utf8'));
    expect(snapshot.snapshot.node_count).toBeGreaterThan(1_000);
    await page.keyboard.press('Escape');

    // It cannot be restarted by what it serves.
    await page.getByRole('button', { name: 'Restart api' }).waitFor();
    expect(await page.getByRole('button', { name: 'Restart admin' }).count()).toBe(0);
    expect(errors).toEqual([]);
  } finally {
    await browser.close();
    await rm(folder, { recursive: true });
  }
});
