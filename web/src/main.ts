// The page: wires the parts.
import { addressText, readAddress, TABS, type Tab, type Theme } from './address';
import * as api from './api';
import { Catalog, quoteRank } from './catalog';
import { Chart } from './chart';
import { Day } from './day';
import { decimalsOf } from './decimal';
import { showBlank } from './blank';
import { byId, setText, throttled } from './dom';
import { Feed, kindOf, type Change } from './feed';
import { GapsPanel, type Stretch } from './gaps';
import { INTERVAL_KEYS, INTERVALS, length, valid } from './interval';
import { paintLedger } from './ledger';
import { Legend } from './legend';
import { LiveState } from './live';
import { Prices } from './prices';
import { Rates, STATUS_PERIOD_MS } from './rates';
import { Search } from './search';
import { Stream, type Subscription } from './stream';
import { COVERAGES, Strip } from './strip';
import { buildTop, paintIntervals } from './top';
import type { Coverage, Kind, Range, SeriesInfo, Status, StreamMessage, View } from './types';
import { WhyPanel } from './why';
import { browserZone, UTC, Zone } from './zone';

const EMPTY_PERIOD_MS = 2000;
const DAY_PERIOD_MS = 30_000;
const REMEMBERED = 'candlewick-view';

function remembered(): { interval?: string; zone?: string; theme?: Theme; logarithmic?: boolean } {
  try {
    return JSON.parse(localStorage.getItem(REMEMBERED) ?? '{}');
  } catch {
    return {};
  }
}

const start = readAddress();
const past = remembered();
const view: View = {
  series: start.view.series ?? '',
  kind: start.view.kind ?? '',
  interval: start.view.interval ?? (valid(past.interval ?? '') ? past.interval! : '1m'),
  zone: start.view.zone ?? (past.zone && Zone.valid(past.zone) ? past.zone : browserZone),
};
let theme: Theme = start.theme ?? past.theme ?? 'auto';
let tab: Tab = start.tab ?? 'prices';
let logarithmic = past.logarithmic ?? false;
let zone = new Zone(view.zone);
let feed: Feed | null = null;
let info: SeriesInfo | undefined;
let wantedRange: Range | null = start.range;
let lookAnew = true; // whether the next candles are to be looked at from `wantedRange`, or from where the chart is
let lastStatus: Status | null = null;
let statusProblem = '';
let reloadOnSnapshot = false;

const systemDark = matchMedia('(prefers-color-scheme: dark)');
setTheme(theme); // before anything reads a colour

const catalog = new Catalog();
const chart = new Chart(byId('chart'), zone, {
  hover: (candle, slot) => legend.show(candle, slot),
  choose: (slot) => choose(slot),
  moved: () => {
    strip.draw();
    legend.refresh();
    chart.leaveRoom(legend.height);
    byId('to-latest').hidden = chart.following || !feed?.rows.length;
    writeAddressSoon();
  },
});
const counts = Object.fromEntries(COVERAGES.map((kind) => [kind, byId('n-' + kind)])) as Record<Coverage, HTMLElement>;
const strip = new Strip(byId<HTMLCanvasElement>('strip'), byId('strip-tip'), counts, chart, zone, (slot) => choose(slot));
const legend = new Legend(chart, zone, () => (info ? prices.price(info.series, info.kind) : undefined));
const whyPanel = new WhyPanel(zone);
const gapsPanel = new GapsPanel(zone, showPlace);
const day = new Day(() => {
  prices.referenced();
  legend.compareWith(day.reference(`${view.series}|${view.kind}`));
});
const prices = new Prices(catalog, day, zone, (series, kind) => select(series, kind));
const search = new Search(catalog, (series) => select(series.series, series.kind));
const rates = new Rates();
const live = new LiveState(zone, {
  retry: () => stream.retryNow(),
  changed: (isLive) => chart.setStale(!isLive),
});
const stream = new Stream({
  message: onMessage,
  state: (state) => {
    if (!state.live && state.since) reloadOnSnapshot = true;
    live.set(state);
    if (state.live && !catalog.loaded) void findSeries();
  },
});

