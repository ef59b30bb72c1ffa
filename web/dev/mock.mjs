// A stand-in for the program, for work on the page and for its tests: the routes and the websocket of docs/http.md over a
// random market, and faults on demand.
//   node dev/mock.mjs [--listen HOST:PORT] [--days N] [--empty] [--dist DIR]
// POST /mock with {"silent":true} (no more heartbeats or changes), {"drop":true} (cuts the websockets), {"refuse":true}
// (no new ones), {"hours":N} (so many hours of the market at once), {"fail":{"path","status","message","count"}}, {"revise":{"series","time"}}, {"behind":true}, {"unbalanced":true}.
import { createServer } from 'node:http';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { begin, lengthOf, liveMarket, MINUTE, next, Series } from './market.mjs';
import { accept } from './websocket.mjs';

const option = (name, fallback) => {
  const at = process.argv.indexOf('--' + name);
  return at < 0 ? fallback : process.argv[at + 1];
};
const dist = option('dist', join(dirname(fileURLToPath(import.meta.url)), '../dist'));
const [host, port] = option('listen', '127.0.0.1:8788').split(':');
const run = Date.now().toString(36);
const started = Date.now();
const series = new Map();
const changes = []; // {sequence, series, minute}
const clients = new Set();
let ahead = 0; // of the real clock
const clock = () => Date.now() + ahead;
const fault = { silent: false, refuse: false, fail: null, behind: false, unbalanced: false };
let sequence = 0;
let events = 0;
let recent = 0;

const keyOf = (name, kind) => `${name.toUpperCase()}|${kind}`;
const add = (s) => series.set(keyOf(s.name, s.kind), s);
if (!process.argv.includes('--empty')) {
  for (const s of liveMarket(Number(option('days', '60')), started)) {
    s.until = Math.floor(started / MINUTE) * MINUTE + MINUTE;
    s.last = { price: s.level(started), time: started - 1 };
    add(s);
  }
}
const generating = series.size > 0;

function find(name, kind) {
  const known = kind ? series.get(keyOf(name, kind)) : (series.get(keyOf(name, 'trade')) ?? series.get(keyOf(name, 'price')));
  if (!known) throw Object.assign(new Error(`there is no series ${name}`), { status: 404, code: 'unknown_series', at: 'series' });
  return known;
}

function bad(message, at) {
  return Object.assign(new Error(message), { status: 400, code: 'syntax', at });
}

// --- changes and the websocket ---

const cursor = () => `${run}:${sequence}`;

function candleAt(s, sub, time) {
  const zone = sub.tz ?? 'UTC';
  const start = begin(sub.interval, zone, time);
  return s.candle(sub.interval, start, next(sub.interval, zone, start), clock());
}

function send(client, message) {
  if (!fault.silent) client.socket.send(message);
}

function forEachSub(s, work) {
  for (const client of clients) {
    for (const sub of client.subs) {
      if (sub.series !== '*' && sub.series.toUpperCase() === s.name.toUpperCase() && (sub.kind ?? s.kind) === s.kind) work(client, sub);
    }
  }
}

function changed(s, minute) {
  changes.push({ sequence: ++sequence, series: s, minute });
  if (changes.length > 20000) changes.splice(0, 10000);
  forEachSub(s, (client, sub) => {
    const candle = candleAt(s, sub, minute * MINUTE);
    if (candle) send(client, { type: candle.final ? 'closed' : 'open', candle, cursor: cursor() });
  });
}

function subscribe(client, message) {
  const [from, at] = String(message.cursor ?? '').split(':');
  const resumes = from === run && changes.length && changes[0].sequence <= Number(at) + 1;
  for (const sub of message.subscribe) {
    if (sub.series === '*') {
      client.subs.push(sub);
      send(client, { type: 'latest', latest: [...series.values()].map((s) => s.latest()), cursor: cursor() });
      continue;
    }
    let s;
    try {
      s = find(sub.series, sub.kind);
    } catch (error) {
      send(client, { type: 'error', error: { code: error.code, message: error.message, at: 'subscribe' } });
      continue;
    }
    client.subs.push(sub);
    if (!resumes) {
      const candles = s.candles({ interval: sub.interval, zone: sub.tz ?? 'UTC', limit: message.snapshot ?? 1, now: clock() });
      send(client, { type: 'snapshot', series: s.name, interval: sub.interval, candles, cursor: cursor() });
      continue;
    }
    const since = new Set(changes.filter((c) => c.sequence > Number(at) && c.series === s).map((c) => begin(sub.interval, sub.tz ?? 'UTC', c.minute * MINUTE)));
    for (const start of since) {
      const candle = candleAt(s, sub, start);
      if (candle) send(client, { type: candle.final ? 'closed' : 'open', candle, cursor: cursor() });
    }
  }
}

