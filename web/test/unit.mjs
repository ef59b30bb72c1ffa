// The parts without a document: decimals, zones, intervals, the address, the search.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const src = join(dirname(fileURLToPath(import.meta.url)), '../src');

async function load() {
  const out = mkdtempSync(join(tmpdir(), 'page-unit-'));
  globalThis.location ??= { hash: '', host: 'test' };
  try {
    const names = ['decimal', 'zone', 'interval', 'address', 'catalog', 'rates', 'feed'];
    await build({ entryPoints: names.map((n) => join(src, n + '.ts')), outdir: out, bundle: true, format: 'esm', outExtension: { '.js': '.mjs' }, logLevel: 'error' });
    return Object.fromEntries(await Promise.all(names.map(async (n) => [n, await import(pathToFileURL(join(out, n + '.mjs')))])));
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

export async function unitTests() {
  const { decimal, zone, interval, address, catalog, rates, feed } = await load();
  return [
    ['decimals stay exact', () => {
      assert.equal(decimal.padded('50000.1', 2), '50000.10');
      assert.equal(decimal.padded('0.1234567890123456789', 2), '0.1234567890123456789');
      assert.equal(decimal.padded('7', 3), '7.000');
      assert.equal(decimal.padded('n/a', 3), 'n/a');
      assert.equal(decimal.minus('0.3', '0.1'), '0.2');
      assert.equal(decimal.minus('99999999999999999999.01', '99999999999999999999'), '0.01');
      assert.equal(decimal.minus('1', '1.5'), '-0.5');
      assert.equal(decimal.signed('-0.50'), '−0.50');
      assert.equal(decimal.signed('0.00'), '0.00');
      assert.equal(decimal.sign('-0.00'), 0);
      assert.equal(decimal.percent('200', '201'), '+0.50 %');
      assert.equal(decimal.grouped('1234567.1234'), '1\u202f234\u202f567.1234');
      assert.equal(decimal.decimalsOf('1.250'), 3);
    }],
    ['zones know summer time and odd offsets', () => {
      const berlin = new zone.Zone('Europe/Berlin');
      const spring = Date.UTC(2026, 2, 29, 1, 0); // clocks go from 2 to 3
      assert.equal(berlin.clock(spring - 1000), '01:59:59');
      assert.equal(berlin.clock(spring), '03:00:00');
      assert.equal(berlin.label(spring), 'UTC+2');
      assert.equal(new zone.Zone('Asia/Kolkata').label(spring), 'UTC+5:30');
      assert.equal(new zone.Zone('UTC').date(Date.UTC(2024, 1, 29)), '2024-02-29');
      const york = new zone.Zone('America/New_York');
      assert.equal(york.date(Date.UTC(2024, 0, 1, 4)), '2023-12-31');
      assert.equal(zone.Zone.valid('Mars/Olympus'), false);
    }],
    ['intervals know when the zone matters', () => {
      assert.equal(interval.uniform('1M', 'UTC'), false);
      assert.equal(interval.uniform('1w', 'UTC'), true);
      assert.equal(interval.uniform('1d', 'Europe/Berlin'), false);
      assert.equal(interval.valid('1M'), true);
      assert.equal(interval.valid('0m'), false);
      const utc = new zone.Zone('UTC');
      assert.equal(interval.timeText(utc, Date.UTC(2026, 0, 5), '1d'), 'Mon 2026-01-05');
      assert.equal(interval.timeText(utc, Date.UTC(2026, 0, 5), '1m'), 'Mon 2026-01-05 00:00');
    }],
    ['the address goes there and back', () => {
      const view = { series: 'binance:BTC/USDT', kind: 'trade', interval: '4h', zone: 'America/New_York' };
      const text = address.addressText(view, { from: 1000, to: 2000 }, 'dark', 'why');
      assert.equal(text, '#s=binance:BTC/USDT&k=trade&i=4h&tz=America/New_York&from=1000&to=2000&theme=dark&tab=why');
      assert.deepEqual(address.readAddress(text), { view, range: { from: 1000, to: 2000 }, theme: 'dark', tab: 'why' });
      assert.deepEqual(address.readAddress('#i=9x&tz=Nowhere&from=5&to=1&theme=pink&tab=x&k=z'), { view: {}, range: null, theme: null, tab: null });
      assert.deepEqual(address.readAddress('#bars=120').range, { bars: 120 });
    }],
    ['the search is fuzzy, and dollars come first', () => {
      const c = new catalog.Catalog();
      c.all = ['binance:ETH/BTC', 'binance:ETH/USDT', 'huobi:BTC/USDT', 'binance:BTC/USDT', 'binance:DOGE/USDT'].map((series) => {
        const [venue, pair] = series.split(':');
        const [base, quote] = pair.split('/');
        return { series, venue, base, quote, kind: 'trade', last_seen: 0, price: '1', decimals: 2 };
      });
      const names = (text) => c.search(text, 10).found.map((s) => s.series);
      assert.equal(names('eth')[0], 'binance:ETH/USDT');
      assert.equal(names('btcusdt')[0], 'binance:BTC/USDT');
      assert.equal(names('hubtc')[0], 'huobi:BTC/USDT');
      assert.equal(names('btc huobi')[0], 'huobi:BTC/USDT');
      assert.deepEqual(names('zzz'), []);
      assert.equal(names('').length, 5);
      assert.equal(c.search('', 2).more, 3);
    }],
    ['durations and countdowns', () => {
      assert.equal(interval.duration(7 * 60_000 + 2_400), '7 min 2 s');
      assert.equal(interval.duration(26 * 3_600_000), '1 d 2 h');
      assert.equal(interval.duration(3_600_000), '1 h');
      assert.equal(interval.duration(400), '< 1 s');
      const minute = { open_time: 60_000, close_time: 119_999 };
      assert.equal(interval.countdown(minute, '1m', 75_000), '00:45');
      assert.equal(interval.countdown(minute, '1m', 130_000), '00:50', 'of a quiet minute too');
      assert.equal(interval.countdown({ open_time: 0, close_time: 14_399_999 }, '4h', 1000), '3:59:59');
      assert.equal(interval.countdown({ open_time: 0, close_time: 604_799_999 }, '1w', 0), '7d 00h');
      assert.equal(decimal.compact(1234567), '1.23 M');
      assert.equal(decimal.compact(0.5), '0.5000');
    }],
    ['a feed holds so many rows and no more, at either end', async () => {
      const minute = 60_000;
      const candle = (i) => ({ open_time: i * minute, close_time: i * minute + minute - 1, close: '1', basis: 'trades', trades: 1, revision: 0, final: true });
      const newest = 200_000;
      globalThis.sessionStorage ??= { getItem: () => null };
      globalThis.localStorage ??= { getItem: () => null };
      const real = globalThis.fetch;
      globalThis.fetch = async (path) => {
        const p = new URL(path, 'http://test').searchParams;
        const limit = Number(p.get('limit'));
        const from = p.has('from') ? Math.ceil(Number(p.get('from')) / minute) : Math.max(0, (p.has('to') ? Number(p.get('to')) / minute : newest) - limit);
        const to = Math.min(from + limit, p.has('to') ? Number(p.get('to')) / minute : newest);
        return new Response(JSON.stringify(Array.from({ length: to - from }, (_, i) => candle(from + i))));
      };
      try {
        let follows = true;
        const changes = [];
        const f = new feed.Feed({ series: 'a:B/C', kind: 'trade', interval: '1m', zone: 'UTC' }, { following: () => follows, changed: (c) => changes.push(c.what), busy: () => {}, failed: (e) => assert.fail(e) });
        const whole = () => f.rows.every((row, i) => i === 0 || row.open_time === f.rows[i - 1].close_time + 1);
        await f.loadNewest();
        for (let i = 0; i < 2 * feed.ROWS_MAXIMUM; i++) f.apply(candle(newest + i));
        assert.ok(f.rows.length <= feed.ROWS_MAXIMUM && f.rows.length > feed.ROWS_MAXIMUM / 2 && f.atEnd && !f.atStart && whole());
        assert.equal(f.rows[f.rows.length - 1].open_time, (newest + 2 * feed.ROWS_MAXIMUM - 1) * minute);
        await f.loadNewest();
        for (let i = 0; i < 60; i++) await f.loadOlder();
        assert.ok(f.rows.length <= feed.ROWS_MAXIMUM && !f.atEnd && whole(), 'the newest were let go');
        assert.equal(f.rows[0].open_time, (newest - 500 - 60_000) * minute);
        f.apply(candle(newest));
        assert.ok(whole(), 'what is beyond the end is not put behind a hole');
        while (!f.atEnd) await f.loadNewer();
        assert.ok(f.rows.length <= feed.ROWS_MAXIMUM && whole());
        assert.equal(f.rows[f.rows.length - 1].open_time, (newest - 1) * minute);
        follows = false;
        for (let i = 0; i < feed.ROWS_MAXIMUM; i++) f.apply(candle(newest + i));
        assert.ok(f.rows.length <= feed.ROWS_MAXIMUM && whole(), 'while one looks at the past');
      } finally {
        globalThis.fetch = real;
      }
    }],
    ['metrics are read', () => {
      assert.deepEqual(rates.parseMetrics('# HELP a b\na_total{x="1 2"} 3\nb 4.5 1700000000\n'), [
        { name: 'a_total', labels: '{x="1 2"}', value: '3' },
        { name: 'b', labels: '', value: '4.5' },
      ]);
    }],
  ];
}