// --- looks ---

function setTheme(next: Theme): void {
  theme = next;
  const dark = next === 'auto' ? systemDark.matches : next === 'dark';
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  byId('theme').setAttribute('aria-label', 'Colours: ' + (next === 'auto' ? 'as the system' : next));
}

function repaint(): void {
  chart.applyTheme();
  strip.applyTheme();
}

function buildButtons(): void {
  byId('symbol').addEventListener('click', () => search.open());
  byId('help-button').addEventListener('click', () => byId<HTMLDialogElement>('help').showModal());
  byId('to-latest').addEventListener('click', () => toLatest());
  byId('theme').addEventListener('click', () => {
    setTheme(theme === 'auto' ? 'light' : theme === 'light' ? 'dark' : 'auto');
    repaint();
    remember();
    writeAddressSoon();
  });
  systemDark.addEventListener('change', () => {
    setTheme(theme);
    repaint();
  });
  byId('scale-log').addEventListener('click', () => {
    logarithmic = !logarithmic;
    paintScale();
    remember();
  });
  byId('scale-auto').addEventListener('click', () => {
    chart.setAuto(!chart.auto);
    paintScale();
  });
  byId('chart').addEventListener('pointerup', () => requestAnimationFrame(paintScale)); // the axis may have been dragged
  byId('chart').addEventListener('dblclick', () => requestAnimationFrame(paintScale));
  buildGoTo();
}

function paintScale(): void {
  chart.setLog(logarithmic);
  byId('scale-log').setAttribute('aria-pressed', String(logarithmic));
  byId('scale-auto').setAttribute('aria-pressed', String(chart.auto));
}

function buildGoTo(): void {
  const dialog = byId<HTMLDialogElement>('go');
  const input = byId<HTMLInputElement>('go-time');
  byId('go-to').addEventListener('click', () => {
    setText(byId('go-zone'), `(${zone.label(Date.now())})`);
    const range = chart.range;
    const at = range && 'from' in range ? range.to : Date.now();
    input.value = `${zone.date(at)}T${zone.clock(at, false)}`;
    dialog.returnValue = '';
    dialog.showModal();
  });
  dialog.addEventListener('close', () => {
    if (dialog.returnValue !== 'ok' || !input.value) return;
    const local = Date.parse(input.value + 'Z');
    const time = local - zone.offset(local - zone.offset(local));
    showPlace(time, time);
  });
}

/** Brings a stretch of time into the middle of the chart. */
function showPlace(from: number, to: number): void {
  const step = length(view.interval);
  const around = Math.max(chart.usualBars * step * 0.3, (to - from) * 0.5);
  wantedRange = { from: Math.floor(from - around), to: Math.ceil(to + around) };
  open();
}

function paintTop(): void {
  const [venue, pair] = splitSeries(info?.series ?? view.series);
  setText(byId('symbol-pair'), pair || 'Choose a symbol');
  setText(byId('symbol-venue'), pair ? venue + (info?.kind === 'price' ? ' · price' : '') : '');
  paintIntervals(view.interval);
  byId<HTMLSelectElement>('zone').value = view.zone;
}

function splitSeries(series: string): [string, string] {
  const colon = series.indexOf(':');
  return colon < 0 ? ['', series] : [series.slice(0, colon), series.slice(colon + 1)];
}

// --- the address and what is remembered ---

function remember(): void {
  localStorage.setItem(REMEMBERED, JSON.stringify({ interval: view.interval, zone: view.zone, theme, logarithmic }));
}

function writeAddress(push = false): void {
  if (!feed?.loaded && !push) return;
  const text = addressText(view, push ? null : chart.range, theme, tab);
  if (text === location.hash) return;
  if (push) history.pushState(null, '', text);
  else history.replaceState(null, '', text);
}
const writeAddressSoon = throttled(500, () => writeAddress());

