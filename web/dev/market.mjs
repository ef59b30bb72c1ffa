// The mock's market: minute candles, generated for the past (a function of series and minute, so that any part can be had
// at any time) or folded from prices that came in; longer intervals merged from them. A stand-in: doubles are good enough.

export const MINUTE = 60_000;
const UNIT = { s: 1000, m: MINUTE, h: 3_600_000, d: 86_400_000, w: 604_800_000, M: 2_629_800_000 };

function noise(seed, n) {
  let h = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(n | 0, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return ((h ^ (h >>> 15)) >>> 0) / 4294967296;
}

const text = (value, decimals) => value.toFixed(decimals).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '');

const formats = new Map();
export function offset(zone, ms) {
  if (zone === 'UTC') return 0;
  const fixed = /^([+-])(\d\d):(\d\d)$/.exec(zone);
  if (fixed) return (fixed[1] === '-' ? -1 : 1) * (fixed[2] * 60 + +fixed[3]) * MINUTE;
  if (!formats.has(zone)) {
    formats.set(zone, new Intl.DateTimeFormat('en-US', { timeZone: zone, hourCycle: 'h23', year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' }));
  }
  const p = Object.fromEntries(formats.get(zone).formatToParts(ms).map((x) => [x.type, +x.value]));
  return Date.UTC(p.year, p.month - 1, p.day, p.hour, p.minute, p.second) - Math.floor(ms / 1000) * 1000;
}

export function lengthOf(interval) {
  if (!/^[1-9]\d{0,4}[smhdwM]$/.test(interval)) return 0;
  return parseInt(interval) * UNIT[interval.slice(-1)];
}

/** Where the candle that holds `ms` begins. */
export function begin(interval, zone, ms) {
  const unit = interval.slice(-1);
  const local = ms + offset(zone, ms);
  let start;
  if (unit === 'M') {
    const d = new Date(local);
    start = Date.UTC(d.getUTCFullYear(), d.getUTCMonth(), 1);
  } else {
    const origin = unit === 'w' ? 4 * UNIT.d : 0; // 1970-01-05 was a Monday
    const length = lengthOf(interval);
    start = Math.floor((local - origin) / length) * length + origin;
  }
  const guess = start - offset(zone, ms);
  return start - offset(zone, guess);
}

export function next(interval, zone, start) {
  return begin(interval, zone, start + lengthOf(interval) * 1.5);
}

export class Series {
  /** `from`: where the generated past begins; Infinity: there is none. */
  constructor({ venue, base, quote, kind, price = 1, decimals = 2, from = Infinity, activity = 1 }) {
    Object.assign(this, { venue, base, quote, kind, price, decimals, from, activity });
    this.name = `${venue}:${base}/${quote}`;
    this.seed = [...(this.name + kind)].reduce((h, c) => (Math.imul(h, 31) + c.charCodeAt(0)) | 0, 7);
    this.minutes = new Map();
    this.first = from;
    this.last = null; // {price, time}
    this.until = Infinity; // where the generated past ends
  }

  level(t) {
    const m = t / MINUTE;
    const s = (this.seed >>> 8) % 1000;
    const wave = Math.sin(m / 9700 + s) * 0.06 + Math.sin(m / 1310 + 2 * s) * 0.02 + Math.sin(m / 173 + 3 * s) * 0.006 + Math.sin(m / 31 + 5 * s) * 0.0022;
    const a = Math.floor(m);
    const rough = (i) => (noise(this.seed, i) - 0.5) * 0.0022;
    return this.price * Math.exp(wave + rough(a) + (rough(a + 1) - rough(a)) * (m - a));
  }

  generated(minute) {
    const t = minute * MINUTE;
    if (t < this.from || t >= this.until) return null;
    const r = noise(this.seed + 1, minute);
    const hour = Math.floor(minute / 173);
    if (noise(this.seed + 2, hour) < 0.12 && minute % 173 > 80 && minute % 173 < 88) return null; // a hole
    const quiet = this.activity < 1 ? r > this.activity : r > 0.985;
    const open = this.level(t);
    if (quiet) return { open, high: open, low: open, close: open, volume: 0, trades: 0, coverage: 'quiet', revision: 0 };
    const close = this.level(t + MINUTE);
    const spread = this.level(t) * 0.0009;
    const partial = noise(this.seed + 2, hour) > 0.9 && minute % 173 > 40 && minute % 173 < 52;
    return {
      open,
      close,
      high: Math.max(open, close) + spread * noise(this.seed + 3, minute) ** 2,
      low: Math.min(open, close) - spread * noise(this.seed + 4, minute) ** 2,
      volume: (1 + 9 * r ** 4) * (1 + 40 * Math.abs(close / open - 1) * 100) * (20000 / this.price),
      trades: 20 + Math.floor(400 * r ** 3),
      coverage: partial ? 'partial' : 'traded',
      revision: r < 0.01 ? 1 : 0,
    };
  }

  minute(m) {
    return this.minutes.get(m) ?? this.generated(m);
  }

  /** Folds one event; returns its minute. */
  fold(time, price, quantity) {
    const m = Math.floor(time / MINUTE);
    if (!this.minutes.has(m)) {
      const past = this.generated(m);
      this.minutes.set(m, past ?? { open: price, high: price, low: price, close: price, volume: 0, trades: 0, coverage: 'traded', revision: 0, first: time, last: time });
    }
    const c = this.minutes.get(m);
    c.first ??= time;
    c.last ??= time;
    if (time < c.first) [c.open, c.first] = [price, time];
    if (time >= c.last) [c.close, c.last] = [price, time];
    c.high = Math.max(c.high, price);
    c.low = Math.min(c.low, price);
    c.volume += quantity;
    c.trades++;
    c.coverage = c.coverage === 'quiet' ? 'traded' : c.coverage;
    this.first = Math.min(this.first, m * MINUTE);
    if (!this.last || time >= this.last.time) this.last = { price, time };
    return m;
  }

  /** The candle that begins at `start`, or null. */
  candle(interval, start, end, now) {
    const total = Math.round((end - start) / MINUTE);
    const stop = Math.min(end, Math.floor(now / MINUTE) * MINUTE + MINUTE);
    // Long intervals are sampled: a mock need not add up.
    const stride = total > 3000 ? Math.floor(total / 300) : 1;
    let sum = null;
    let covered = 0;
    const seen = { traded: 0, quiet: 0, partial: 0, unknown: 0 };
    for (let t = start; t < stop; t += MINUTE) {
      const recent = this.minutes.has(t / MINUTE);
      if (stride > 1 && !recent && ((t - start) / MINUTE) % stride && t + MINUTE < stop) continue;
      const c = this.minute(t / MINUTE);
      seen[c?.coverage ?? 'unknown']++;
      if (!c) continue;
      covered += c.coverage === 'traded' || c.coverage === 'quiet' ? (recent ? 1 : stride) : 0;
      if (!sum) sum = { ...c };
      else {
        sum.high = Math.max(sum.high, c.high);
        sum.low = Math.min(sum.low, c.low);
        sum.close = c.close;
        sum.volume += c.volume * (recent ? 1 : stride);
        sum.trades += c.trades * (recent ? 1 : stride);
        sum.revision = Math.max(sum.revision, c.revision);
      }
    }
    if (!sum) return null;
    const known = seen.traded + seen.quiet;
    const coverage = !seen.partial && !seen.unknown ? (seen.traded ? 'traded' : 'quiet') : known + seen.partial ? 'partial' : 'unknown';
    return this.render(sum, { interval, start, end, coverage, covered: Math.min(total, covered), final: end <= now - 2000 });
  }

  render(c, { interval, start, end, coverage, covered, final }) {
    const price = (v) => text(v, this.decimals);
    const prices = this.kind === 'price';
    const volume = prices ? 0 : c.volume;
    const first = Math.floor(start / MINUTE) * 1000;
    return {
      series: this.name, interval, open_time: start, close_time: end - 1,
      open: price(c.open), high: price(c.high), low: price(c.low), close: price(c.close),
      volume: text(volume, 5), quote_volume: text(volume * c.close, 4), trades: c.trades,
      taker_buy_volume: text(volume * 0.52, 5), taker_buy_quote_volume: text(volume * 0.52 * c.close, 4),
      first_id: prices ? -1 : first, last_id: prices ? -1 : first + c.trades - 1,
      coverage, covered_minutes: covered, basis: prices ? 'prices' : 'trades', final, revision: c.revision,
      native_interval: '1m', hash: (BigInt(first) * 0x9e3779b97f4a7c15n & 0xffffffffffffffffn).toString(16).padStart(16, '0'),
    };
  }

  candles({ interval, zone, from, to, limit, now }) {
    const rows = [];
    const end = Math.min(to ?? Infinity, now + 1);
    if (from !== undefined && from !== null) {
      let t = begin(interval, zone, Math.max(from, this.first));
      if (t < from) t = next(interval, zone, t);
      for (; t < end && rows.length < limit; t = next(interval, zone, t)) {
        const c = this.candle(interval, t, next(interval, zone, t), now);
        if (c) rows.push(c);
      }
      return rows;
    }
    let t = begin(interval, zone, end - 1);
    for (; t + lengthOf(interval) > this.first - lengthOf(interval) && rows.length < limit; t = begin(interval, zone, t - 1)) {
      const c = this.candle(interval, t, next(interval, zone, t), now);
      if (c) rows.push(c);
    }
    return rows.reverse();
  }

  info() {
    return { series: this.name, venue: this.venue, base: this.base, quote: this.quote, kind: this.kind, last_seen: this.last?.time ?? 0, price: text(this.last?.price ?? this.price, this.decimals), decimals: this.decimals };
  }

  latest() {
    const { series, kind, last_seen: time, price } = this.info();
    return { series, kind, price, time };
  }
}

const PAIRS = [
  ['BTC', 64000, 2, 1], ['ETH', 3400, 2, 1], ['SOL', 152.4, 2, 1], ['XRP', 0.5213, 4, 1], ['BNB', 587, 1, 1], ['DOGE', 0.1214, 5, 1], ['ADA', 0.3871, 4, 1],
  ['TRX', 0.1274, 4, 1], ['LINK', 13.61, 3, 1], ['AVAX', 26.4, 2, 1], ['LTC', 71.2, 2, 0.8], ['SHIB', 0.00001712, 8, 1], ['DOT', 6.02, 3, 1], ['UNI', 8.1, 3, 0.7], ['PEPE', 0.0000093, 10, 1],
];

/** A market of many pairs on several exchanges. */
export function liveMarket(days, now) {
  const from = Math.floor((now - days * 86_400_000) / MINUTE) * MINUTE;
  const all = [];
  for (const [base, price, decimals, activity] of PAIRS) {
    all.push(new Series({ venue: 'binance', base, quote: 'USDT', kind: 'trade', price, decimals, from, activity }));
    if (price > 1) all.push(new Series({ venue: 'huobi', base, quote: 'USDT', kind: 'trade', price: price * 1.0004, decimals, from, activity: activity * 0.8 }));
  }
  all.push(new Series({ venue: 'binance', base: 'ETH', quote: 'BTC', kind: 'trade', price: 0.0531, decimals: 5, from, activity: 0.6 }));
  all.push(new Series({ venue: 'binance', base: 'BTC', quote: 'USDT', kind: 'price', price: 64000, decimals: 1, from }));
  all.push(new Series({ venue: 'coinbase', base: 'BTC', quote: 'USD', kind: 'price', price: 64010, decimals: 2, from }));
  return all;
}
