import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Status } from '../../src/control/shown.ts';
import { noBrowser } from '../support/browser.ts';
import {
  ask,
  at,
  event,
  frame,
  HOSTILE,
  json,
  line,
  live,
  open,
  PATIENCE_MS,
  pictures,
  report,
  row,
  start,
  statusEvent,
  useDashboard,
} from '../support/dashboard.ts';

describe.skipIf(noBrowser)('the dashboard', { timeout: 120_000 }, () => {
  useDashboard();

  test('shows the tree of services, their states and what they depend on', async () => {
    const page = await open();
    await live(page);
    expect(await page.locator('#services-rows .name').allTextContents()).toEqual([
      'admin',
      'store',
      'api',
      'jobs',
      'sweeper',
    ]);
    await row(page, 'sweeper').locator('td[data-depth="1"]', { hasText: 'in jobs:' }).waitFor();
    await row(page, 'api').getByText(`http://127.0.0.1:${at.apiPort}`).waitFor();
    await page.getByRole('button', { name: 'api', exact: true }).focus();
    await page.locator('#services-detail', { hasText: 'depends on store' }).waitFor();
    await page.locator('tr.needed', { hasText: 'store' }).waitFor();
    await page.locator('#plots b', { hasText: 'MiB' }).first().waitFor();
    for (const [id, kind] of [
      ['stalls', 'stall-detector'],
      ['memory', 'memory-tracer'],
      ['profile', 'profiler'],
    ]) {
      await page.locator(`#${id}-empty`, { hasText: `use: ${kind}` }).waitFor();
    }
  });

  test('a failure is seen: in the tree, among what the supervisor did, in the log', async () => {
    const page = await open();
    await live(page);
    await ask('/fail?text=the+disk+is+full');
    await row(page, 'store').locator('.error', { hasText: 'the disk is full' }).waitFor();
    await row(page, 'store').locator('.some', { hasText: '1' }).waitFor();
    await event(page, 'failed (scope.fail): the disk is full').waitFor();
    await event(page, 'is restarted in').waitFor();
    await line(page, 'the disk is full').waitFor();
  });

  test('nothing that the daemon says becomes more than text', async () => {
    const page = await open({}, async (page) => {
      await page.route('**/api/profile', (route) => route.fulfill(json(report)));
      const memory = { objects: 1, objectsDiff: 1, bytes: 1, bytesDiff: 1, exact: false };
      const stack = [frame(HOSTILE, HOSTILE, 1), frame(HOSTILE, '', 0)];
      await page.route('**/api/stream', async (route) => {
        const response = await fetch(`http://127.0.0.1:${at.adminPort}/api/status`);
        const status = (await response.json()) as Status;
        const [service] = status.services;
        const told = {
          status: {
            ...status,
            name: HOSTILE,
            host: HOSTILE,
            services: [
              {
                ...service,
                servesControl: false,
                name: HOSTILE,
                type: HOSTILE,
                dependencies: [HOSTILE],
                addresses: [HOSTILE],
                lastError: { name: HOSTILE, message: HOSTILE, code: HOSTILE, at: 1 },
                health: { ok: false, detail: HOSTILE },
              },
            ],
          },
          event: {
            type: 'service-failed',
            service: HOSTILE,
            origin: HOSTILE,
            error: { message: HOSTILE },
            at: 1,
          },
          log: {
            level: 50,
            time: 1,
            service: HOSTILE,
            msg: HOSTILE,
            [HOSTILE]: HOSTILE,
            err: { stack: HOSTILE },
          },
          stall: { id: 1, beganAt: 1, durationMs: 1, over: true, service: HOSTILE, stack },
          memory: { at: 1, rows: [{ ...memory, stack }], samplingBytes: 1, pauseMs: 1 },
          leak: { at: 1, mibPerHour: 1, confidence: 1, suspect: { ...memory, stack } },
          profile: { at: 1 },
          snapshot: { path: HOSTILE },
        };
        const body = Object.entries(told).map(
          ([kind, data]) => `event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`,
        );
        await route.fulfill({ contentType: 'text/event-stream', body: body.join('') });
      });
    });
    const places = [
      '#name',
      '#facts',
      '#services-rows',
      '#events-list',
      '#log-list',
      '#stalls-list',
      '#memory-leak',
      '#memory-rows',
      '#profile-rows',
      '#log-service',
    ];
    for (const place of places) {
      await page.locator(place).filter({ hasText: HOSTILE }).first().waitFor({ state: 'attached' });
    }
    expect(await page.locator('#memory-rows').textContent()).toContain(':~1');
    await page.getByRole('button', { name: `Restart ${HOSTILE}` }).click();
    await page.locator('#dialog-title', { hasText: HOSTILE }).waitFor();
    for (const place of ['#log-list .what', '#log-list .who', '#events-list .what', '#stalls-list .what']) {
      const bidi = await page.evaluate(`getComputedStyle(document.querySelector('${place}')).unicodeBidi`);
      expect([place, bidi]).toEqual([place, 'isolate']);
    }
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.evaluate('window.hacked')).toBeUndefined();
  });

  test('a blocked loop is told at once, with how long; and its end', async () => {
    const page = await open();
    await live(page);
    const blocked = ask('/block?ms=5000');
    await page.locator('body[data-link=blocked]').waitFor();
    await page.locator('#strip-text', { hasText: /blocked for \d+(\.\d)? m?s/ }).waitFor();
    await page.locator('#announce', { hasText: 'The main loop is blocked' }).waitFor({ state: 'attached' });
    expect(await page.title()).toMatch(/^Blocked: /);
    await page.screenshot({ path: join(pictures, 'blocked.png') });
    await blocked;
    await live(page);
    await page.locator('#announce', { hasText: 'answers again' }).waitFor({ state: 'attached' });
  });

  test('a daemon that is gone is said to be; its last words stay, and its successor is picked up', async () => {
    const page = await open();
    await live(page);
    await ask('/error?text=last+words');
    await line(page, 'last words').waitFor();
    await at.daemon[Symbol.asyncDispose]();
    await page.locator('body[data-link=gone]').waitFor();
    await page.locator('#strip-text', { hasText: 'The daemon does not answer' }).waitFor();
    expect(await page.title()).toMatch(/^Gone: /);
    await page.screenshot({ path: join(pictures, 'gone.png') });
    await page.getByRole('button', { name: 'Restart store' }).click();
    await page.getByRole('button', { name: 'Restart', exact: true }).click();
    await page.locator('#dialog-outcome', { hasText: 'The daemon does not answer.' }).waitFor();
    await page.keyboard.press('Escape');
    at.daemon = await start();
    await live(page);
    await line(page, 'last words').waitFor();
    await line(page, 'from here on, another process').waitFor();
    await event(page, 'from here on, another process').waitFor();
  });

  test('“Try now” waits no longer, and however often nobody answers, the plots keep what they had', async () => {
    let down = false;
    let asked = 0;
    const page = await open({}, async (page) => {
      await page.clock.install();
      // The library's, which says what it is given.
      await page.route('**/dashboard/uplot.js', (route) =>
        route.fulfill({
          contentType: 'text/javascript',
          body: 'export default class { constructor(_options, data) { this.setData(data); } setData(data) { if (data.length === 3) window.plotted = data; } setSize() {} }',
        }),
      );
      await page.route('**/api/stream', async (route) => {
        asked += 1;
        if (down) return await route.abort();
        await route.fulfill({ contentType: 'text/event-stream', body: await statusEvent() });
      });
    });
    await page.locator('#facts dd').first().waitFor();
    // From here on no time passes on the page: what is asked, is asked by the button.
    await page.clock.pauseAt(Date.now() + 600_000);
    down = true;
    const tryNow = page.getByRole('button', { name: 'Try now' });
    const says = async () => {
      await tryNow.click();
      return await page.locator('#strip-text').textContent();
    };
    await expect.poll(says, { timeout: PATIENCE_MS }).toContain('Next try in 10 s.');
    const before = asked;
    const tries = async () => {
      await tryNow.click();
      return asked - before;
    };
    await expect.poll(tries, { timeout: PATIENCE_MS }).toBeGreaterThan(3);
    down = false;
    await expect.poll(says, { timeout: PATIENCE_MS }).toContain('Next try in 1 s.');
    const values = (await page.evaluate('window.plotted[1]')) as readonly (number | null)[];
    const gaps = values.map((value, index) => value === null && values[index + 1] === null);
    expect(values).toContain(null);
    expect(gaps).not.toContain(true);
  });

  test('a time that is not of today has its day, also when today has passed meanwhile', async () => {
    const now = new Date(2026, 2, 10, 23, 59, 30).getTime();
    const told = [now - 60_000, now - 2 * 24 * 3_600_000].map((at) => {
      const event = { type: 'service-starting', service: 'api', at };
      const log = { level: 30, msg: 'a line', time: at };
      return `event: event\ndata: ${JSON.stringify(event)}\n\nevent: log\ndata: ${JSON.stringify(log)}\n\n`;
    });
    let first = true;
    const page = await open({}, async (page) => {
      await page.clock.install({ time: now });
      await page.route('**/api/stream', async (route) => {
        if (!first) return await route.abort();
        first = false;
        await route.fulfill({
          contentType: 'text/event-stream',
          body: (await statusEvent()) + told.join(''),
        });
      });
    });
    const times = (place: string) => page.locator(`${place} time`).allTextContents();
    const all = async () => [await times('#events-list'), await times('#log-list')];
    await expect.poll(all, { timeout: PATIENCE_MS }).toEqual([
      ['8 Mar 23:59:30', '23:58:30'],
      ['23:58:30', '8 Mar 23:59:30'],
    ]);
    await page.clock.runFor(120_000);
    await expect.poll(all, { timeout: PATIENCE_MS }).toEqual([
      ['8 Mar 23:59:30', '10 Mar 23:58:30'],
      ['10 Mar 23:58:30', '8 Mar 23:59:30'],
    ]);
  });

  test('a report that is shown already is not asked for again with each connection', async () => {
    let rounds = 0;
    let asked = 0;
    const page = await open({}, async (page) => {
      await page.route('**/api/profile', async (route) => {
        asked += 1;
        await route.fulfill(json({ ...report, at: 5 }));
      });
      await page.route('**/api/stream', async (route) => {
        // The next connection comes when the profile is there.
        if (rounds++ === 1) await page.locator('#profile-rows tr').first().waitFor();
        const body = `${await statusEvent()}event: profile\ndata: {"at":5}\n\n`;
        await route.fulfill({ contentType: 'text/event-stream', body });
      });
    });
    await page.locator('#profile-rows tr').first().waitFor();
    await expect.poll(() => rounds, { timeout: PATIENCE_MS }).toBeGreaterThan(3);
    expect(asked).toBe(1);
  });

  test('another process begins with no stalls', async () => {
    const stall = { id: 7, beganAt: 1, durationMs: 100, over: true, stack: [] };
    let rounds = 0;
    const page = await open({}, (page) =>
      page.route('**/api/stream', async (route) => {
        rounds += 1;
        const body = rounds > 1 ? '' : `event: stall\ndata: ${JSON.stringify(stall)}\n\n`;
        const status = (await statusEvent()).replace(/"pid":\d+/, `"pid":${rounds}`);
        await route.fulfill({ contentType: 'text/event-stream', body: status + body });
      }),
    );
    await line(page, 'from here on, another process').waitFor();
    expect(await page.locator('#stalls-summary').textContent()).toBe('');
    expect(await page.locator('#stalls-list li').count()).toBe(0);
  });

  test('of hundreds of services, those that do not run are found, and the rest of the page, too', async () => {
    const states = new Map([
      [17, 'failed'],
      [203, 'backing-off'],
    ]);
    const page = await open({}, (page) =>
      page.route('**/api/stream', async (route) => {
        const status = JSON.parse((await statusEvent()).replace(/^.*\ndata: /, '')) as Status;
        const [service] = status.services;
        const services = Array.from({ length: 300 }, (_none, i) => ({
          ...service,
          name: `service-${i}`,
          state: states.get(i) ?? 'running',
          health: i === 250 ? { ok: false } : null,
        }));
        const body = `event: status\ndata: ${JSON.stringify({ ...status, services })}\n\n`;
        await route.fulfill({ contentType: 'text/event-stream', body });
      }),
    );
    const rows = page.locator('#services-rows tr:not([hidden])');
    await expect.poll(() => rows.count(), { timeout: PATIENCE_MS }).toBe(300);
    expect((await page.locator('#services').boundingBox())?.height).toBeLessThan(700);
    const only = page.getByLabel('Only what does not run well');
    await only.check();
    await expect
      .poll(() => rows.locator('.name').allTextContents(), { timeout: PATIENCE_MS })
      .toEqual(['service-17', 'service-203', 'service-250']);
    states.clear();
    await expect.poll(() => rows.count(), { timeout: PATIENCE_MS }).toBe(1);
    await only.uncheck();
    await expect.poll(() => rows.count(), { timeout: PATIENCE_MS }).toBe(300);
  });

  test('a daemon that stops cleanly is seen stopping, then gone', async () => {
    const page = await open();
    await live(page);
    at.daemon.kill('SIGTERM');
    await page.locator('body[data-link=gone]').waitFor();
    await event(page, 'the daemon stops: SIGTERM').waitFor();
  });

  test('the log is filtered by service, level and text, and can be held', async () => {
    const page = await open();
    await live(page);
    await ask('/log?text=apples');
    await ask('/error?text=pears');
    await line(page, 'pears').waitFor();
    await line(page, 'apples').waitFor();
    await page.locator('#log-level').selectOption('error');
    await line(page, 'apples').waitFor({ state: 'detached' });
    await line(page, 'pears').waitFor();
    await page.locator('#log-level').selectOption('trace');
    await page.locator('#log-text').fill('APPLES');
    await line(page, 'pears').waitFor({ state: 'detached' });
    await line(page, 'apples').waitFor();
    await page.locator('#log-text').fill('');
    await page.locator('#log-service').selectOption('store');
    await line(page, 'apples').waitFor({ state: 'detached' });
    await page.locator('#log-service').selectOption('');
    await page.getByRole('button', { name: 'Pause' }).click();
    await ask('/log?text=cherries');
    await page.locator('#log-summary', { hasText: /Paused; [1-9]\d* lines wait/ }).waitFor();
    expect(await line(page, 'cherries').count()).toBe(0);
    await page.getByRole('button', { name: 'Pause' }).click();
    await line(page, 'cherries').waitFor();
  });
});