function restore(): void {
  const next = readAddress();
  setTheme(next.theme ?? theme);
  repaint();
  showTab(next.tab ?? tab);
  wantedRange = next.range;
  const zoneName = next.view.zone ?? view.zone;
  Object.assign(view, { series: view.series, ...next.view });
  if (next.view.series && !next.view.kind) view.kind = '';
  if (zoneName !== zone.name) applyZone(zoneName);
  if (view.series) open();
}

// --- what is shown ---

/** What is left must be what Back finds, also where its candles had not come yet. */
function keepAddress(): void {
  if (view.series) history.replaceState(null, '', addressText(view, feed?.loaded ? chart.range : null, theme, tab));
}

function select(series: string, kind: Kind | ''): void {
  if (info && series === info.series && kind === info.kind && feed) return;
  keepAddress();
  view.series = series;
  view.kind = kind;
  wantedRange = null;
  writeAddress(true);
  open();
}

/** Where the chart looks at the past a new interval shows the same place; at the edge it stays there. */
function useInterval(interval: string): void {
  if (interval === view.interval) return;
  const range = chart.range;
  wantedRange = range && 'from' in range ? range : null;
  view.interval = interval;
  remember();
  writeAddress(true);
  open();
}

function applyZone(name: string): void {
  view.zone = name;
  zone = new Zone(name);
  for (const part of [chart, strip, legend, whyPanel, gapsPanel, prices, live]) part.setZone(zone);
}

function setZone(name: string): void {
  wantedRange = chart.range;
  applyZone(name);
  remember();
  open();
}

function toLatest(): void {
  if (feed?.atEnd) chart.look(null);
  else {
    wantedRange = null;
    lookAnew = true;
    void feed?.loadNewest();
  }
}

/** Shows the view: a new feed, the stream's subscriptions, the header. */
function open(): void {
  info = catalog.find(view.series, view.kind);
  if (info) Object.assign(view, { series: info.series, kind: info.kind });
  feed?.close();
  lookAnew = true;
  byId('problem').hidden = true;
  const mine: Feed = (feed = new Feed({ ...view }, {
    following: () => chart.following,
    changed: (change) => mine === feed && onChange(change),
    busy: (busy) => mine === feed && setBusy(busy),
    failed: (error, retry) => mine === feed && onFailure(error, retry),
  }));
  chart.show(mine, info?.decimals ?? 2);
  paintScale();
  legend.reset(info, view);
  legend.compareWith(day.reference(`${view.series}|${view.kind}`));
  strip.mark(null);
  whyPanel.clear();
  prices.select(view.series, view.kind);
  paintTop();
  subscribe();
  if (wantedRange && 'from' in wantedRange) void mine.loadRange(wantedRange.from, wantedRange.to);
  else void mine.loadNewest();
}

function subscribe(): void {
  const wanted: Subscription[] = [{ series: '*', interval: 'latest' }];
  if (feed && view.series) {
    wanted.push({ series: view.series, interval: view.interval, kind: view.kind || undefined, tz: view.zone === UTC ? undefined : view.zone });
  }
  stream.subscribe(wanted);
}

function onChange(change: Change): void {
  raiseDecimals();
  chart.changed(change);
  byId('chart').dataset.candles = String(feed!.rows.length);
  if (change.what === 'replaced') {
    if (lookAnew) chart.look(wantedRange);
    lookAnew = false;
    wantedRange = null;
    void dayFigures();
    const none = !feed!.rows.length;
    byId('blank').hidden = !none;
    if (none) showBlank('no-candles', view);
    if (tab === 'gaps') void refreshTab();
  } else byId('blank').hidden = true;
  legend.refresh();
}

/** A price with more decimals than any before makes the tick smaller. */
function raiseDecimals(): void {
  const last = feed?.rows[feed.rows.length - 1];
  if (!last || !info) return;
  const decimals = Math.max(decimalsOf(last.open), decimalsOf(last.high), decimalsOf(last.low), decimalsOf(last.close));
  if (decimals <= info.decimals) return;
  info.decimals = decimals;
  chart.setDecimals(decimals);
  legend.reset(info, view);
}

