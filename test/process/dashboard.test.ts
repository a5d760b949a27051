import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from 'bosun/testing';
import type { Browser, BrowserContextOptions, Page, Route } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Status } from '../../src/control/thread/status.ts';
import { launchBrowser, noBrowser } from '../support/browser.ts';
import { Child } from '../support/child.ts';

const HOSTILE = '<img src=x onerror="window.hacked = true">';
/** Of a noisy machine. */
const PATIENCE_MS = 30_000;
const pictures = join(tmpdir(), 'bosun-dashboard');

let browser: Browser;
let adminPort: number;
let apiPort: number;
let daemon: Child;
/** What must not happen on the page. */
let errors: string[];

const start = async () => {
  const child = new Child('dashboard.ts', [String(adminPort), String(apiPort)]);
  await child.line('ready in');
  return child;
};

/** Asks the daemon for trouble. */
const ask = (path: string) => fetch(`http://127.0.0.1:${apiPort}${path}`);

async function open(
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
  await page.goto(`http://127.0.0.1:${adminPort}/`);
  return page;
}

const live = (page: Page) => page.locator('body[data-link=live]').waitFor();
const row = (page: Page, name: string) =>
  page.locator('#services-rows tr').filter({ has: page.getByRole('button', { name, exact: true }) });
const noticed = (page: Page, text: string) => page.locator('#notice', { hasText: text }).waitFor();
const event = (page: Page, text: string) => page.locator('#events-list li', { hasText: text }).first();
const line = (page: Page, text: string) => page.locator('#log-list li', { hasText: text }).first();
const json = (body: unknown, status = 200) => ({
  status,
  contentType: 'application/json',
  body: JSON.stringify(body),
});

