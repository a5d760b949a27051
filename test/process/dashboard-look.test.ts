import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Status } from '../../src/control/shown.ts';
import { noBrowser } from '../support/browser.ts';
import {
  ask,
  at,
  frame,
  json,
  line,
  live,
  open,
  PATIENCE_MS,
  pictures,
  report,
  row,
  statusEvent,
  useDashboard,
} from '../support/dashboard.ts';

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

describe.skipIf(noBrowser)('the dashboard, however it is looked at', { timeout: 120_000 }, () => {
  useDashboard();

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
    await expect.poll(() => page.locator('#log-list li').count(), { timeout: PATIENCE_MS }).toBe(1);
  });

  test('a page that is left open does not grow', async () => {
    const response = await fetch(`http://127.0.0.1:${at.adminPort}/api/status`);
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