let busyTimer: ReturnType<typeof setTimeout> | undefined;
function setBusy(busy: boolean): void {
  clearTimeout(busyTimer);
  if (busy) busyTimer = setTimeout(() => (byId('loading').hidden = false), 300);
  else byId('loading').hidden = true;
}

function onFailure(error: Error, retry: () => void): void {
  if (locked(error)) return askToken();
  setText(byId('problem-text'), error.message);
  byId('problem').hidden = false;
  byId('problem-retry').onclick = () => {
    byId('problem').hidden = true;
    retry();
  };
}

function askToken(): void {
  const dialog = byId<HTMLDialogElement>('token');
  if (dialog.open) return;
  byId('token-why').hidden = !api.token();
  api.setToken('', false);
  live.setLocked(true);
  dialog.showModal();
  dialog.onclose = () => {
    const value = byId<HTMLInputElement>('token-input').value.trim();
    if (!value) return; // stays locked; the next request asks again
    api.setToken(value, byId<HTMLInputElement>('token-keep').checked);
    location.reload();
  };
}

const locked = (error: unknown) => error instanceof api.ApiError && error.status === 401;

/** High, low and volume of the last 24 hours, of the series shown. */
async function dayFigures(): Promise<void> {
  if (!feed || !view.series) return;
  const mine = feed;
  day.want([{ key: `${view.series}|${view.kind}`, series: view.series, kind: view.kind || 'trade' }]);
  const figures = await day.figures(view.series, view.kind, mine.signal).catch(() => null);
  if (mine === feed && figures) legend.day(figures);
}

function choose(slot: number): void {
  if (!feed) return;
  strip.mark(slot);
  showTab('why');
  void whyPanel.show(feed.view, slot, feed.at(slot), info?.decimals ?? 0);
}

// --- the stream ---

function onMessage(message: StreamMessage): void {
  switch (message.type) {
    case 'latest':
      prices.update(message.latest);
      legend.header();
      if (message.latest.some((l) => !catalog.find(l.series, l.kind))) void newSeries();
      break;
    case 'snapshot':
      if (!matches(message.series, message.interval) || !feed) break;
      // What changed is not known, after a break or an import beside the program: all is asked again.
      if ((reloadOnSnapshot || message.reset) && feed.loaded) void feed.reload();
      else for (const candle of message.candles) if (matchesKind(kindOf(candle))) feed.apply(candle);
      reloadOnSnapshot = false;
      break;
    case 'open':
    case 'closed':
    case 'revised':
      if (matches(message.candle.series, message.candle.interval) && matchesKind(kindOf(message.candle))) feed?.apply(message.candle);
      break;
    case 'error':
      setText(byId('problem-text'), message.error.message);
      byId('problem').hidden = false;
      break;
    case 'heartbeat':
      legend.clockAhead = stream.clockAhead;
      break;
  }
}

function matches(series: string, interval: string): boolean {
  return series === view.series && interval === view.interval;
}

const matchesKind = (kind: Kind) => !view.kind || kind === view.kind;

// --- series ---

async function newSeries(): Promise<void> {
  await catalog.refreshSoon().catch(() => {});
  if (!feed && catalog.all.length) firstView();
}

const FAMOUS = ['BTC', 'ETH'];
const rank = (s: SeriesInfo) => (FAMOUS.indexOf(s.base) + 1 || FAMOUS.length + 1) + (s.kind === 'trade' ? 0 : 0.5);

/** The first view once there is a series: the address's, else the best known of those seen in the last hour. */
function firstView(): void {
  byId('blank').hidden = true;
  if (!view.series) {
    const newest = Math.max(...catalog.all.map((s) => s.last_seen));
    const recent = catalog.all.filter((s) => s.last_seen > newest - 3_600_000);
    recent.sort((a, b) => rank(a) - rank(b) || quoteRank(a) - quoteRank(b) || a.series.localeCompare(b.series));
    view.series = recent[0].series;
    view.kind = recent[0].kind;
  }
  open();
}

