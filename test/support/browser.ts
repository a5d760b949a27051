import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';

const executablePath = '/usr/bin/chromium';
const args = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'];

/** Whether tests in a browser are to be skipped; never in CI. */
export const noBrowser = !existsSync(executablePath) && process.env.CI !== 'true';

export const launchBrowser = (): Promise<Browser> => chromium.launch({ executablePath, args });
