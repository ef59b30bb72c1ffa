// Screenshots of the page: node dev/shots.mjs URL FOLDER
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { withBrowser } from '../test/browser.mjs';

const [url = 'http://127.0.0.1:8788', folder = 'dist/shots'] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });

const SHOTS = [
  ['desktop-light', {}, '#tab=prices'],
  ['desktop-dark', { colorScheme: 'dark' }, '#i=5m'],
  ['desktop-why', {}, '#s=binance:ETH/USDT&i=15m', async (page) => {
    await page.locator('#chart').focus();
    for (let i = 0; i < 12; i++) await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('Enter');
  }],
  ['desktop-ledger-dark', { colorScheme: 'dark' }, '#s=binance:SHIB/USDT&i=1h&tab=ledger'],
  ['desktop-rates', {}, '#i=1d&tab=rates', (page) => page.waitForTimeout(5000)],
  ['desktop-search', {}, '', (page) => page.keyboard.type('eth')],
  ['desktop-not-live', {}, '', async (page) => {
    await page.context().setOffline(true);
    await page.locator('#banner').waitFor();
  }],
  ['desktop-1024', { viewport: { width: 1024, height: 700 } }, '#i=1h'],
  ['phone-light', { viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true }, ''],
  ['phone-dark-320', { viewport: { width: 320, height: 640 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true, colorScheme: 'dark' }, '#i=15m&tab=why'],
];

const only = process.argv[4];
await withBrowser(async (newPage) => {
  for (const [name, options, hash, act] of SHOTS) {
    if (only && !name.includes(only)) continue;
    const page = await newPage(options);
    await page.goto(url + '/' + hash);
    await page.waitForTimeout(2500);
    if (act) await act(page);
    await page.waitForTimeout(600);
    await page.screenshot({ path: join(folder, name + '.png') });
    if (page.errors.length) console.log(name, page.errors);
    await page.context().close();
  }
});