let finding = false;
async function findSeries(): Promise<void> {
  if (finding) return;
  finding = true;
  try {
    await catalog.refresh();
    statusProblem = '';
  } catch (error) {
    onFailure(error as Error, () => void findSeries());
    return;
  } finally {
    finding = false;
  }
  byId('problem').hidden = true;
  const missing = view.series && catalog.all.length && !catalog.find(view.series, view.kind) ? view.series : '';
  if (missing) Object.assign(view, { series: '', kind: '' });
  if (catalog.all.length) {
    if (!feed) firstView();
  } else {
    byId('blank').hidden = false;
    showBlank('no-series', view);
    setTimeout(() => void findSeries(), EMPTY_PERIOD_MS);
  }
  if (missing) onFailure(new Error(`There is no series ${missing}; this is ${view.series}.`), () => void findSeries());
  if (!prices.size) api.latest().then((answer) => prices.update(answer.latest), () => {});
}

// --- tabs and the figures in them ---

function showTab(next: Tab, focus = false): void {
  tab = next;
  for (const name of TABS) {
    const button = byId('tab-' + name);
    button.setAttribute('aria-selected', String(name === next));
    button.tabIndex = name === next ? 0 : -1;
    byId('panel-' + name).hidden = name !== next;
    if (focus && name === next) button.focus();
  }
  if (next === 'prices') prices.select(view.series, view.kind);
  void refreshTab();
  writeAddressSoon();
}

function buildTabs(): void {
  for (const name of TABS) byId('tab-' + name).addEventListener('click', () => showTab(name));
  byId('tabs').addEventListener('keydown', (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    showTab(TABS[(TABS.indexOf(tab) + by + TABS.length) % TABS.length], true);
  });
  showTab(tab);
}

async function refreshTab(): Promise<void> {
  if (tab === 'ledger') await paintLedger();
  if (tab === 'rates') await rates.paint(lastStatus, statusProblem);
  if (tab === 'gaps' && feed?.loaded) await gapsPanel.paint(view, info?.kind === 'trade', stretches());
}

/** Where no candle stands in what is loaded. */
function stretches(): Stretch[] {
  const rows = feed?.rows ?? [];
  const found: Stretch[] = [];
  for (let i = 1; i < rows.length; i++) {
    if (rows[i].open_time > rows[i - 1].close_time + 1) found.push({ from: rows[i - 1].close_time + 1, to: rows[i].open_time });
  }
  return found;
}

async function poll(): Promise<void> {
  if (!document.hidden) {
    try {
      lastStatus = await api.status();
      statusProblem = '';
      rates.note(lastStatus);
      live.setBehind(!lastStatus.live);
    } catch (error) {
      if (locked(error)) askToken();
      statusProblem = (error as Error).message;
    }
    await refreshTab();
  }
  setTimeout(() => void poll(), STATUS_PERIOD_MS);
}

// --- keys of the whole page ---

/** With the focus nowhere these are for the chart. */
const CHART_KEYS = ['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End', 'PageUp', 'PageDown', 'Enter', 'Escape'];

function onPageKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const target = event.target as HTMLElement;
  if (target.closest('input, textarea, select, dialog[open]') || document.querySelector('dialog[open]')) return;
  const interval = INTERVAL_KEYS.indexOf(event.key);
  if (event.key === '?') byId<HTMLDialogElement>('help').showModal();
  else if (event.key === '/') search.open();
  else if (interval >= 0) useInterval(INTERVALS[interval]);
  else if ((CHART_KEYS.includes(event.key) && target === document.body) || '+-='.includes(event.key)) chart.press(event);
  else if (/^[a-zA-Z]$/.test(event.key)) search.open(event.key);
  else return;
  event.preventDefault();
}

buildTop(view, { interval: useInterval, zone: setZone });
buildButtons();
buildTabs();
paintTop();
whyPanel.clear();
byId('problem-close').addEventListener('click', () => (byId('problem').hidden = true));
document.addEventListener('keydown', onPageKey);
addEventListener('popstate', restore);
subscribe();
stream.connect();
void findSeries();
void poll();
setInterval(() => void (document.hidden || dayFigures()), DAY_PERIOD_MS);
