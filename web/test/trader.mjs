// What a page that stays open all day is used for: the watchlist, scales, dates, gaps; and that it does not grow.
import assert from 'node:assert/strict';
import { priceEvent } from './program.mjs';
import { BTC, candlePixels, eventually, freshPrice, openPage, shown, sleep, text } from './steps.mjs';

const MINUTE = 60_000;

/** Texts in sight whose contrast is below WCAG's AA: 4.5, of large ones 3. */
function weakTexts(page) {
  return page.evaluate(() => {
    const parse = (color) => {
      const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
      return { r, g, b, a };
    };
    const over = (top, under) => ({ r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a), b: top.b * top.a + under.b * (1 - top.a), a: 1 });
    const background = (element) => {
      const layers = [];
      for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
      return layers.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
    };
    const luminance = ({ r, g, b }) => {
      const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const weak = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest('script, noscript, option, .skip, .hidden, [class*=flash]')) continue;
      const style = getComputedStyle(element);
      const behind = background(element);
      const [a, b] = [luminance(over(parse(style.color), behind)), luminance(behind)].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
      if (ratio < (large ? 3 : 4.5)) weak.push(`${element.id || element.className || element.tagName} "${walker.currentNode.textContent.trim().slice(0, 20)}" ${ratio.toFixed(2)}`);
    }
    return [...new Set(weak)];
  });
}

const address = (page) => page.evaluate(() => Object.fromEntries(new URLSearchParams(location.hash.slice(1))));

async function heap(session) {
  // What one collection finds in the document the next finds in the script's heap.
  for (let i = 0; i < 4; i++) {
    await session.send('HeapProfiler.collectGarbage');
    await sleep(200);
  }
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  const { nodes, jsEventListeners } = await session.send('Memory.getDOMCounters');
  return { bytes: usedSize, nodes, listeners: jsEventListeners };
}

