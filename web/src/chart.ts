// The chart: candles, volume, last-price line, crosshair; a view over a feed. Knows nothing of the network.
import {
  CandlestickSeries,
  createChartEx,
  CrosshairMode,
  HistogramSeries,
  LineStyle,
  PriceScaleMode,
  type IChartApiBase,
  type ISeriesApi,
  type Logical,
  type Time,
  type UTCTimestamp,
} from 'lightweight-charts';
import { padded } from './decimal';
import { perFrame } from './dom';
import type { Change, Feed } from './feed';
import { duration, length, timeText, uniform } from './interval';
import { Countdown, Holes, type Hole } from './marks';
import type { Candle, Range } from './types';
import type { Zone } from './zone';
import { zoneScale, type ZoneScale } from './zonescale';

/** Missing candles shown as empty room, at most so many in one hole. */
const HOLE_MAXIMUM = 240;
const EDGE_LEFT = 150;
const EDGE_RIGHT = 50;
const RIGHT_ROOM = 4;
const BAR_SPACING = 8;
const VOLUME_ROOM = 0.22;

export interface ChartHooks {
  /** The candle under the crosshair, or null: none. `slot` is the time of that place even if there is no candle. */
  hover(candle: Candle | null, slot: number | null): void;
  choose(slot: number): void;
  /** The visible range has changed. */
  moved(): void;
}

interface Bar {
  time: UTCTimestamp;
  open?: number;
  high?: number;
  low?: number;
  close?: number;
}

