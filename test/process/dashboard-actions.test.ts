import type { Route } from 'playwright-core';
import { describe, expect, test } from 'vitest';
import { noBrowser } from '../support/browser.ts';
import {
  ask,
  at,
  event,
  json,
  live,
  noticed,
  open,
  PATIENCE_MS,
  report,
  row,
  statusEvent,
  useDashboard,
} from '../support/dashboard.ts';

const plan = {
  heapUsedBytes: 2 ** 26,
  estimatedPauseMs: 1_500,
  estimatedBytes: 2 ** 27,
  freeBytes: 2 ** 33,
  refusal: null,
};

describe.skipIf(noBrowser)('what can be done from the dashboard', { timeout: 120_000 }, () => {
  useDashboard();

  test('a service is restarted, once it was asked for twice', async () => {
    const page = await open();
    await live(page);
    const restart = page.getByRole('button', { name: 'Restart sweeper' });
    await restart.click();
    await page.locator('#dialog[open]', { hasText: 'Restart sweeper?' }).waitFor();
    await page.keyboard.press('Escape');
    await page.locator('#dialog[open]').waitFor({ state: 'detached' });
    await restart.click();
    await page.getByRole('button', { name: 'Restart', exact: true }).click();
    await noticed(page, 'sweeper restarted in');
    await row(page, 'sweeper').locator('.some', { hasText: '1' }).waitFor();
    await event(page, 'stops (restart)').waitFor();
    // The escape has done nothing: it was one restart.
    expect(await page.locator('#events-list li', { hasText: 'stops (restart)' }).count()).toBe(1);
  });

  test('a restart that is refused says why, and can be tried again', async () => {
    const page = await open({}, (page) =>
      page.route('**/restart', (route) =>
        route.fulfill(json({ error: 'ERR_X', message: 'it is busy' }, 409)),
      ),
    );
    await live(page);
    await page.getByRole('button', { name: 'Restart store' }).click();
    await page.locator('#dialog', { hasText: 'Meanwhile it is missing to: api' }).waitFor();
    const confirm = page.getByRole('button', { name: 'Restart', exact: true });
    await confirm.click();
    await page.locator('#dialog-outcome', { hasText: 'it is busy' }).waitFor();
    expect(await confirm.isEnabled()).toBe(true);
  });

  test('the config is reloaded', async () => {
    const page = await open();
    await live(page);
    await page.getByRole('button', { name: 'Reload config…' }).click();
    await page.getByRole('button', { name: 'Reload', exact: true }).click();
    await noticed(page, 'The config was read again.');
    await event(page, 'the config is read again').waitFor();
    await event(page, 'the config is in force').waitFor();
  });

  test('a reload that fails is seen', async () => {
    const failed = { type: 'entrypoint-reloaded', at: 1, durationMs: 1, error: { message: 'no such kind' } };
    const page = await open({}, (page) =>
      page.route('**/api/stream', async (route) => {
        const body = `${await statusEvent()}event: event\ndata: ${JSON.stringify(failed)}\n\n`;
        await route.fulfill({ contentType: 'text/event-stream', body });
      }),
    );
    await event(page, 'the reload failed, and the daemon runs on as it was: no such kind').waitFor();
  });

  test('a profile is taken and shown, and can be walked and searched by keyboard', async () => {
    const asked: string[] = [];
    const page = await open({}, (page) =>
      page.route('**/api/profile?*', async (route) => {
        asked.push(`${route.request().method()} ${new URL(route.request().url()).search}`);
        await route.fulfill(json(report));
      }),
    );
    await live(page);
    await page.getByRole('button', { name: 'Profile…' }).click();
    await page.getByLabel('Seconds').fill('2');
    await page.keyboard.press('Enter');
    await noticed(page, 'Profiled for 2 s.');
    expect(asked).toEqual(['POST ?seconds=2&format=report']);
    await page.locator('#profile-summary', { hasText: '20 % idle; of the rest api 75 %' }).waitFor();
    const says = (text: string) => page.locator('#flame-readout', { hasText: text }).waitFor();
    await page.locator('#flame').focus();
    await says('main, /srv/main.ts:3: 100 %, 800 samples');
    for (const [key, text] of [
      ['ArrowDown', 'wide, /srv/wide.ts:3: 75 %'],
      ['ArrowRight', 'narrow, /srv/narrow.ts:3: 25 %'],
      ['ArrowLeft', 'wide'],
      ['ArrowDown', 'deep'],
      ['Enter', 'deep'],
      ['ArrowUp', 'wide'],
      ['Escape', 'main'],
    ] as const) {
      await page.keyboard.press(key);
      await says(text);
    }
    await page.locator('#flame').click({ position: { x: 20, y: 25 } });
    await says('wide');
    await page.getByRole('button', { name: 'Whole profile' }).click();
    await says('main');
    await page.locator('#flame-search').fill('NARROW');
    await says('25 % of all samples');
  });

  test('what is read stays: stacks that are open, and the part of a profile that is looked at', async () => {
    const page = await open();
    await live(page);
    const memory = (text: string) => page.locator('#memory-summary', { hasText: text }).waitFor();
    const profiled = (text: string) => page.locator('#profile-summary', { hasText: text }).waitFor();
    await ask('/report');
    await memory('held the loop up for 1.0 ms');
    await profiled(', 1.0 s at');
    const stack = page.locator('#memory-rows details').first();
    await stack.locator('summary').click();
    await page.locator('#flame').focus();
    await page.keyboard.press('ArrowDown');
    const looked = await page.locator('#flame-readout').textContent();
    await ask('/report');
    await memory('held the loop up for 2.0 ms');
    await stack.locator('pre').waitFor();
    const newer = page.getByRole('button', { name: 'Newer profile' });
    await newer.waitFor();
    expect(await page.locator('#flame-readout').textContent()).toBe(looked);
    await profiled(', 1.0 s at');
    await newer.click();
    await profiled(', 2.0 s at');
    expect(await newer.isVisible()).toBe(false);
    await ask('/report');
    await profiled(', 3.0 s at');
  });

  test('a heap snapshot tells its price first; it is written, and can be downloaded', async () => {
    let refusal: { readonly message: string } | null = { message: 'there is not enough room' };
    const answer = async (route: Route) => {
      const body =
        route.request().method() === 'GET'
          ? { ...plan, refusal }
          : { path: '/tmp/snapshots/a.heapsnapshot', bytes: 2 ** 27, durationMs: 1_234 };
      await route.fulfill(json(body));
    };
    const page = await open({}, async (page) => {
      await page.route('**/api/heap-snapshot', answer);
      await page.route('**/api/heap-snapshot/*', (route) => route.fulfill({ body: '{"snapshot":1}' }));
    });
    await live(page);
    const opener = page.getByRole('button', { name: 'Heap snapshot…' });
    await opener.click();
    await page.locator('#dialog', { hasText: 'there is not enough room' }).waitFor();
    expect(await page.getByRole('button', { name: 'Write' }).isDisabled()).toBe(true);
    await page.keyboard.press('Escape');
    refusal = null;
    await opener.click();
    await page.locator('#dialog', { hasText: 'serves nothing for about 1.5 s' }).waitFor();
    await page.locator('#dialog', { hasText: '64.0 MiB' }).waitFor();
    await page.getByRole('button', { name: 'Write' }).click();
    await page.locator('#dialog-outcome', { hasText: '/tmp/snapshots/a.heapsnapshot' }).waitFor();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'Download a.heapsnapshot' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('a.heapsnapshot');
  });

  test('an answer that comes late changes nothing under the fingers of who asks for something else', async () => {
    const blocked = Promise.withResolvers<void>();
    const came = Promise.withResolvers<void>();
    const posted: string[] = [];
    const page = await open({}, async (page) => {
      await page.route('**/api/heap-snapshot', async (route) => {
        came.resolve();
        await blocked.promise;
        // The page may wait for it no longer.
        await route.fulfill(json(plan)).catch(() => {});
      });
      page.on('request', (request) => {
        if (request.method() === 'POST') posted.push(new URL(request.url()).pathname);
      });
    });
    await live(page);
    await page.getByRole('button', { name: 'Heap snapshot…' }).click();
    await page.locator('#dialog[open]', { hasText: 'Asking…' }).waitFor();
    await came.promise;
    expect(await page.locator('#dialog-confirm').isDisabled()).toBe(true);
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Restart sweeper' }).click();
    blocked.resolve();
    await expect
      .poll(() => page.evaluate('fetch("/api/status").then(({ ok }) => ok)'), { timeout: PATIENCE_MS })
      .toBe(true);
    expect(await page.locator('#dialog-title').textContent()).toBe('Restart sweeper?');
    await page.keyboard.press('Enter');
    await noticed(page, 'sweeper restarted in');
    expect(posted).toEqual(['/api/services/sweeper/restart']);
  });

  test('what a question takes comes into the same dialog, and Enter meanwhile writes nothing', async () => {
    const asked = Promise.withResolvers<void>();
    const posted: string[] = [];
    const page = await open({}, (page) =>
      page.route('**/api/heap-snapshot', async (route) => {
        posted.push(route.request().method());
        await asked.promise;
        await route.fulfill(json(plan));
      }),
    );
    await live(page);
    await page.getByRole('button', { name: 'Heap snapshot…' }).click();
    await page.locator('#dialog[open]', { hasText: 'Asking…' }).waitFor();
    asked.resolve();
    await page.locator('#dialog', { hasText: 'serves nothing for about 1.5 s' }).waitFor();
    expect(await page.evaluate('document.activeElement.id')).toBe('dialog-cancel');
    await page.keyboard.press('Enter');
    await page.locator('#dialog[open]').waitFor({ state: 'detached' });
    expect(posted).toEqual(['GET']);
  });

  test('a restart under way goes on when its dialog is closed, and its end is told', async () => {
    const restarted = Promise.withResolvers<void>();
    const page = await open({}, (page) =>
      page.route('**/store/restart', async (route) => {
        await restarted.promise;
        await route.fulfill(json({ name: 'store', durationMs: 1_234 }));
      }),
    );
    await live(page);
    await page.getByRole('button', { name: 'Restart store' }).click();
    expect(await page.locator('#dialog-cancel').textContent()).toBe('Cancel');
    await page.getByRole('button', { name: 'Restart', exact: true }).click();
    await page.locator('#dialog-outcome', { hasText: 'Under way…' }).waitFor();
    await page.locator('#dialog').getByRole('button', { name: 'Close' }).click();
    await noticed(page, 'The restart of store goes on.');
    await page.getByRole('button', { name: 'Reload config…' }).click();
    restarted.resolve();
    await noticed(page, 'store restarted in 1.2 s.');
    expect(await page.locator('#dialog[open] #dialog-title').textContent()).toBe('Reload the config?');
    expect(await page.locator('#dialog-confirm').isEnabled()).toBe(true);
    await page.locator('#dialog-cancel').click();
    await page.locator('#dialog[open]').waitFor({ state: 'detached' });
    expect(await page.locator('#events-list', { hasText: 'the config is read again' }).count()).toBe(0);
  });

  test('a profile under way is cancelled with its dialog', async () => {
    const page = await open();
    await live(page);
    await page.getByRole('button', { name: 'Profile…' }).click();
    await page.getByLabel('Seconds').fill('300');
    await page.keyboard.press('Enter');
    await page.locator('#dialog-outcome', { hasText: 'Under way…' }).waitFor();
    const failed = page.waitForEvent('requestfailed', (request) => request.url().includes('/api/profile?'));
    await page.locator('#dialog-cancel', { hasText: 'Cancel' }).click();
    await failed;
    // There is one at a time: the first has ended.
    const another = () => fetch(`http://127.0.0.1:${at.adminPort}/api/profile?seconds=1`, { method: 'POST' });
    await expect.poll(async () => (await another()).status, { timeout: PATIENCE_MS }).toBe(200);
  });

  test('all of it works by keyboard alone, and the focus is seen', async () => {
    const page = await open();
    await live(page);
    const focused = () => page.evaluate('document.activeElement.textContent.trim()');
    const tabTo = async (text: string) => {
      for (let i = 0; i < 60; i++) {
        await page.keyboard.press('Tab');
        const outline = 'getComputedStyle(document.activeElement).outlineStyle';
        expect(await page.evaluate(outline)).not.toBe('none');
        if ((await focused()) === text) return;
      }
      throw new Error(`${text} is not reached`);
    };
    await tabTo('Skip to the services');
    await page.keyboard.press('Enter');
    await tabTo('store');
    await page.locator('#services-detail', { hasText: 'needed by api' }).waitFor();
    await page.keyboard.press('Space');
    expect(await page.locator('#log-service').inputValue()).toBe('store');
    await page.keyboard.press('Shift+Tab');
    expect(await focused()).toBe('Pause');
    await page.getByRole('button', { name: 'sweeper', exact: true }).focus();
    await tabTo('Restart');
    await page.keyboard.press('Enter');
    await page.locator('#dialog[open]').waitFor();
    expect(await page.evaluate('document.activeElement.id')).toBe('dialog-confirm');
    await page.keyboard.press('Enter');
    await noticed(page, 'sweeper restarted in');
    expect(await page.evaluate('document.activeElement.ariaLabel')).toBe('Restart sweeper');
  });

  test('it asks for the token, and keeps it for the tab', async () => {
    const tokens: (string | undefined)[] = [];
    const page = await open({}, (page) =>
      page.route('**/api/**', async (route) => {
        const token = route.request().headers().authorization;
        tokens.push(token);
        if (token === 'Bearer the right one') await route.continue();
        else await route.fulfill(json({ error: 'ERR_UNAUTHORIZED', message: 'a token is needed' }, 401));
      }),
    );
    const field = page.locator('#token');
    await field.fill('a wrong one');
    await page.keyboard.press('Enter');
    await expect.poll(() => tokens, { timeout: PATIENCE_MS }).toContain('Bearer a wrong one');
    await page.locator('#dialog[open]').waitFor();
    await expect.poll(() => field.inputValue(), { timeout: PATIENCE_MS }).toBe('');
    await field.fill('the right one');
    await page.keyboard.press('Enter');
    await live(page);
    await page.reload();
    await live(page);
    expect(await page.locator('#dialog[open]').count()).toBe(0);
  });

  test('a token that is asked for waits until the question that is shown is closed', async () => {
    let refuse = false;
    const page = await open({}, (page) =>
      page.route('**/api/stream', async (route) => {
        if (!refuse)
          return await route.fulfill({ contentType: 'text/event-stream', body: await statusEvent() });
        refuse = false;
        await route.fulfill(json({ error: 'ERR_UNAUTHORIZED', message: 'a token is needed' }, 401));
      }),
    );
    await page.getByRole('button', { name: 'Restart sweeper' }).click();
    const refused = page.waitForResponse((response) => response.status() === 401);
    refuse = true;
    await refused;
    await page.evaluate('new Promise((resolve) => setTimeout(resolve))');
    expect(await page.locator('#dialog-title').textContent()).toBe('Restart sweeper?');
    await page.keyboard.press('Escape');
    await page.locator('#token').waitFor();
  });
});
