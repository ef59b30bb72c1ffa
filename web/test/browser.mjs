// Headless Chromium of the system, driven by playwright-core; a profile of its own each run, a context each page.
import { chromium } from 'playwright-core';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const QUIET = [
  '--no-sandbox', '--disable-gpu', '--no-first-run', '--no-default-browser-check', '--disable-background-networking',
  '--disable-component-update', '--disable-default-apps', '--disable-domain-reliability', '--disable-sync', '--metrics-recording-only',
  '--disable-features=OptimizationHints,MediaRouter,Translate', '--disable-dev-shm-usage',
];

/** Calls `work(newPage)`; `newPage(options)` gives a page that notes each error in `page.errors`. */
export async function withBrowser(work) {
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: QUIET });
  const newPage = async (options = {}) => {
    const context = await browser.newContext({
      viewport: { width: 1440, height: 860 }, timezoneId: 'Europe/Berlin', locale: 'en-GB', colorScheme: 'light', ...options,
    });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    page.errors = [];
    page.on('pageerror', (error) => page.errors.push(String(error)));
    page.on('console', (message) => {
      // A program that is gone or refuses is what some tests are about.
      if (message.type() === 'error' && !/ERR_|status of|WebSocket connection/.test(message.text())) page.errors.push(message.text());
    });
    return page;
  };
  try {
    return await work(newPage);
  } finally {
    await browser.close();
  }
}
