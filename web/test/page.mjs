// What a trader does, in a real browser. Each test: name, what it needs of the program, and the steps.
import assert from 'node:assert/strict';
import { priceEvent } from './program.mjs';
import { BTC, candlePixels, chartPixels, eventually, freshPrice, openPage, padded, shown, sleep, text } from './steps.mjs';

export const tests = [
  ['candles appear, with exact texts', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program);
    await eventually('candles are drawn', async () => (await candlePixels(page)) > 500);
    assert.match(await text(page, '#legend-time'), /^\w{3} \d{4}-\d\d-\d\d \d\d:\d\d UTC/);
    const name = await page.evaluate(() => new URLSearchParams(location.hash.slice(1)).get('s'));
    await eventually('the header shows what the API says', async () => {
      const kind = await page.evaluate(() => new URLSearchParams(location.hash.slice(1)).get('k'));
      const series = name ?? (await page.evaluate(() => new URLSearchParams(location.hash.slice(1)).get('s')));
      if (!series) return false;
      const [candle] = await program.get(`/v1/candles?series=${series}&kind=${kind}&interval=1m&limit=1`);
      const info = (await program.get('/v1/series')).find((s) => s.series === series && s.kind === kind);
      return (await text(page, '#last-price')) === padded(candle.close, info.decimals);
    });
    assert.ok(/live/.test(await text(page, '#live-text')));
    assert.ok((await text(page, '#under')).includes('TradingView'));
    return page;
  }],

  ['a new price moves the candle, the table and the title', { send: true }, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, BTC);
    const price = freshPrice();
    await program.send([priceEvent('BTC', price, Date.now())]);
    const began = Date.now();
    await eventually('the last price is the one sent', async () => (await text(page, '#last-price')) === price, 3000);
    assert.ok(Date.now() - began < 3000);
    await eventually('the title says it', async () => (await page.title()).startsWith(price));
    await eventually('the table says it', async () => {
      const row = page.locator('#prices-body tr[data-key="binance:BTC/USDT|price"]');
      return (await row.count()) && (await row.textContent()).includes(price);
    });
    return page;
  }],

  ['volume bars stand below the candles', {}, async ({ newPage, program }) => {
    for (const theme of ['light', 'dark']) {
      const page = await openPage(newPage, program, `#theme=${theme}`);
      await eventually('bars at the bottom, and none above', async () => {
        const { height, volume } = await chartPixels(page);
        const sum = (from, to) => volume.slice(Math.round(height * from), Math.round(height * to)).reduce((a, b) => a + b, 0);
        return sum(0.84, 1) > 500 && sum(0, 0.8) === 0;
      });
    }
  }],

  ['the last price is a line across the chart, and moves with it', { send: true }, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, BTC);
    const place = async () => {
      const { height, line } = await chartPixels(page);
      return line.length && line.at(-1) - line[0] <= 2 ? line[0] / height : 0;
    };
    await eventually('one line', place);
    await program.send([priceEvent('BTC', '59000.17', Date.now())]);
    await eventually('at the top', async () => (await place()) > 0 && (await place()) < 0.35);
    await program.send([priceEvent('BTC', '41000.17', Date.now())]);
    await eventually('below', async () => (await place()) > 0.6);
    return page;
  }],

  ['the legend follows the mouse, and says what the API says', { send: true }, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, BTC);
    const newest = await text(page, '#legend-time');
    const box = await page.locator('#chart').boundingBox();
    for (const part of [0.3, 0.55]) {
      await page.mouse.move(box.x + box.width * part, box.y + box.height * 0.4);
      const when = await eventually('a candle of the past', async () => {
        const words = await text(page, '#legend-time');
        return words !== newest && words.match(/(\d{4}-\d\d-\d\d) (\d\d:\d\d)/);
      });
      const time = Date.parse(`${when[1]}T${when[2]}:00Z`);
      const [candle] = await program.get(`/v1/candles?series=binance:BTC/USDT&kind=price&interval=1m&from=${time}&limit=1`);
      assert.equal(candle.open_time, time);
      for (const name of ['open', 'high', 'low', 'close']) assert.equal(await text(page, '#l-' + name), padded(candle[name], 1), name);
      assert.match(await text(page, '#l-trades'), new RegExp(`^${candle.trades} price`));
    }
    const before = await text(page, '#legend-time');
    await page.mouse.move(box.x + box.width * 0.3, box.y + box.height * 0.4);
    await eventually('the mouse moves it', async () => (await text(page, '#legend-time')) !== before);
    await page.mouse.move(box.x + box.width + 200, box.y + 200);
    await eventually('without the mouse the newest', async () => (await text(page, '#l-close')) === (await text(page, '#last-price')));
    return page;
  }],

  ['decimals are those of the tick', { empty: true, send: true }, async ({ newPage, program }) => {
    const at = Date.now() - (Date.now() % 60_000);
    const both = (base, first, then) => [priceEvent(base, first, at), priceEvent(base, then, at + 1)];
    await program.send([...both('FINE', '0.00001234', '0.0000125'), ...both('WHOLE', '5', '700'), ...both('CENT', '10.25', '11')]);
    for (const [base, open, close] of [['FINE', '0.00001234', '0.00001250'], ['WHOLE', '5', '700'], ['CENT', '10.25', '11.00']]) {
      const page = await openPage(newPage, program, `#s=binance:${base}/USDT&k=price&i=1m&tz=UTC`);
      await eventually(`${base}: the header`, async () => (await text(page, '#last-price')) === close);
      assert.deepEqual([await text(page, '#l-open'), await text(page, '#l-close')], [open, close]);
      const row = page.locator(`#prices-body tr[data-key="binance:${base}/USDT|price"]`);
      await eventually(`${base}: the table`, async () => (await row.locator('td:nth-child(2)').textContent()) === close);
    }
  }],

  ['scrolling to the left loads history without a seam', { send: true }, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, BTC);
    const before = await shown(page);
    assert.ok(before <= 500, `first ${before}`);
    await page.mouse.move(500, 400);
    await eventually('more is loaded', async () => {
      await page.mouse.wheel(-1500, 0);
      return (await shown(page)) > before + 500;
    });
    assert.ok(await page.locator('#to-latest').isVisible());
    const all = await program.get('/v1/candles?series=binance:BTC/USDT&kind=price&interval=1m&limit=50000');
    await eventually('up to the first', async () => {
      await page.mouse.wheel(-3000, 0);
      return (await shown(page)) >= all.length;
    });
    await page.locator('#to-latest').click();
    await page.locator('#to-latest').waitFor({ state: 'hidden' });
    return page;
  }],

  ['says that it is not live when the program stops, and comes back', { stop: true, send: true }, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, BTC);
    await eventually('live', async () => (await text(page, '#live-text')) === 'live');
    await program.stop();
    await page.locator('#banner').waitFor({ state: 'visible' });
    assert.match(await text(page, '#banner-text'), /^Not live since \d\d:\d\d:\d\d, reconnecting/);
    assert.equal(await text(page, '#live-text'), 'not live');
    assert.ok(await page.evaluate(() => document.body.classList.contains('stale')));
    await program.start();
    const price = freshPrice();
    await program.send([priceEvent('BTC', price, Date.now())]);
    await page.locator('#banner').waitFor({ state: 'hidden' });
    await eventually('what came meanwhile is shown', async () => (await text(page, '#last-price')) === price);
    const next = freshPrice();
    await program.send([priceEvent('BTC', next, Date.now())]);
    await eventually('and it is live again', async () => (await text(page, '#last-price')) === next);
    assert.ok(!(await page.evaluate(() => document.body.classList.contains('stale'))));
    return page;
  }],

  ['two missed heartbeats are not live, though the connection stands', { fault: true }, async ({ newPage, program }) => {
    const page = await openPage(newPage, program);
    await eventually('live', async () => (await text(page, '#live-text')) === 'live');
    await program.fault({ silent: true, refuse: true });
    await sleep(6000);
    assert.equal(await text(page, '#live-text'), 'live', 'one may be missed');
    await page.locator('#banner').waitFor({ state: 'visible', timeout: 9000 });
    await sleep(4000); // until the waits between attempts are long
    await program.fault({ silent: false, refuse: false });
    await page.locator('#banner-retry').click({ timeout: 1000 }).catch(() => {}); // unless it was faster
    await page.locator('#banner').waitFor({ state: 'hidden', timeout: 2000 });
    return page;
  }],

  ['a cut connection resumes from its cursor', { fault: true }, async ({ newPage, program }) => {
    const page = await newPage();
    const sent = [];
    page.on('websocket', (socket) => socket.on('framesent', (frame) => sent.push(String(frame.payload))));
    await page.goto(program.url + '/#s=binance:BTC/USDT&k=trade&i=1m');
    await eventually('live', async () => (await text(page, '#live-text')) === 'live' && (await shown(page)) > 0);
    await sleep(1500);
    await program.fault({ drop: true });
    await eventually('a subscription with a cursor', () => sent.some((s) => /"cursor":"\w+:\d+"/.test(s)));
    await eventually('live', async () => (await text(page, '#live-text')) === 'live');
    const before = await text(page, '#legend-facts');
    await eventually('it moves again', async () => (await text(page, '#legend-facts')) !== before);
    return page;
  }],

  ['a connection lost and found again resumes from its cursor, without loading anew', { send: true }, async ({ newPage, program }) => {
    const page = await newPage();
    const sent = [];
    const asked = [];
    page.on('websocket', (socket) => socket.on('framesent', (frame) => sent.push(String(frame.payload))));
    page.on('request', (request) => request.url().includes('/v1/candles') && asked.push(request.url()));
    await page.goto(program.url + '/' + BTC);
    await eventually('live', async () => (await text(page, '#live-text')) === 'live' && (await shown(page)) > 0);
    const first = freshPrice();
    await program.send([priceEvent('BTC', first, Date.now())]);
    await eventually('a change, so a cursor', async () => (await text(page, '#last-price')) === first);
    await page.context().setOffline(true);
    await page.locator('#banner').waitFor({ state: 'visible' });
    assert.equal(await text(page, '#live-text'), 'not live');
    assert.ok(sent.every((s) => !s.includes('cursor')), sent.join());
    const price = freshPrice();
    await program.send([priceEvent('BTC', price, Date.now())]);
    assert.equal(await text(page, '#last-price'), first, 'nothing comes while it is away');
    asked.length = 0;
    await page.context().setOffline(false);
    await page.locator('#banner').waitFor({ state: 'hidden' });
    await eventually('what came meanwhile', async () => (await text(page, '#last-price')) === price && (await text(page, '#l-close')) === price);
    assert.ok(sent.some((s) => /"cursor":"[^"]+"/.test(s) && s.includes('BTC/USDT')), sent.join());
    assert.deepEqual(asked.filter((url) => url.includes('interval=1m')), [], 'the candles are those it had');
    return page;
  }],

  ['what the program refuses is shown in its words', { exact: true }, async ({ newPage, program }) => {
    const page = await newPage();
    await page.goto(program.url + '/#s=binance:BTC/USDT&k=price&i=90s');
    await page.locator('#problem').waitFor({ state: 'visible' });
    const said = await program.get('/v1/candles?series=binance:BTC/USDT&kind=price&interval=90s');
    assert.match(said.error.message, /90s.*1m/);
    assert.equal(await text(page, '#problem-text'), said.error.message);
    await page.keyboard.press('1');
    await eventually('candles are loaded', async () => (await shown(page)) > 0);
    await page.locator('#problem').waitFor({ state: 'hidden' });
    return page;
  }],

  ['an address of no series says so, and shows another', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, '#s=binance:NOPE/NONE&i=5m');
    await page.locator('#problem').waitFor({ state: 'visible' });
    assert.match(await text(page, '#problem-text'), /^There is no series binance:NOPE\/NONE; this is \w+:\w+\/\w+\.$/);
    assert.equal(await text(page, '#intervals [aria-checked=true]'), '5m');
    await page.locator('#problem-close').click();
    await page.locator('#problem').waitFor({ state: 'hidden' });
    return page;
  }],

  ['an error of the program is shown in words, and asking again works', { fault: true }, async ({ newPage, program }) => {
    await program.fault({ fail: { path: '/v1/candles', status: 503, message: 'the disk is full; reads of candles resume by themselves', count: 1 } });
    const page = await newPage();
    await page.goto(program.url);
    await page.locator('#problem').waitFor({ state: 'visible' });
    assert.match(await text(page, '#problem-text'), /the disk is full/);
    await page.locator('#problem-retry').click();
    await eventually('candles are loaded', async () => (await shown(page)) > 0);
    assert.ok(await page.locator('#problem').isHidden());
    return page;
  }],

  ['a token is asked for and used', { fault: true }, async ({ newPage, program }) => {
    await program.fault({ fail: { path: '/v1/series', status: 401, message: 'a request needs a token', count: 1 } });
    const page = await newPage();
    await page.goto(program.url);
    await page.locator('#token').waitFor({ state: 'visible' });
    const carries = page.waitForRequest((r) => r.url().includes('/v1/series') && r.headers().authorization === 'Bearer s3cret');
    await page.fill('#token-input', 's3cret');
    await page.keyboard.press('Enter');
    await carries;
    await eventually('candles are loaded', async () => (await shown(page)) > 0);
    return page;
  }],

  ['a revised candle shows its revision', { fault: true }, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, '#s=binance:BTC/USDT&k=trade&i=1m&tz=UTC');
    await page.locator('#chart').focus();
    for (let i = 0; i < 5; i++) await page.keyboard.press('ArrowLeft');
    const when = (await text(page, '#legend-time')).match(/(\d{4}-\d\d-\d\d) (\d\d:\d\d)/);
    const high = await text(page, '#l-high');
    await program.fault({ revise: { series: 'binance:BTC/USDT', kind: 'trade', time: Date.parse(`${when[1]}T${when[2]}:00Z`) } });
    await eventually('the revision', async () => /rev [1-9]/.test(await text(page, '#l-revision')));
    assert.notEqual(await text(page, '#l-high'), high);
    return page;
  }],

  ['typing anywhere searches a symbol', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program);
    await page.keyboard.type('ethu');
    await page.locator('#search').waitFor({ state: 'visible' });
    assert.equal(await page.inputValue('#search-input'), 'ethu');
    assert.match(await text(page, '#search-list [aria-selected=true] .pair'), /^ETH\/USDT$/);
    await page.keyboard.press('Enter');
    await eventually('the symbol', async () => (await text(page, '#symbol-pair')) === 'ETH/USDT');
    await eventually('its candles', async () => (await shown(page)) > 0 && /s=\w+:ETH\/USDT/.test(page.url()));
    await page.keyboard.press('/');
    await page.keyboard.type('nosuchthing');
    assert.match(await text(page, '#search-note'), /No series matches/);
    await page.keyboard.press('Escape');
    await page.locator('#search').waitFor({ state: 'hidden' });
    await page.goBack();
    await eventually('Back goes back', async () => (await text(page, '#symbol-pair')) !== 'ETH/USDT');
    return page;
  }],

  ['a click on a candle tells how it came to be', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program);
    await eventually('candles are drawn', async () => (await candlePixels(page)) > 500);
    const box = await page.locator('#chart').boundingBox();
    await page.mouse.click(box.x + box.width * 0.75, box.y + box.height * 0.5);
    await page.locator('#why-content .why-text li').first().waitFor();
    assert.equal(await page.getAttribute('#tab-why', 'aria-selected'), 'true');
    const facts = await text(page, '#why-content');
    for (const word of ['open', 'close', 'coverage', 'hash', 'revision', 'hole']) assert.ok(facts.includes(word), word);
    return page;
  }],

  ['of a longer candle each minute can be asked', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, '#i=15m');
    await page.locator('#chart').focus();
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('Enter');
    await page.locator('.stepper').waitFor();
    const before = await text(page, '.stepper span');
    await page.locator('.stepper button').last().click();
    await eventually('the next minute', async () => (await text(page, '.stepper span')) !== before);
    return page;
  }],

  ['the address restores the view', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, '#i=1m&tz=UTC');
    const series = await eventually('the address', () => page.evaluate(() => new URLSearchParams(location.hash.slice(1)).get('s')));
    const to = Math.floor(Date.now() / 3_600_000) * 3_600_000 - 3_600_000;
    const from = to - 3_600_000;
    const other = await openPage(newPage, program, `#s=${series}&i=5m&tz=Asia/Tokyo&from=${from}&to=${to}&theme=dark&tab=ledger`);
    assert.equal(await text(other, '#intervals [aria-checked=true]'), '5m');
    assert.equal(await other.inputValue('#zone'), 'Asia/Tokyo');
    assert.equal(await other.getAttribute('html', 'data-theme'), 'dark');
    assert.equal(await other.getAttribute('#tab-ledger', 'aria-selected'), 'true');
    // The address follows the chart: once that has its candles, it must say the same.
    const read = () => other.evaluate(() => Object.fromEntries(new URLSearchParams(location.hash.slice(1))));
    const same = async () => Number((await read()).from) === from && Number((await read()).to) === to;
    await eventually('candles are loaded', async () => (await shown(other)) > 0);
    await eventually('the range', same);
    await sleep(1200);
    const now = await read();
    assert.equal(await same(), true);
    await other.reload();
    await eventually('candles are loaded', async () => (await shown(other)) > 0);
    await sleep(1200);
    await eventually('the same address', async () => JSON.stringify(await read()) === JSON.stringify(now));
    return other;
  }],

  ['axis, legend and days follow the time zone', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, '#i=1d&tz=UTC');
    const utc = await text(page, '#legend-time');
    await page.selectOption('#zone', 'Asia/Tokyo');
    await eventually('the legend in Tokyo', async () => (await text(page, '#legend-time')).endsWith('UTC+9'));
    assert.ok(utc.endsWith('UTC'));
    const hash = await eventually('the address', async () => {
      const p = await page.evaluate(() => Object.fromEntries(new URLSearchParams(location.hash.slice(1))));
      return p.tz === 'Asia/Tokyo' && p.s ? p : null;
    });
    const [candle] = await program.get(`/v1/candles?series=${hash.s}&kind=${hash.k}&interval=1d&limit=1&tz=Asia/Tokyo`);
    assert.equal((candle.open_time / 3_600_000) % 24, 15, 'a day begins at midnight in Tokyo');
    const day = new Intl.DateTimeFormat('sv-SE', { timeZone: 'Asia/Tokyo' }).format(candle.open_time);
    assert.ok((await text(page, '#legend-time')).includes(day));
    const rows = await shown(page);
    const before = await text(page, '#l-trades');
    if (program.quiet) await program.send([priceEvent(hash.s.split(/[:/]/)[1], freshPrice(), Date.now(), hash.s.split(':')[0])]);
    await eventually('the day goes on', async () => (await text(page, '#l-trades')) !== before);
    assert.equal(await shown(page), rows, 'no candle of another zone comes in between');
    return page;
  }],

  ['intervals have keys', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program);
    for (const [key, name] of [['3', '15m'], ['5', '1h'], ['8', '1d'], ['0', '1M'], ['1', '1m']]) {
      await page.keyboard.press(key);
      await eventually(name, async () => (await text(page, '#intervals [aria-checked=true]')) === name);
      await eventually('candles', async () => (await text(page, '#l-close')) !== '–');
    }
    return page;
  }],

  ['the whole page by keyboard alone, focus in sight', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program);
    const reached = new Set();
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press('Tab');
      const at = await page.evaluate(() => {
        const e = document.activeElement;
        const style = getComputedStyle(e);
        const after = getComputedStyle(e, '::after');
        const visible = style.outlineStyle !== 'none' || after.borderTopStyle === 'solid' || e.classList.contains('skip');
        return { id: e.id || e.dataset.interval || e.tagName, visible };
      });
      if (at.id === 'BODY') continue;
      assert.ok(at.visible, `focus on ${at.id} is not to be seen`);
      reached.add(at.id);
    }
    for (const id of ['symbol', 'zone', 'theme', 'chart', 'tab-prices', 'prices-filter']) assert.ok(reached.has(id), `Tab reaches ${id}`);
    await page.locator('#chart').focus();
    await page.keyboard.press('ArrowLeft');
    assert.match(await eventually('it is spoken', () => text(page, '#spoken')), /open [\d.]+, high/);
    await page.keyboard.press('Enter');
    await page.locator('#why-content .facts').first().waitFor();
    await page.locator('#tab-why').focus();
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'tab-gaps');
    await page.locator('#tab-prices').focus();
    await page.keyboard.press('Enter');
    await page.locator('#prices-body tr[tabindex="0"]').focus();
    await page.keyboard.press('ArrowDown');
    const key = await page.evaluate(() => document.activeElement.dataset.key);
    await page.keyboard.press('Enter');
    await eventually('the row is shown', async () => page.url().includes(key.split('|')[0]));
    return page;
  }],

  ['prices can be filtered, sorted and chosen', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program);
    await page.fill('#prices-filter', 'eth');
    const rows = page.locator('#prices-body tr[data-key]:visible');
    await eventually('only ETH', async () => (await rows.count()) > 0 && (await rows.allTextContents()).every((t) => t.includes('ETH')));
    await page.fill('#prices-filter', '');
    await page.locator('th[data-column=price] button').click();
    assert.equal(await page.getAttribute('th[data-column=price]', 'aria-sort'), 'descending');
    await eventually('in order', async () => {
      const prices = (await rows.locator('td:nth-child(2)').allTextContents()).map(Number);
      return prices.length > 1 && prices[0] >= prices[prices.length - 1];
    });
    await page.fill('#prices-filter', 'eth');
    await rows.first().click();
    await eventually('the symbol', async () => (await text(page, '#symbol-pair')).startsWith('ETH'));
    return page;
  }],

  ['ledger and rates', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program);
    await page.locator('#tab-ledger').click();
    await page.locator('#ledger-content .ledger-row').first().waitFor();
    assert.match(await text(page, '#ledger-content .verdict'), /Every event is accounted for/);
    await page.locator('#tab-rates').click();
    await eventually('a figure', async () => /\d/.test(await text(page, '#rate-log')));
    assert.ok((await page.locator('#rate-tasks tr').count()) > 0);
    await page.locator('#rate-metrics summary').click();
    await page.locator('#rate-metrics-body tr').first().waitFor();
    return page;
  }],

  ['a ledger that does not balance is loud', { fault: true }, async ({ newPage, program }) => {
    await program.fault({ unbalanced: true });
    const page = await openPage(newPage, program, '#tab=ledger');
    await page.locator('.ledger-row.unbalanced').waitFor();
    assert.match(await text(page, '#ledger-content .verdict'), /does not balance/);
    await program.fault({ unbalanced: false });
    return page;
  }],

  ['coverage: counts, a tip, and the strip answers a click', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program);
    const label = await eventually('the strip speaks', async () => {
      const words = await page.getAttribute('#strip', 'aria-label');
      return /\d+ traded, \d+ quiet, \d+ partial, \d+ unknown/.test(words) ? words : null;
    });
    const total = label.match(/\d+/g).map(Number).reduce((a, b) => a + b);
    assert.ok(total > 10, label);
    const box = await page.locator('#strip').boundingBox();
    await page.mouse.move(box.x + box.width * 0.7, box.y + 5);
    await page.locator('#strip-tip').waitFor({ state: 'visible' });
    assert.match(await text(page, '#strip-tip'), /traded|quiet|partial|unknown/);
    await page.mouse.click(box.x + box.width * 0.7, box.y + 5);
    await page.locator('#why-content h3').waitFor();
    return page;
  }],

  ['a phone of 320 pixels', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, '#tab=prices', { viewport: { width: 320, height: 568 }, hasTouch: true, isMobile: true });
    await eventually('candles are drawn', async () => (await candlePixels(page)) > 100);
    for (const tab of ['prices', 'why', 'gaps', 'ledger', 'rates']) {
      await page.locator('#tab-' + tab).tap();
      await sleep(150);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= 320, `${tab}: ${width} pixels wide`);
    }
    const box = await page.locator('#chart').boundingBox();
    assert.ok(box.height > 150, `chart ${box.height} high`);
    await page.touchscreen.tap(box.x + box.width * 0.5, box.y + box.height * 0.5);
    await page.locator('#why-content .facts').first().waitFor();
    for (const selector of ['#symbol', '#zone', '#theme', '#live', '#tab-rates', '#attribution']) {
      const b = await page.locator(selector).boundingBox();
      assert.ok(b.x >= 0 && b.x + b.width <= 320.5, `${selector} is in sight`);
    }
    return page;
  }],

  ['dark and light, by the system and by hand', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, '', { colorScheme: 'dark' });
    const luminance = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number)[0]);
    assert.ok((await luminance()) < 60);
    await page.locator('#theme').click(); // as the system -> light
    assert.ok((await luminance()) > 200);
    await eventually('the address', () => page.url().includes('theme=light'));
    await page.locator('#theme').click(); // -> dark
    assert.ok((await luminance()) < 60);
    assert.ok((await candlePixels(page)) > 0);
    return page;
  }],

  ['no layout jumps while prices come in', {}, async ({ newPage, program }) => {
    const page = await newPage();
    await page.addInitScript(() => {
      window.shift = 0;
      new PerformanceObserver((list) => list.getEntries().forEach((e) => (window.shift += e.value))).observe({ type: 'layout-shift', buffered: true });
    });
    await page.goto(program.url);
    await eventually('candles are loaded', async () => (await shown(page)) > 0);
    await sleep(4000);
    const shift = await page.evaluate(() => window.shift);
    assert.ok(shift < 0.05, `layout shift ${shift}`);
    return page;
  }],

  ['names and roles for who does not see', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program);
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll('button, input, select, a, canvas[role]')]
        .filter((e) => e.checkVisibility() && !(e.getAttribute('aria-label') || e.textContent.trim() || e.title || e.labels?.length || e.getAttribute('aria-labelledby')))
        .map((e) => e.outerHTML));
    assert.deepEqual(nameless, []);
    assert.equal(await page.locator('[role=tab][aria-selected=true]').count(), 1);
    assert.equal(await page.locator('[role=radio][aria-checked=true]').count(), 1);
    return page;
  }],

  ['an empty store says how to begin, and the chart appears by itself', { empty: true, send: true }, async ({ newPage, program }) => {
    const page = await newPage();
    await page.goto(program.url);
    await page.locator('#blank').waitFor({ state: 'visible' });
    const words = await text(page, '#blank');
    assert.match(words, /No prices yet/);
    assert.ok(words.includes(`curl ${program.url}/v1/prices`));
    const at = Date.now() - (Date.now() % 60000); // both in one minute, whenever that ends
    await program.send([priceEvent('BTC', '50000.1', at)]);
    await page.locator('#blank').waitFor({ state: 'hidden' });
    await eventually('the price', async () => (await text(page, '#last-price')) === '50000.1');
    await program.send([priceEvent('BTC', '50000.25', at + 1)]);
    await eventually('a finer price', async () => (await text(page, '#last-price')) === '50000.25');
    await eventually('it makes the tick smaller', async () => (await text(page, '#l-open')) === '50000.10');
    return page;
  }],

  ['a price of many digits is shown as it came', { empty: true, send: true, exact: true }, async ({ newPage, program }) => {
    const price = '1234567.012345678901234567';
    await program.send([priceEvent('XYZ', price, Date.now())]);
    const page = await openPage(newPage, program);
    await eventually('exact', async () => (await text(page, '#last-price')) === price && (await text(page, '#l-close')) === price);
    return page;
  }],
];