function onMessage(client, text) {
  const message = JSON.parse(text);
  if (message.unsubscribe) {
    const gone = new Set(message.unsubscribe.map((u) => `${u.series}|${u.interval}|${u.kind ?? ''}|${u.tz ?? ''}`));
    client.subs = client.subs.filter((u) => !gone.has(`${u.series}|${u.interval}|${u.kind ?? ''}|${u.tz ?? ''}`));
  }
  if (message.subscribe) subscribe(client, message);
}

// --- the market moves ---

function tick() {
  const now = clock();
  for (const s of series.values()) {
    if (Math.random() > 0.35 * s.activity) continue;
    const level = s.level(now) * (1 + (Math.random() - 0.5) * 0.0003);
    const m = s.fold(now, Number(level.toFixed(s.decimals)), Math.random() * (2000 / s.price));
    events++;
    recent++;
    changed(s, m);
  }
}

let lastMinute = Math.floor(started / MINUTE);
function minuteEnds() {
  const now = Math.floor((clock() - 2000) / MINUTE);
  for (; lastMinute < now; lastMinute++) {
    for (const s of series.values()) {
      if (!s.minute(lastMinute)) continue;
      forEachSub(s, (client, sub) => {
        const candle = candleAt(s, sub, lastMinute * MINUTE);
        if (candle?.final) send(client, { type: 'closed', candle, cursor: cursor() });
      });
    }
  }
}

let latestSent = new Map();
function sendLatest() {
  const moved = [...series.values()].filter((s) => latestSent.get(s) !== s.last?.time);
  latestSent = new Map([...series.values()].map((s) => [s, s.last?.time]));
  if (!moved.length) return;
  for (const client of clients) {
    if (client.subs.some((u) => u.series === '*')) send(client, { type: 'latest', latest: moved.map((s) => s.latest()), cursor: cursor() });
  }
}