function cssColor(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const seconds = (ms: number) => (ms / 1000) as UTCTimestamp;

export class Chart {
  /** The time of each place on the scale, and its candle if there is one. */
  slots: number[] = [];
  candles: (Candle | undefined)[] = [];
  feed: Feed | null = null;
  readonly api: IChartApiBase<Time>;

  private readonly scale: ZoneScale;
  private readonly series: ISeriesApi<'Candlestick'>;
  private readonly volume: ISeriesApi<'Histogram'>;
  private decimals = 2;
  private top = 0;
  private stale = false;
  private asked: { from: number; to: number } | null = null;
  private lastClose = '';
  private cursor = -1; // the place that the keyboard chose, and its time: places move, times do not
  private cursorTime = 0;
  private readonly countdown = new Countdown(() => Number(this.lastClose), () => this.lastColor());
  private readonly holes = new Holes(() => this.visibleHoles());
  private colors = { up: '', down: '', upVolume: '', downVolume: '' };

  constructor(
    private readonly box: HTMLElement,
    private zone: Zone,
    private readonly hooks: ChartHooks,
  ) {
    this.scale = zoneScale(zone);
    this.api = createChartEx<Time, ZoneScale>(box, this.scale, {
      autoSize: true,
      layout: { attributionLogo: false, fontSize: 11 },
      crosshair: { mode: CrosshairMode.Normal },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.12, bottom: VOLUME_ROOM } },
      timeScale: {
        borderVisible: false,
        timeVisible: true,
        secondsVisible: false,
        rightOffset: RIGHT_ROOM,
        barSpacing: BAR_SPACING,
        minBarSpacing: 0.5,
      },
      localization: this.localization(),
    });
    this.series = this.api.addSeries(CandlestickSeries, { borderVisible: false, priceLineStyle: LineStyle.Dashed }) as ISeriesApi<'Candlestick'>;
    this.volume = this.api.addSeries(HistogramSeries, {
      priceScaleId: 'volume',
      priceFormat: { type: 'volume' },
      lastValueVisible: false,
      priceLineVisible: false,
    }) as ISeriesApi<'Histogram'>;
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.series.attachPrimitive(this.countdown);
    this.series.attachPrimitive(this.holes);
    this.applyTheme();
    this.listen();
  }

  private listen(): void {
    this.api.timeScale().subscribeVisibleLogicalRangeChange(() => (this.asked = null));
    const onRange = perFrame(() => {
      this.hooks.moved();
      const range = this.api.timeScale().getVisibleLogicalRange();
      if (!range || !this.feed) return;
      if (range.from < EDGE_LEFT) void this.feed.loadOlder();
      if (range.to > this.slots.length - EDGE_RIGHT) void this.feed.loadNewer();
    });
    this.api.timeScale().subscribeVisibleLogicalRangeChange(onRange);
    this.api.timeScale().subscribeSizeChange(onRange);
    this.api.subscribeCrosshairMove((event) => {
      if (this.cursor >= 0 && !event.sourceEvent) return; // the crosshair of the keyboard, not a pointer
      if (event.sourceEvent) this.cursor = -1;
      if (event.logical === undefined || !event.point) {
        if (this.cursor < 0) this.hooks.hover(null, null);
        return;
      }
      this.hover(event.logical);
    });
    this.api.subscribeClick((event) => {
      const slot = event.logical === undefined ? undefined : this.slots[event.logical];
      if (slot !== undefined) this.hooks.choose(slot);
    });
    this.box.addEventListener('keydown', (event) => this.onKey(event));
    this.box.addEventListener('blur', () => this.clearCursor());
    this.box.addEventListener('pointerdown', () => this.clearCursor());
  }

  private hover(logical: number): void {
    const slot = this.slots[logical];
    this.hooks.hover(this.candles[logical] ?? null, slot ?? null);
  }

  // --- what is shown ---

  show(feed: Feed, decimals: number): void {
    this.feed = feed;
    this.cursor = -1;
    this.slots = [];
    this.candles = [];
    this.series.setData([]);
    this.volume.setData([]);
    this.setDecimals(decimals);
    this.countdown.set('');
    this.setAuto(true);
    this.api.timeScale().applyOptions({ secondsVisible: feed.view.interval.endsWith('s'), timeVisible: !/[dwM]$/.test(feed.view.interval) });
  }

  setDecimals(decimals: number): void {
    this.decimals = decimals;
    // Doubles place the axis labels; the last price is written as it came.
    const formatter = (price: number) =>
      this.lastClose && price === Number(this.lastClose) ? padded(this.lastClose, this.decimals) : price.toFixed(Math.min(100, this.decimals));
    this.series.applyOptions({ priceFormat: { type: 'custom', minMove: 10 ** -Math.min(decimals, 12), formatter } });
  }

  setZone(zone: Zone): void {
    this.zone = zone;
    this.scale.zone = zone;
    this.api.applyOptions({ localization: this.localization() }); // new labels on the axis
  }

  private localization() {
    return { timeFormatter: (time: Time) => timeText(this.zone, Number(time) * 1000, this.feed?.view.interval ?? '1m') };
  }

  setStale(stale: boolean): void {
    if (this.stale === stale) return;
    this.stale = stale;
    this.series.applyOptions({ priceLineColor: stale ? cssColor('--stale') : '' });
  }

  // --- the price scale ---

  setLog(on: boolean): void {
    this.series.priceScale().applyOptions({ mode: on ? PriceScaleMode.Logarithmic : PriceScaleMode.Normal });
  }

  /** Whether prices are fitted to what is visible; dragging the axis ends that. */
  get auto(): boolean {
    return this.series.priceScale().options().autoScale;
  }

  setAuto(on: boolean): void {
    this.series.priceScale().applyOptions({ autoScale: on });
  }

  setCountdown(text: string): void {
    this.countdown.set(this.stale || !this.feed?.atEnd || !this.feed.rows.length ? '' : text);
  }

  private lastColor(): string {
    const last = this.feed?.rows[this.feed.rows.length - 1];
    return last && Number(last.close) < Number(last.open) ? this.colors.down : this.colors.up;
  }

  /** Keeps the candles below what lies over the chart's top. */
  leaveRoom(pixels: number): void {
    const share = Math.min(0.4, Math.max(0.06, (pixels + 6) / Math.max(1, this.box.clientHeight)));
    if (Math.abs(share - this.top) < 0.01) return;
    this.top = share;
    this.series.priceScale().applyOptions({ scaleMargins: { top: share, bottom: VOLUME_ROOM } });
  }

  applyTheme(): void {
    this.colors = { up: cssColor('--up'), down: cssColor('--down'), upVolume: cssColor('--up-volume'), downVolume: cssColor('--down-volume') };
    const label = cssColor('--label');
    this.api.applyOptions({
      layout: {
        background: { color: cssColor('--surface') },
        textColor: cssColor('--muted'),
        fontFamily: getComputedStyle(document.body).fontFamily,
      },
      grid: { vertLines: { color: cssColor('--grid') }, horzLines: { color: cssColor('--grid') } },
      crosshair: {
        vertLine: { color: cssColor('--crosshair'), labelBackgroundColor: label, style: LineStyle.Dashed },
        horzLine: { color: cssColor('--crosshair'), labelBackgroundColor: label, style: LineStyle.Dashed },
      },
    });
    this.series.applyOptions({
      upColor: this.colors.up,
      downColor: this.colors.down,
      wickUpColor: this.colors.up,
      wickDownColor: this.colors.down,
      priceLineColor: this.stale ? cssColor('--stale') : '',
    });
    this.holes.colors(cssColor('--hole'), cssColor('--muted'));
    if (this.feed?.rows.length) this.changed({ what: 'inside' });
  }

  private bar(candle: Candle): Bar {
    return {
      time: seconds(candle.open_time),
      open: Number(candle.open),
      high: Number(candle.high),
      low: Number(candle.low),
      close: Number(candle.close),
    };
  }

  private volumeBar(candle: Candle): { time: UTCTimestamp; value: number; color: string } {
    // Prices have no volume; how often one was seen is what there is.
    const value = candle.basis === 'prices' ? candle.trades : Number(candle.volume);
    const up = Number(candle.close) >= Number(candle.open);
    return { time: seconds(candle.open_time), value, color: up ? this.colors.upVolume : this.colors.downVolume };
  }

  /** Adds a candle behind the others, with empty places for those missing before it. */
  private place(candle: Candle, step: number, added: (slot: number) => void): void {
    const last = this.slots[this.slots.length - 1];
    if (step && last !== undefined) {
      const missing = Math.min(HOLE_MAXIMUM, Math.round((candle.open_time - last) / step) - 1);
      for (let i = missing; i > 0; i--) {
        const slot = candle.open_time - i * step;
        this.slots.push(slot);
        this.candles.push(undefined);
        added(slot);
      }
    }
    this.slots.push(candle.open_time);
    this.candles.push(candle);
  }

  private step(): number {
    const view = this.feed!.view;
    return uniform(view.interval, view.zone) ? length(view.interval) : 0;
  }

  private draw(): void {
    this.slots = [];
    this.candles = [];
    const step = this.step();
    for (const candle of this.feed!.rows) this.place(candle, step, () => {});
    this.noteLast();
    this.series.setData(this.slots.map((slot, i) => (this.candles[i] ? this.bar(this.candles[i]) : { time: seconds(slot) })) as never[]);
    this.volume.setData(this.candles.filter((c): c is Candle => !!c).map((c) => this.volumeBar(c)));
  }

  private noteLast(): void {
    const rows = this.feed!.rows;
    this.lastClose = rows.length ? rows[rows.length - 1].close : '';
    const atEnd = this.feed!.atEnd; // in the past the last loaded close is not the last price
    if (this.series.options().lastValueVisible !== atEnd) this.series.applyOptions({ lastValueVisible: atEnd, priceLineVisible: atEnd });
  }

  /** At the edge the library itself keeps its distance from the newest candle. A range that is set takes effect a frame
   * later, and would undo what came meanwhile: so it is set only where one looks at the past, whose places stay. */
  changed(change: Change): void {
    const scale = this.api.timeScale();
    const stays = change.what === 'newer' || (change.what !== 'older' && !this.following);
    const range = stays ? scale.getVisibleLogicalRange() : null;
    if (change.what !== 'last' || !this.slots.length || !this.updateLast()) this.draw();
    const moved = range && scale.getVisibleLogicalRange();
    if (range && moved && Math.abs(moved.to - range.to) > 0.01) scale.setVisibleLogicalRange(range);
    this.keepCursor();
    this.hooks.moved();
  }

  private updateLast(): boolean {
    const rows = this.feed!.rows;
    const candle = rows[rows.length - 1];
    const last = this.slots[this.slots.length - 1];
    if (candle.open_time < last) return false;
    this.noteLast();
    if (candle.open_time === last) this.candles[this.candles.length - 1] = candle;
    else this.place(candle, this.step(), (slot) => this.series.update({ time: seconds(slot) } as never));
    this.series.update(this.bar(candle) as never);
    this.volume.update(this.volumeBar(candle));
    return true;
  }

  // --- places without candles ---

  /** The run of empty places around `index`: from, in, to, out; null if there is a candle. */
  hole(index: number): { from: number; to: number } | null {
    if (this.slots[index] === undefined || this.candles[index]) return null;
    let first = index;
    let last = index;
    while (first > 0 && !this.candles[first - 1]) first--;
    while (last < this.candles.length - 1 && !this.candles[last + 1]) last++;
    const before = this.candles[first - 1];
    return { from: before ? before.close_time + 1 : this.slots[first], to: this.slots[last + 1] ?? this.slots[last] };
  }

  private visibleHoles(): Hole[] {
    const range = this.api.timeScale().getVisibleLogicalRange();
    if (!range) return [];
    const found: Hole[] = [];
    const width = (this.coordinate(1) ?? 0) - (this.coordinate(0) ?? 0);
    const last = Math.min(this.slots.length - 1, Math.ceil(range.to));
    for (let i = Math.max(0, Math.floor(range.from)); i <= last; i++) {
      if (this.candles[i]) continue;
      const first = i;
      while (i < last && !this.candles[i + 1]) i++;
      const { from, to } = this.hole(first)!;
      const left = (this.coordinate(first) ?? 0) - width / 2;
      found.push({ left, right: (this.coordinate(i) ?? 0) + width / 2, text: `nothing received for ${duration(to - from)}` });
    }
    return found;
  }

  // --- where it looks ---

  get following(): boolean {
    const range = this.api.timeScale().getVisibleLogicalRange();
    return !range || !this.slots.length || (Boolean(this.feed?.atEnd) && range.to >= this.slots.length - 1);
  }

  get range(): Range | null {
    const range = this.api.timeScale().getVisibleLogicalRange();
    if (!range || !this.slots.length) return null;
    if (this.following) return { bars: Math.max(2, Math.round(this.slots.length + RIGHT_ROOM - 1 - range.from)) };
    const clamp = (i: number) => Math.min(this.slots.length - 1, Math.max(0, i));
    return { from: this.slots[clamp(Math.round(range.from))], to: this.slots[clamp(Math.round(range.to))] };
  }

  /** What is visible, or will be with the next frame: keys may come faster. */
  private get visible(): { from: number; to: number } | null {
    return this.asked ?? this.api.timeScale().getVisibleLogicalRange();
  }

  private see(range: { from: number; to: number }): void {
    this.asked = range;
    this.api.timeScale().setVisibleLogicalRange(range);
  }

  /** Candles that fit at the usual width. */
  get usualBars(): number {
    return Math.max(20, Math.floor((this.api.timeScale().width() || this.box.clientWidth - 60) / BAR_SPACING));
  }

  look(range: Range | null): void {
    const end = this.slots.length - 1 + RIGHT_ROOM;
    if (range && 'from' in range) {
      const from = this.slots.findIndex((slot) => slot >= range.from);
      const to = this.slots.findIndex((slot) => slot >= range.to);
      if (from >= 0) this.api.timeScale().setVisibleLogicalRange({ from, to: to > from ? to : from + this.usualBars });
    } else {
      // A young series need not hide in the right corner: its candles may be twice as wide.
      const usual = Math.max(this.usualBars / 2, Math.min(this.usualBars, this.slots.length + RIGHT_ROOM));
      const bars = Math.min(5000, range?.bars ?? usual);
      this.api.timeScale().setVisibleLogicalRange({ from: end - bars, to: end });
    }
  }

  coordinate(index: number): number | null {
    return this.api.timeScale().logicalToCoordinate(index as Logical);
  }

  indexAt(x: number): number | null {
    return this.api.timeScale().coordinateToLogical(x);
  }

  // --- keyboard ---

  private clearCursor(): void {
    if (this.cursor < 0) return;
    this.cursor = -1;
    this.api.clearCrosshairPosition();
    this.hooks.hover(null, null);
  }

  private moveCursor(by: number): void {
    const last = this.slots.length - 1;
    const range = this.visible;
    if (last < 0 || !range) return;
    const from = this.cursor < 0 ? Math.min(last + (by < 0 ? 1 : 0), Math.floor(range.to)) : this.cursor;
    const at = (this.cursor = Math.max(0, Math.min(last, from + by)));
    const shift = at < range.from + 1 ? at - range.from - 2 : at > range.to - 1 ? at - range.to + 2 : 0;
    if (shift) this.see({ from: range.from + shift, to: range.to + shift });
    this.cursorTime = this.slots[at];
    this.showCursor();
  }

  private showCursor(): void {
    const at = this.cursor;
    const near = this.candles[at] ?? this.candles.slice(0, at).reverse().find((c) => c);
    if (near) this.api.setCrosshairPosition(Number(near.close), seconds(this.slots[at]), this.series as never);
    this.hover(at);
  }

  /** After a change: on the same candle, wherever that is now. */
  private keepCursor(): void {
    if (this.cursor < 0) return;
    if (this.slots[this.cursor] !== this.cursorTime) this.cursor = this.slots.indexOf(this.cursorTime);
    if (this.cursor >= 0) this.showCursor();
    else this.api.clearCrosshairPosition();
  }

  zoom(factor: number): void {
    const range = this.visible;
    if (!range) return;
    const width = Math.max(10, Math.min(20_000, (range.to - range.from) * factor));
    this.see({ from: range.to - width, to: range.to });
  }

  /** A key that was pressed elsewhere on the page, for the chart. */
  press(event: KeyboardEvent): void {
    if (event.target === document.body) this.box.focus({ preventScroll: true });
    this.onKey(event);
  }

  private onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const range = this.api.timeScale().getVisibleLogicalRange();
    const page = range ? Math.round((range.to - range.from) * 0.8) : 1;
    const actions: Record<string, () => void> = {
      ArrowLeft: () => this.moveCursor(event.shiftKey ? -10 : -1),
      ArrowRight: () => this.moveCursor(event.shiftKey ? 10 : 1),
      PageUp: () => this.moveCursor(-page),
      PageDown: () => this.moveCursor(page),
      ArrowUp: () => this.zoom(0.8),
      ArrowDown: () => this.zoom(1.25),
      '+': () => this.zoom(0.8),
      '=': () => this.zoom(0.8),
      '-': () => this.zoom(1.25),
      Home: () => this.moveCursor(-this.slots.length),
      End: () => {
        this.clearCursor();
        this.look({ bars: range ? range.to - range.from : this.usualBars });
      },
      Enter: () => {
        if (this.cursor >= 0) this.hooks.choose(this.slots[this.cursor]);
      },
      Escape: () => this.clearCursor(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}