const frame = (name: string, file: string, line: number) => ({ name, file, line, column: 1 });
const node = (name: string, hits: number, children: object[] = []) => ({
  frame: frame(name, `/srv/${name}.ts`, 3),
  hits,
  children,
});
const report = {
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

/** Of all text that is seen, what does not stand out from its ground: https://www.w3.org/TR/WCAG22/#contrast-minimum */
const contrasts = `(() => {
  const above = (node) => node === null ? [] : [node, ...above(node.parentElement)];
  const colour = (text) => {
    const [red, green, blue, alpha = 1] = text.match(/[\\d.]+/g).map(Number);
    return { parts: [red, green, blue], alpha };
  };
  const mixed = (over, share, under) => over.map((part, index) => part * share + under[index] * (1 - share));
  const grey = ([red, green, blue]) => Array(3).fill(0.2126 * red + 0.7152 * green + 0.0722 * blue);
  const luminance = (parts) => {
    const [red, green, blue] = parts.map((part) => part / 255)
      .map((share) => share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const poor = new Set();
  let seen = 0;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { data, parentElement: parent } = texts.currentNode;
    if (data.trim() === '' || !parent.checkVisibility({ visibilityProperty: true })) continue;
    if (parent.closest('.unseen, .skip, option, noscript, dialog, :disabled') !== null) continue;
    const styles = above(parent).map((node) => getComputedStyle(node));
    const behind = styles.map((style) => colour(style.backgroundColor)).filter(({ alpha }) => alpha > 0);
    let ground = [255, 255, 255];
    for (const { parts, alpha } of behind.reverse()) ground = mixed(parts, alpha, ground);
    const opacity = styles.reduce((product, style) => product * Number(style.opacity), 1);
    const own = colour(styles[0].color);
    let text = mixed(own.parts, own.alpha * opacity, ground);
    if (styles.some((style) => style.filter.includes('grayscale'))) [text, ground] = [grey(text), grey(ground)];
    const [dark, light] = [luminance(text), luminance(ground)].sort((one, other) => one - other);
    const ratio = (light + 0.05) / (dark + 0.05);
    seen += 1;
    if (ratio < 4.5) poor.add(parent.className + ' ' + data.trim().slice(0, 30) + ': ' + ratio.toFixed(2));
  }
  return { seen, poor: [...poor] };
})()`;

/** The daemon's state, as the stream tells it. */
async function statusEvent(): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${adminPort}/api/status`);
  return `event: status\ndata: ${await response.text()}\n`;
}

const plan = {
  heapUsedBytes: 2 ** 26,
  estimatedPauseMs: 1_500,
  estimatedBytes: 2 ** 27,
  freeBytes: 2 ** 33,
  refusal: null,
};

describe.skipIf(noBrowser)('the dashboard', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    browser = await launchBrowser();
    await mkdir(pictures, { recursive: true });
  });

  afterAll(() => browser.close());

  beforeEach(async () => {
    errors = [];
    adminPort = await freePort();
    apiPort = await freePort();
    daemon = await start();
  });

  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
    await daemon[Symbol.asyncDispose]();
    expect(errors).toEqual([]);
  });

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
    await row(page, 'api').getByText(`http://127.0.0.1:${apiPort}`).waitFor();
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
        const response = await fetch(`http://127.0.0.1:${adminPort}/api/status`);
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
                servesControl: undefined,
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
    await expect.poll(() => page.evaluate('fetch("/api/status").then(({ ok }) => ok)')).toBe(true);
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
    const another = () => fetch(`http://127.0.0.1:${adminPort}/api/profile?seconds=1`, { method: 'POST' });
    await expect.poll(async () => (await another()).status, { timeout: PATIENCE_MS }).toBe(200);
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
    await daemon[Symbol.asyncDispose]();
    await page.locator('body[data-link=gone]').waitFor();
    await page.locator('#strip-text', { hasText: 'The daemon does not answer' }).waitFor();
    expect(await page.title()).toMatch(/^Gone: /);
    await page.screenshot({ path: join(pictures, 'gone.png') });
    await page.getByRole('button', { name: 'Restart store' }).click();
    await page.getByRole('button', { name: 'Restart', exact: true }).click();
    await page.locator('#dialog-outcome', { hasText: 'The daemon does not answer.' }).waitFor();
    await page.keyboard.press('Escape');
    daemon = await start();
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
    await expect.poll(all).toEqual([
      ['8 Mar 23:59:30', '23:58:30'],
      ['23:58:30', '8 Mar 23:59:30'],
    ]);
    await page.clock.runFor(120_000);
    await expect.poll(all).toEqual([
      ['8 Mar 23:59:30', '10 Mar 23:58:30'],
      ['10 Mar 23:58:30', '8 Mar 23:59:30'],
    ]);
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
    await expect.poll(() => rows.count()).toBe(300);
    expect((await page.locator('#services').boundingBox())?.height).toBeLessThan(700);
    const only = page.getByLabel('Only what does not run well');
    await only.check();
    await expect
      .poll(() => rows.locator('.name').allTextContents())
      .toEqual(['service-17', 'service-203', 'service-250']);
    states.clear();
    await expect.poll(() => rows.count(), { timeout: PATIENCE_MS }).toBe(1);
    await only.uncheck();
    await expect.poll(() => rows.count()).toBe(300);
  });

  test('a daemon that stops cleanly is seen stopping, then gone', async () => {
    const page = await open();
    await live(page);
    daemon.kill('SIGTERM');
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

  test('however much is logged, the page keeps no more than it needs', async () => {
    const page = await open();
    await live(page);
    for (const part of ['one', 'two', 'three']) {
      await ask(`/log?count=900&text=${part}`);
      await line(page, part).waitFor();
    }
    await ask('/log?text=the+end');
    await line(page, 'the end').waitFor();
    await page.locator('#log-summary', { hasText: '400 of the last 2,000 lines' }).waitFor();
    expect(await page.locator('#log-list li').count()).toBe(400);
  });

  test('lines of 200 KB are shown in short, and do not pile up', async () => {
    const big = 'x'.repeat(200_000);
    let sent = 0;
    let limit = 0;
    const page = await open({}, (page) =>
      page.route('**/api/stream', async (route) => {
        if (sent === limit) return await route.abort();
        const lines = Array.from({ length: 50 }, () => {
          sent += 1;
          const line = { level: 50, time: sent, msg: `line ${sent} ${big}`, big, err: { stack: big } };
          return `event: log\ndata: ${JSON.stringify(line)}\n\n`;
        });
        const body = (await statusEvent()) + lines.join('');
        await route.fulfill({ contentType: 'text/event-stream', body });
      }),
    );
    const devtools = await page.context().newCDPSession(page);
    const usedAfter = async (count: number) => {
      limit = count;
      await line(page, `line ${count} `).waitFor({ timeout: PATIENCE_MS });
      for (let i = 0; i < 3; i++) await devtools.send('HeapProfiler.collectGarbage');
      return (await devtools.send('Runtime.getHeapUsage')).usedSize;
    };
    await page.locator('#log-pause').waitFor();
    expect(await usedAfter(50)).toBeLessThan(40 * 1024 * 1024);
    expect(await usedAfter(150)).toBeLessThan(40 * 1024 * 1024);
    const shown = await page.locator('#log-list li').last().textContent();
    expect(shown?.length).toBeLessThan(2_000 + 8_000 + 400 + 200);
    await page.locator('#log-summary', { hasText: /of the last \d\d lines/ }).waitFor();
    await page.locator('#log-text').fill('LINE 150 X');
    await expect.poll(() => page.locator('#log-list li').count()).toBe(1);
  });

  test('a page that is left open does not grow', async () => {
    const response = await fetch(`http://127.0.0.1:${adminPort}/api/status`);
    const status = (await response.json()) as Status;
    const stack = [frame('block', '/srv/a.ts', 3)];
    const row = { objects: 1, objectsDiff: 1, bytes: 1, bytesDiff: 1, stack, exact: true };
    let id = 0;
    let rounds = 0;
    let limit = 0;
    const told = (kind: string, data: object) => `event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`;
    const page = await open({}, (page) =>
      page.route('**/api/stream', async (route) => {
        if (rounds === limit) return route.abort();
        rounds += 1;
        const parts = Array.from({ length: 1_000 }, () => [
          told('status', status),
          told('event', { type: 'service-starting', service: 'api', at: ++id }),
          ...[1, 2, 3].map(() =>
            told('log', { level: 30, time: id, msg: `line ${id}`, err: { stack: `at ${id}` } }),
          ),
          told('stall', { id, beganAt: id, durationMs: 100, over: true, service: 'api', stack }),
          told('memory', { at: id, rows: [row], samplingBytes: 1, pauseMs: 1 }),
        ]);
        await route.fulfill({ contentType: 'text/event-stream', body: parts.flat().join('') });
      }),
    );
    const devtools = await page.context().newCDPSession(page);
    const measured = async (upTo: number) => {
      limit = upTo;
      await expect.poll(() => rounds, { timeout: PATIENCE_MS }).toBe(limit);
      await page
        .locator('#log-list li', { hasText: `line ${id}` })
        .last()
        .waitFor();
      for (let i = 0; i < 3; i++) await devtools.send('HeapProfiler.collectGarbage');
      const { usedSize } = await devtools.send('Runtime.getHeapUsage');
      const { nodes } = await devtools.send('Memory.getDOMCounters');
      return { usedSize, nodes };
    };
    const before = await measured(2);
    const after = await measured(6);
    expect(after.usedSize - before.usedSize).toBeLessThan(2 * 1024 * 1024);
    expect(after.nodes).toBeLessThan(before.nodes * 1.05);
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

  test.for([
    { width: 360, height: 740, colorScheme: 'light' },
    { width: 360, height: 740, colorScheme: 'dark' },
    { width: 820, height: 1_100, colorScheme: 'light' },
    { width: 1_600, height: 1_000, colorScheme: 'dark' },
  ] as const)('fits $width pixels, $colorScheme', async ({ width, height, colorScheme }) => {
    const page = await open({ viewport: { width, height }, colorScheme }, (page) =>
      page.route('**/api/profile', (route) => route.fulfill(json(report))),
    );
    await live(page);
    await ask(
      '/fail?text=a+rather+long+message+about+what+went+wrong,+with+averylongwordinit/and/a/path/without/end',
    );
    await ask('/report');
    await page.locator('#profile-rows tr').first().waitFor();
    await row(page, 'store').locator('.error', { hasText: 'a rather long' }).waitFor();
    await page.screenshot({ path: join(pictures, `${width}-${colorScheme}.png`), fullPage: true });
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
    const ground = await page.evaluate('getComputedStyle(document.body).backgroundColor');
    expect(ground).toBe(colorScheme === 'dark' ? 'rgb(14, 21, 24)' : 'rgb(243, 241, 234)');
  });

  test.for(['light', 'dark'] as const)(
    'every text of the %s page stands out from its ground, whatever the daemon does',
    async (colorScheme) => {
      const page = await open({ colorScheme });
      await live(page);
      await ask('/fail?text=something+else');
      await ask('/report');
      await row(page, 'store').locator('.error', { hasText: 'something else' }).waitFor();
      await page.locator('#profile-rows tr').first().waitFor();
      for (const link of ['live', 'blocked', 'gone']) {
        await page.evaluate(`document.body.dataset.link = '${link}'`);
        const { seen, poor } = (await page.evaluate(contrasts)) as { seen: number; poor: string[] };
        expect(seen).toBeGreaterThan(100);
        expect([link, ...poor]).toEqual([link]);
      }
    },
  );

  test('nothing on it moves by itself', async () => {
    const page = await open({ reducedMotion: 'reduce' }, (page) =>
      page.addInitScript(`
        window.shift = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
        }).observe({ type: 'layout-shift', buffered: true });
      `),
    );
    await live(page);
    await ask('/fail?text=something+else');
    await ask('/log?count=50&text=line');
    await row(page, 'store').locator('.error', { hasText: 'something else' }).waitFor();
    await line(page, 'line').waitFor();
    const blocked = ask('/block?ms=2000');
    await page.locator('body[data-link=blocked]').waitFor();
    await blocked;
    await live(page);
    expect(await page.evaluate('window.shift')).toBeLessThan(0.05);
    expect(await page.evaluate('document.getAnimations().length')).toBe(0);
  });
});
