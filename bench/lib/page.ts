import { launchBrowser } from '../../test/support/browser.ts';

/** What a page that stays open must not have more and more of. */
export interface PageMeasured {
  readonly pageHeapBytes: number;
  readonly pageNodes: number;
  readonly pageListeners: number;
}

/** A page that is open in a browser. */
export interface OpenPage extends AsyncDisposable {
  measure(): Promise<PageMeasured>;
}

/** Opens the dashboard, and waits until it is told what goes on. */
export async function openDashboard(url: string): Promise<OpenPage> {
  const browser = await launchBrowser();
  const page = await browser.newPage();
  await page.goto(url);
  await page.locator('body[data-link=live]').waitFor();
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  return {
    async measure() {
      await session.send('HeapProfiler.collectGarbage');
      const { metrics } = await session.send('Performance.getMetrics');
      const figure = (name: string) => metrics.find((metric) => metric.name === name)?.value ?? Number.NaN;
      return {
        pageHeapBytes: figure('JSHeapUsedSize'),
        pageNodes: figure('Nodes'),
        pageListeners: figure('JSEventListeners'),
      };
    },
    [Symbol.asyncDispose]: () => browser.close(),
  };
}