export const tests = [
  ['the watchlist shows the change in 24 hours', { send: true }, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, BTC);
    const row = page.locator('#prices-body tr[data-key="binance:BTC/USDT|price"]');
    const price = freshPrice();
    await program.send([priceEvent('BTC', price, Date.now())]);
    const from = Math.floor(Date.now() / 900_000) * 900_000 - 86_400_000;
    const [first] = await program.get(`/v1/candles?series=binance:BTC/USDT&kind=price&interval=15m&from=${from}&limit=1`);
    const percent = (Number(price) / Number(first.open) - 1) * 100;
    const words = `${percent > 0 ? '+' : '−'}${Math.abs(percent).toFixed(2)}`;
    await eventually('in the table', async () => (await row.locator('td.change').textContent()) === words + '%');
    await eventually('in the header', async () => (await text(page, '#last-change')).endsWith(words + ' %'));
    assert.match(await row.locator('td.time').textContent(), /^\d+s$/);
    return page;
  }],

  ['the past keeps the newest price in the header', { send: true }, async ({ newPage, program }) => {
    const to = Math.floor(Date.now() / MINUTE) * MINUTE - 27 * 3_600_000;
    const page = await openPage(newPage, program, `${BTC}&from=${to - 3_600_000}&to=${to}`);
    const price = freshPrice();
    await program.send([priceEvent('BTC', price, Date.now())]);
    await eventually('the newest price', async () => (await text(page, '#last-price')) === price);
    assert.ok(!(await page.locator('#to-latest').isHidden()));
    return page;
  }],

  ['a date can be gone to', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, '#i=5m&tz=Asia/Tokyo');
    const time = Math.floor(Date.now() / 3_600_000) * 3_600_000 - 10 * 3_600_000;
    await page.locator('#go-to').click();
    await page.fill('#go-time', new Date(time + 9 * 3_600_000).toISOString().slice(0, 16));
    await page.keyboard.press('Enter');
    await eventually('the place', async () => {
      const { from, to } = await address(page);
      return Number(from) <= time && time <= Number(to);
    });
    await page.locator('#to-latest').click();
    await eventually('and back', async () => 'bars' in (await address(page)));
    return page;
  }],

  ['any interval, from the list or the address', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, '#i=7m');
    assert.equal(await page.inputValue('#more-intervals'), '7m');
    await page.selectOption('#more-intervals', '2h');
    await eventually('2h', async () => (await address(page)).i === '2h' && (await text(page, '#legend-title')).includes('· 2h ·'));
    await page.keyboard.press('1');
    await eventually('1m', async () => (await page.inputValue('#more-intervals')) === '' && (await text(page, '#intervals [aria-checked=true]')) === '1m');
    return page;
  }],

  ['the scale: logarithmic and automatic; remembered', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program);
    await page.locator('#scale-log').click();
    assert.equal(await page.getAttribute('#scale-log', 'aria-pressed'), 'true');
    const box = await page.locator('#chart').boundingBox();
    await page.mouse.move(box.x + box.width - 20, box.y + 200);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width - 20, box.y + 260, { steps: 5 });
    await page.mouse.up();
    await eventually('dragging ends auto', async () => (await page.getAttribute('#scale-auto', 'aria-pressed')) === 'false');
    await page.locator('#scale-auto').click();
    assert.equal(await page.getAttribute('#scale-auto', 'aria-pressed'), 'true');
    await page.reload();
    await eventually('remembered', async () => (await page.getAttribute('#scale-log', 'aria-pressed')) === 'true');
    return page;
  }],

  ['arrows and + − work with the focus nowhere', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program);
    await eventually('the address', async () => (await address(page)).bars);
    await page.evaluate(() => document.activeElement.blur());
    const bars = Number((await address(page)).bars);
    await page.keyboard.press('+');
    await eventually('fewer candles', async () => Number((await address(page)).bars) < bars);
    await page.keyboard.press('-');
    await page.keyboard.press('-');
    await eventually('more candles', async () => Number((await address(page)).bars) > bars);
    const newest = await text(page, '#legend-time');
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('ArrowLeft');
    await eventually('another candle', async () => (await text(page, '#legend-time')) !== newest);
    return page;
  }],

  ['history that comes does not move what one looks at', { send: true }, async ({ newPage, program }) => {
    await program.send([priceEvent('BTC', freshPrice(), Date.now())]); // as many decimals as later: the price axis keeps its width
    const page = await openPage(newPage, program, BTC);
    const before = await shown(page);
    await page.locator('#chart').focus();
    const newest = await text(page, '#legend-time');
    await page.keyboard.press('Home');
    await eventually('the legend', async () => (await text(page, '#legend-time')) !== newest);
    const oldest = Date.parse((await text(page, '#legend-time')).slice(4).replace(' UTC', 'Z').replace(' ', 'T'));
    await eventually('older ones came', async () => (await shown(page)) > before);
    await sleep(700); // the address follows
    const then = await address(page);
    assert.ok(Number(then.from) <= oldest && oldest < Number(then.to), `${oldest} is in sight: ${JSON.stringify(then)}`);
    await program.send([priceEvent('BTC', freshPrice(), Date.now()), priceEvent('BTC', freshPrice(), Date.now() - 3_600_000)]);
    await sleep(1500);
    assert.deepEqual(await address(page), then, 'nor does what happens at the end');
    return page;
  }],

  ['gaps are listed, and lead to their place', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, '#tab=gaps');
    await eventually('words', async () => /What is missing of \w+:/.test(await text(page, '#gaps-content')));
    const words = await text(page, '#gaps-content');
    if (/Prices carry no ids/.test(words)) return page;
    assert.match(words, /trades in .*gap/);
    const gap = page.locator('.gap-list button').last();
    await gap.click();
    await eventually('its place', async () => 'from' in (await address(page)));
    const box = await page.locator('#strip').boundingBox();
    await page.mouse.move(box.x + (box.width - 70) * 0.5, box.y + 5);
    await eventually('the strip says so', async () => /nothing was received for/.test(await text(page, '#strip-tip')));
    await page.mouse.click(box.x + (box.width - 70) * 0.5, box.y + 5);
    await eventually('why explains it', async () => /happened, but never received.*did not run/.test(await text(page, '#why-content')));
    return page;
  }],

  ['contrast is AA in light and dark, on each tab', {}, async ({ newPage, program }) => {
    for (const theme of ['light', 'dark']) {
      const page = await openPage(newPage, program, `#theme=${theme}`, { reducedMotion: 'reduce' });
      await page.locator('#chart').focus();
      await page.keyboard.press('ArrowLeft');
      await page.keyboard.press('Enter');
      await page.locator('#why-content .facts').first().waitFor();
      for (const tab of ['why', 'prices', 'gaps', 'ledger', 'rates']) {
        await page.locator('#tab-' + tab).click();
        await eventually('content', async () => (await text(page, '#panel-' + tab)).length > 20);
        assert.deepEqual(await weakTexts(page), [], `${theme}, ${tab}`);
      }
      assert.equal(await page.evaluate(() => [...document.querySelectorAll('[class*=flash]')].filter((e) => getComputedStyle(e).animationName !== 'none').length), 0);
    }
  }],

  ['a phone of 360 pixels: nothing is cut off, fingers move the chart', {}, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, '', { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
    await eventually('candles are drawn', async () => (await candlePixels(page)) > 100);
    for (const tab of ['prices', 'why', 'gaps', 'ledger', 'rates']) {
      await page.locator('#tab-' + tab).tap();
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= 360, `${tab}: ${wide} pixels wide`);
    }
    for (const selector of ['#symbol', '#last-price', '#more-intervals', '#zone', '#theme', '#live', '#go-to', '#scale-auto', '#attribution']) {
      const box = await page.locator(selector).boundingBox();
      assert.ok(box && box.x >= 0 && box.x + box.width <= 360.5, `${selector} is in sight`);
    }
    const box = await page.locator('#chart').boundingBox();
    const session = await page.context().newCDPSession(page);
    const touch = (type, x) => session.send('Input.dispatchTouchEvent', { type, touchPoints: x === null ? [] : [{ x, y: box.y + 150 }] });
    await touch('touchStart', box.x + 60);
    for (let x = 60; x <= 240; x += 20) await touch('touchMove', box.x + x);
    await touch('touchEnd', null);
    await page.locator('#to-latest').waitFor({ state: 'visible' });
    return page;
  }],

  ['thousands of series', { empty: true, send: true }, async ({ newPage, program }) => {
    const now = Date.now();
    for (let i = 0; i < 6000; i += 1000) {
      await program.send(Array.from({ length: 1000 }, (_, n) => priceEvent(`C${String(i + n).padStart(4, '0')}`, `${i + n + 1}.5`, now)));
    }
    const page = await openPage(newPage, program);
    await eventually('all are known', async () => (await text(page, '#prices-count')) === '6000');
    assert.ok((await page.locator('#prices-body tr').count()) < 120, 'only the rows in sight are in the document');
    await page.keyboard.type('c4711');
    await eventually('found', async () => (await text(page, '#search-list [aria-selected=true] .pair')) === 'C4711/USDT');
    await page.keyboard.press('Enter');
    await eventually('shown', async () => (await text(page, '#last-price')) === '4712.5');
    await page.locator('th[data-column=price] button').click();
    await eventually('the dearest first', async () => (await page.locator('#prices-body tr[data-key]').nth(0).textContent()).includes('C5999'));
    await page.locator('th[data-column=change] button').click();
    await page.locator('#prices-scroll').evaluate((e) => (e.scrollTop = 80_000));
    await eventually('rows far down have a change', async () => /%/.test(await page.locator('#prices-body tr[data-key]:visible').nth(12).textContent()), 20_000);
    return page;
  }],

  ['a page that stays open does not grow', { fault: true }, async ({ newPage, program }) => {
    const page = await openPage(newPage, program, '#s=binance:BTC/USDT&k=trade&i=1m&tz=UTC');
    const session = await page.context().newCDPSession(page);
    await session.send('HeapProfiler.enable');
    // In steps that the page keeps up with: the market's hours take seconds.
    const hours = async (count) => {
      for (let i = 0; i < 2 * count; i++) {
        const rows = await shown(page);
        await program.fault({ hours: 0.5 });
        await eventually('half an hour later', async () => (await shown(page)) >= rows + 12, 30_000);
      }
    };
    await hours(2);
    const before = await heap(session);
    await hours(5);
    const after = await heap(session);
    assert.ok(await page.locator('#to-latest').isHidden(), 'it follows');
    assert.ok(after.nodes < before.nodes * 1.2 + 100, `${before.nodes} nodes, then ${after.nodes}`);
    assert.ok(after.listeners <= before.listeners + 10, `${before.listeners} listeners, then ${after.listeners}`);
    assert.ok(after.bytes < before.bytes + 6_000_000, `${before.bytes} bytes, then ${after.bytes}`);
    return page;
  }],

  ['nothing is let in from elsewhere, and whose work is in it is said', {}, async ({ newPage, program }) => {
    const asked = [];
    const page = await newPage();
    page.on('request', (request) => asked.push(request.url()));
    const answer = await page.goto(program.url);
    const policy = answer.headers()['content-security-policy'];
    assert.match(policy, /default-src 'self'/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.ok(!/unsafe|data:|\*|ws:/.test(policy), policy);
    await eventually('live', async () => (await text(page, '#live-text')) === 'live' && (await shown(page)) > 0);
    assert.deepEqual(asked.filter((u) => !u.startsWith(program.url)), []);
    const licences = await page.evaluate(() => fetch('/licenses.txt').then((r) => r.text()));
    for (const name of ['Lightweight Charts', 'fancy-canvas', 'Apache License']) assert.ok(licences.includes(name), name);
    return page;
  }],

  ['a token is asked for, refused, kept', { empty: true, send: true, token: 's3cret' }, async ({ newPage, program }) => {
    await program.send([priceEvent('BTC', '50000.1', Date.now())]);
    const page = await newPage();
    await page.goto(program.url);
    await page.locator('#token').waitFor({ state: 'visible' });
    assert.equal(await text(page, '#live-text'), 'locked');
    await page.fill('#token-input', 'wrong');
    await page.keyboard.press('Enter');
    await page.locator('#token-why').waitFor({ state: 'visible' });
    await page.fill('#token-input', 's3cret');
    await page.locator('#token-keep').check();
    await page.locator('#token button').click();
    await eventually('live', async () => (await text(page, '#live-text')) === 'live' && (await text(page, '#last-price')) === '50000.1');
    await program.send([priceEvent('BTC', '50001.1', Date.now())]);
    await eventually('it moves', async () => (await text(page, '#last-price')) === '50001.1');
    const other = await page.context().newPage();
    await other.goto(program.url);
    await eventually('kept for the next tab', async () => (await text(other, '#last-price')) === '50001.1');
    return page;
  }],
];