/** So many hours of the market in some seconds: what a page that stays open all day is sent. */
async function runHours(hours) {
  for (let minute = 0; minute < hours * 60; minute++) {
    for (let quarter = 0; quarter < 4; quarter++) {
      ahead += MINUTE / 4;
      tick();
    }
    minuteEnds();
    sendLatest();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

if (generating) setInterval(tick, 250);
setInterval(minuteEnds, 250);
setInterval(sendLatest, 250);
setInterval(() => clients.forEach((client) => send(client, { type: 'heartbeat', time: clock() })), 5000);
let rate = 0;
setInterval(() => {
  rate = recent / 2;
  recent = 0;
}, 2000);

// --- routes ---

function getCandles(p) {
  const s = find(p.get('series') ?? '', p.get('kind'));
  const interval = p.get('interval') ?? '1m';
  if (!lengthOf(interval)) throw bad(`interval: ${interval} is none`, 'interval');
  const number = (name) => (p.has(name) ? Number(p.get(name)) : undefined);
  return s.candles({ interval, zone: p.get('tz') ?? 'UTC', from: number('from'), to: number('to'), limit: Math.min(50_000, number('limit') ?? 500), now: clock() });
}

function why(p) {
  const s = find(p.get('series') ?? '', p.get('kind'));
  const time = Math.floor(Number(p.get('time')) / MINUTE) * MINUTE;
  const candle = s.candle('1m', time, time + MINUTE, clock());
  const partial = candle?.coverage === 'partial';
  return {
    candle,
    holes: partial ? [{ first_id: candle.first_id + 3, last_id: candle.first_id + 9 }] : [],
    lane: { first_id: s.kind === 'price' ? -1 : 1, last_id: s.kind === 'price' ? -1 : 983_113, used: events, late: 3, duplicate: 12, filtered: 0, conflicts: 0, watermark: clock() - 1200, live: true },
    final: candle?.final ? (partial ? 'clock' : 'proven') : 'open',
    text: candle
      ? [`${candle.trades} ${s.kind}s from ${candle.open} to ${candle.close}`, candle.coverage === 'traded' ? `ids ${candle.first_id} to ${candle.last_id} without a hole` : `coverage ${candle.coverage}`, candle.revision ? `revised ${candle.revision} time, the last by late trades` : 'not revised since it was closed']
      : ['nothing is stored for this minute: whether the market was quiet is unknown'],
    layout: 'u8 kind, i64 first id, i64 last id, i64 time ms, decimal price, decimal quantity, u8 side; little endian; sum of XXH3-64 mod 2^64',
  };
}

function ledger() {
  const row = (topic, processor, read, o = {}) => ({ topic, partition: 0, processor, read, used: read - 15, late: 3, duplicate: 12, invalid: 0, filtered: 0, pending: 0, balanced: true, offset: read, end: read, ...o });
  const rows = events ? [row('prices', 'candles', 1000 + events), row('inbound-data-binance', 'candles', 48_210_022 + events * 3, { used: 48_210_000 + events * 3, late: 0, duplicate: 20, filtered: 2 }), row('inbound-data-huobi', 'candles', 9_120_441)] : [];
  if (fault.unbalanced && rows[0]) Object.assign(rows[0], { balanced: false, used: rows[0].used - 7 });
  return { rows, balanced: rows.every((r) => r.balanced) };
}

function status() {
  const end = 1000 + events;
  return { version: '0.1.0-mock', uptime_ms: clock() - started, live: !fault.behind, series: series.size, events_per_second: rate, candles_per_second: rate / 4, log_bytes: 180 * end + 5_400_000, tasks: [{ name: 'candles prices/0', offset: fault.behind ? end - 52_000 : end, end, checkpoint: Math.max(0, end - 400) }, { name: 'candles inbound-data-binance/0', offset: 48_210_022, end: 48_210_022, checkpoint: 48_209_800 }] };
}

function manyCandles(body) {
  return {
    results: JSON.parse(body).map((q) => {
      try {
        return { candles: getCandles(new URLSearchParams(Object.entries(q).map(([k, v]) => [k, String(v)]))) };
      } catch (error) {
        return { error: { code: error.code, message: error.message } };
      }
    }),
  };
}

/** The generated market's stretches without candles, of the last day. */
function gaps(p) {
  if (!p.get('series')) return [];
  const s = find(p.get('series'), p.get('kind'));
  const found = [];
  const from = Number(p.get('from') ?? 0);
  const to = Number(p.get('to') ?? Infinity);
  let begun = 0;
  for (let t = Math.floor(Math.max(clock() - 86_400_000, s.first) / MINUTE); t * MINUTE < clock(); t++) {
    const present = s.minute(t);
    if (!present && !begun) begun = t;
    if (!present || !begun) continue;
    found.push({ series: s.name, first_id: begun * 1000, last_id: begun * 1000 + 41, missing: 42, after: begun * MINUTE - 1200, before: t * MINUTE + 800 });
    begun = 0;
  }
  return s.kind === 'price' ? [] : found.filter((gap) => gap.before >= from && gap.after < to);
}

function postPrices(body) {
  let list;
  try {
    const whole = body.trim();
    list = whole.startsWith('[') ? JSON.parse(whole) : whole.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  } catch {
    throw bad('the body is not JSON', 'body');
  }
  const invalid = [];
  const touched = new Map();
  list.forEach((e, index) => {
    const price = Number(e.price);
    if (!Number.isFinite(price) || price < 0) return invalid.push({ index, reason: 'price: a number is required' });
    const venue = e.exchange.toLowerCase();
    const [base, quote] = [e.baseCurrency.toUpperCase(), e.quoteCurrency.toUpperCase()];
    const key = keyOf(`${venue}:${base}/${quote}`, 'price');
    if (!series.has(key)) add(new Series({ venue, base, quote, kind: 'price', price, decimals: 0 }));
    const s = series.get(key);
    s.decimals = Math.max(s.decimals, String(e.price).split('.')[1]?.length ?? 0);
    touched.set(s, s.fold(Number(e.timestampInMs), price, 0));
    events++;
    recent++;
  });
  for (const [s, minute] of touched) changed(s, minute);
  return { accepted: list.length - invalid.length, duplicate: 0, invalid };
}

function metrics() {
  return `# HELP wick_events_total events read\n# TYPE wick_events_total counter\nwick_events_total{topic="prices"} ${events}\nwick_websocket_clients ${clients.size}\nwick_log_bytes ${180 * events}\n`;
}

const ROUTES = {
  'GET /v1/candles': getCandles,
  'POST /v1/candles': (_, body) => manyCandles(body),
  'GET /v1/gaps': gaps,
  'GET /v1/series': () => [...series.values()].map((s) => s.info()),
  'GET /v1/latest': () => ({ latest: [...series.values()].map((s) => s.latest()), missing: [] }),
  'GET /v1/why': why,
  'GET /v1/ledger': ledger,
  'GET /v1/status': status,
  'GET /metrics': metrics,
  'GET /healthz': () => 'ok\n',
  'GET /readyz': () => 'ready\n',
  'POST /v1/prices': (_, body) => postPrices(body),
  'POST /mock': (_, body) => control(JSON.parse(body)),
};

function control(order) {
  for (const name of ['silent', 'refuse', 'fail', 'behind', 'unbalanced']) if (name in order) fault[name] = order[name];
  if (order.drop) for (const client of clients) client.socket.drop();
  if (order.revise) {
    const s = find(order.revise.series, order.revise.kind);
    const m = Math.floor(order.revise.time / MINUTE);
    const c = s.minute(m);
    if (!c) throw bad('no candle there', 'revise');
    s.minutes.set(m, { ...c, revision: c.revision + 1, high: c.high * 1.01 });
    sequence++;
    forEachSub(s, (client, sub) => send(client, { type: 'revised', candle: candleAt(s, sub, m * MINUTE), reason: 'late', cursor: cursor() }));
  }
  return order.hours ? runHours(order.hours).then(() => ({ ok: true })) : { ok: true };
}

const FILES = { '/': ['index.html', 'text/html; charset=utf-8'], '/app.js': ['app.js', 'text/javascript'], '/style.css': ['style.css', 'text/css'], '/icon.svg': ['icon.svg', 'image/svg+xml'], '/licenses.txt': ['licenses.txt', 'text/plain'] };

async function handle(request, body) {
  const url = new URL(request.url, 'http://mock');
  if (request.method === 'GET' && FILES[url.pathname]) {
    const [name, type] = FILES[url.pathname];
    if (!existsSync(join(dist, name))) return { status: 404, type: 'text/plain', body: 'run `npm run build` first' };
    return { status: 200, type, body: readFileSync(join(dist, name)) };
  }
  if (request.method === 'GET' && fault.fail?.path === url.pathname && fault.fail.count-- > 0) {
    return { status: fault.fail.status, type: 'application/json', body: JSON.stringify({ error: { code: 'busy', message: fault.fail.message } }) };
  }
  const route = ROUTES[`${request.method} ${url.pathname}`];
  if (!route) throw Object.assign(new Error(`there is no ${url.pathname}`), { status: 404, code: 'not_found' });
  const answer = await route(url.searchParams, body);
  return typeof answer === 'string' ? { status: 200, type: 'text/plain', body: answer } : { status: 200, type: 'application/json', body: JSON.stringify(answer) };
}

const server = createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', async () => {
    let answer;
    try {
      answer = await handle(request, Buffer.concat(parts).toString());
    } catch (error) {
      answer = { status: error.status ?? 500, type: 'application/json', body: JSON.stringify({ error: { code: error.code ?? 'bug', message: error.message, at: error.at } }) };
    }
    // The page must do under the strictest policy.
    response.writeHead(answer.status, { 'Content-Type': answer.type, 'Cache-Control': 'no-cache', 'Content-Security-Policy': "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" });
    response.end(answer.body);
  });
});
server.on('upgrade', (request, socket) => {
  if (fault.refuse || !request.url.startsWith('/v1/stream')) return socket.destroy();
  const client = { subs: [] };
  client.socket = accept(request, socket, { message: (text) => onMessage(client, text), closed: () => clients.delete(client) });
  clients.add(client);
  send(client, { type: 'heartbeat', time: clock() });
});
server.listen(Number(port), host, () => console.log(`listening on http://${host}:${server.address().port}`));
