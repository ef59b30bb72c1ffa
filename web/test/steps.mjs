// What page tests are made of.
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function eventually(what, check, ms = 10_000) {
  const until = Date.now() + ms;
  for (;;) {
    const answer = await check();
    if (answer) return answer;
    if (Date.now() > until) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(50);
  }
}

export const text = (page, selector) => page.locator(selector).textContent();
export const shown = (page) => page.evaluate(() => Number(document.getElementById('chart').dataset.candles ?? 0));
export const padded = (price, decimals) => {
  const have = price.split('.')[1]?.length ?? 0;
  return have >= decimals ? price : price + (have ? '' : '.') + '0'.repeat(decimals - have);
};

export async function openPage(newPage, program, hash = '', options = {}) {
  const page = await newPage(options);
  await page.goto(program.url + '/' + hash);
  await eventually('candles are loaded', async () => (await shown(page)) > 0);
  return page;
}

/** Pixels of the candles' two colours on the chart. */
export function candlePixels(page) {
  return page.evaluate(() => {
    const style = getComputedStyle(document.documentElement);
    const rgb = (name) => style.getPropertyValue(name).trim().match(/\w\w/g).slice(0, 3).map((h) => parseInt(h, 16));
    const colors = [rgb('--up'), rgb('--down')];
    let found = 0;
    for (const canvas of document.querySelectorAll('#chart td canvas')) {
      if (!canvas.width || !canvas.height) continue;
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      for (let i = 0; i < data.length; i += 4) {
        if (colors.some((c) => Math.abs(data[i] - c[0]) + Math.abs(data[i + 1] - c[1]) + Math.abs(data[i + 2] - c[2]) < 6)) found++;
      }
    }
    return found;
  });
}

let tick = 0;
/** A price that no earlier one equals. */
export const freshPrice = () => `${51_000 + (++tick % 50)}.${String(Math.floor(Math.random() * 90) + 10)}7`;

export const BTC = '#s=binance:BTC/USDT&k=price&i=1m&tz=UTC';

/** Of the chart's pane: pixels of volume bars by height (rows from the top), and the rows that the last price's line crosses right of
 * the newest candle. */
export function chartPixels(page) {
  return page.evaluate(() => {
    const style = getComputedStyle(document.documentElement);
    const rgba = (name) => (style.getPropertyValue(name).trim().match(/\w\w/g) ?? []).map((h) => parseInt(h, 16));
    const canvas = document.querySelector('#chart td:nth-child(2) canvas');
    const { data, width, height } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const pixel = (x, y) => data.subarray((y * width + x) * 4, (y * width + x) * 4 + 3);
    const near = (p, c) => Math.abs(p[0] - c[0]) + Math.abs(p[1] - c[1]) + Math.abs(p[2] - c[2]) < 12;
    const under = rgba('--surface');
    const over = (c) => c.slice(0, 3).map((v, i) => (v * c[3] + under[i] * (255 - c[3])) / 255);
    const volumes = [over(rgba('--up-volume')), over(rgba('--down-volume'))];
    const prices = [rgba('--up'), rgba('--down')];
    const volume = [];
    const line = [];
    for (let y = 0; y < height; y++) {
      let bars = 0;
      for (let x = 0; x < width; x++) if (volumes.some((c) => near(pixel(x, y), c))) bars++;
      volume.push(bars);
      let dots = 0;
      for (let x = width - 16; x < width; x++) if (prices.some((c) => near(pixel(x, y), c))) dots++;
      if (dots >= 4) line.push(y);
    }
    return { height, volume, line };
  });
}
